/* Malloc bdevs. */
#ifndef SPDK_SHIM_MALLOC_H
#define SPDK_SHIM_MALLOC_H

#include <spdk/stdinc.h>
#include <spdk/bdev.h>

#include "needs.h"

/* Malloc bdevs: their C header is not installed, and its contents changed six times. */
struct spdk_shim_malloc_opts {
	const char *name;
	const uint8_t *uuid;		/* 16 bytes, or NULL: SPDK makes one */
	uint64_t num_blocks;
	uint32_t block_size;		/* without metadata */
	uint32_t physical_block_size;	/* 0: the block size; else 23.05 and newer */
	uint32_t optimal_io_boundary;	/* blocks; 0 is none; else 22.01 and newer */
	uint32_t md_size;		/* 0 is none; else 23.01 and newer */
	uint32_t dif_type;		/* enum spdk_dif_type */
	int32_t numa_id;		/* -1: any; else 26.01 and newer */
	bool md_interleave;
	bool dif_at_head;
};
int spdk_shim_malloc_create(const struct spdk_shim_malloc_opts *opts, struct spdk_shim_needs *needs);
/* As spdk_shim_null_delete(). */
int spdk_shim_malloc_delete(const char *name, void (*cb_fn)(void *cb_arg, int rc), void *cb_arg);

#endif
