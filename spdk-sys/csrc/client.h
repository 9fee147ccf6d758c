/* Bdevs as a client sees them. */
#ifndef SPDK_SHIM_CLIENT_H
#define SPDK_SHIM_CLIENT_H

#include <spdk/stdinc.h>
#include <spdk/bdev.h>

/*
 * spdk_bdev_open_ext(); a name that is not there is -ENODEV on every version. *desc is NULL on failure.
 */
int spdk_shim_bdev_open(const char *name, bool write, spdk_bdev_event_cb_t event_cb, void *event_ctx,
			struct spdk_bdev_desc **desc);

/* log2 of the alignment that a bdev wants, as spdk_bdev.required_alignment has it. */
uint8_t spdk_shim_bdev_alignment_log2(const struct spdk_bdev *bdev);
/* Name of the module that implements a bdev. */
const char *spdk_shim_bdev_module_name(const struct spdk_bdev *bdev);
/* Name of the module that holds the exclusive-write claim of a bdev; NULL if there is none. App thread. */
const char *spdk_shim_bdev_claimed_by(const struct spdk_bdev *bdev);

#endif
