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

#endif
