/* Null bdevs. */
#ifndef SPDK_SHIM_NULL_H
#define SPDK_SHIM_NULL_H

#include <spdk/stdinc.h>
#include <spdk/bdev.h>

#include "needs.h"

struct spdk_shim_null_opts {
	const char *name;
	const uint8_t *uuid;		/* 16 bytes, or NULL: SPDK makes one */
	uint64_t num_blocks;
	uint32_t block_size;		/* without metadata */
	uint32_t physical_block_size;	/* 0: the block size; else 23.05 and newer */
	uint32_t md_size;		/* always interleaved; 0 is none */
	uint32_t dif_type;		/* enum spdk_dif_type */
	bool dif_at_head;
};
int spdk_shim_null_create(const struct spdk_shim_null_opts *opts, struct spdk_shim_needs *needs);
/*
 * Sets the size; -ENODEV if `name` is no null bdev. -EBUSY when it would shrink and somebody has it open.
 * (bdev_null_resize() came with 21.01, counts in MiB and never shrinks.)
 */
int spdk_shim_null_resize(const char *name, uint64_t num_blocks);
/* -ENODEV: no such bdev, and no callback; else the callback comes once, maybe before the return. */
int spdk_shim_null_delete(const char *name, void (*cb_fn)(void *cb_arg, int rc), void *cb_arg);

#endif
