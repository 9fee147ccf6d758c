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

/*
 * spdk_bdev_close() for a descriptor that was only open for a look. Opening a bdev that has rate limits may set off a
 * walk over its channels, and up to 20.10 SPDK refuses, for ever, to unregister a bdev during a walk. So there the
 * descriptor of such a bdev is closed when another walk is over. Its event_cb needs no context that goes away.
 */
void spdk_shim_bdev_close_look(struct spdk_bdev_desc *desc);

#endif
