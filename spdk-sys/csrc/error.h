/* Error bdevs: errors on purpose. */
#ifndef SPDK_SHIM_ERROR_H
#define SPDK_SHIM_ERROR_H

#include <spdk/stdinc.h>
#include <spdk/bdev.h>

#include "needs.h"

/* `base` is its name, not an alias; it must be there. The new bdev is "EE_" and that name. */
int spdk_shim_error_create(const char *base);

/* SPDK's values: enum spdk_bdev_error_type of 26.05. */
enum spdk_shim_error_type {
	SPDK_SHIM_ERROR_FAILURE = 1,
	SPDK_SHIM_ERROR_PENDING = 2,
	SPDK_SHIM_ERROR_CORRUPT = 3,	/* 23.01 */
	SPDK_SHIM_ERROR_NOMEM = 4,	/* 23.09; nobody retries it before 24.01 */
	SPDK_SHIM_ERROR_NVME = 5,	/* 26.05 */
};

struct spdk_shim_error_opts {
	uint32_t io_type;	/* READ, WRITE, UNMAP or FLUSH, or UINT32_MAX for all of them, or 0: no error any more */
	enum spdk_shim_error_type error_type;
	uint32_t count;
	uint64_t queue_depth;	/* only when so many are in flight; 23.09 */
	uint64_t corrupt_offset;
	uint8_t corrupt_value;	/* not 0 */
	uint8_t nvme_sct;
	uint8_t nvme_sc;
};
int spdk_shim_error_inject(const char *name, const struct spdk_shim_error_opts *opts, struct spdk_shim_needs *needs);
/* As spdk_shim_null_delete(). */
int spdk_shim_error_delete(const char *name, void (*cb_fn)(void *cb_arg, int rc), void *cb_arg);

#endif
