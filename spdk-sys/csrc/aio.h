/* Bdevs over Linux AIO. */
#ifndef SPDK_SHIM_AIO_H
#define SPDK_SHIM_AIO_H

#include <spdk/stdinc.h>
#include <spdk/bdev.h>

#include "needs.h"

struct spdk_shim_aio_opts {
	const char *name;
	const char *path;
	const uint8_t *uuid;	/* 24.09, or NULL */
	uint32_t block_size;	/* 0: that of the file */
	bool read_only;		/* 23.01 */
};
int spdk_shim_aio_create(const struct spdk_shim_aio_opts *opts, struct spdk_shim_needs *needs);
/* As spdk_shim_null_delete(). */
int spdk_shim_aio_delete(const char *name, void (*cb_fn)(void *cb_arg, int rc), void *cb_arg);

#endif
