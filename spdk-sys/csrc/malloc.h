/* Malloc bdevs. */
#ifndef SPDK_SHIM_MALLOC_H
#define SPDK_SHIM_MALLOC_H

#include <spdk/stdinc.h>
#include <spdk/bdev.h>

/* Malloc bdevs: their C header is not installed, and its contents changed six times. */
struct spdk_shim_malloc_opts {
	const char *name;
	uint64_t num_blocks;
	uint32_t block_size;
	uint32_t optimal_io_boundary;	/* blocks; 0 is none; 22.01 and newer, else -ENOTSUP */
};
int spdk_shim_malloc_create(const struct spdk_shim_malloc_opts *opts, struct spdk_bdev **bdev);
int spdk_shim_malloc_delete(const char *name, void (*cb_fn)(void *cb_arg, int rc), void *cb_arg);

#endif
