/* Resets. */
#ifndef SPDK_SHIM_RESET_H
#define SPDK_SHIM_RESET_H

#include <spdk/stdinc.h>
#include <spdk/bdev.h>

/*
 * spdk_bdev_reset(). Before 25.05 that crashes the process when it meets the end of an earlier reset of the same bdev
 * (SPDK d47eb51c96), on whichever thread; there a reset waits here until the one before it is over.
 */
int spdk_shim_bdev_reset(struct spdk_bdev_desc *desc, struct spdk_io_channel *ch, spdk_bdev_io_completion_cb cb,
			 void *cb_arg);

/*
 * Resets a bdev, with a descriptor and a channel of its own, and forgets about it: it aborts the I/O that an error bdev
 * holds back. On an SPDK thread.
 */
int spdk_shim_bdev_reset_by_name(const char *name);

#endif
