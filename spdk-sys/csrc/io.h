/* Submitting I/O, and waiting for memory. */
#ifndef SPDK_SHIM_IO_H
#define SPDK_SHIM_IO_H

#include <spdk/stdinc.h>
#include <spdk/bdev.h>

/*
 * Fills a wait entry. `unblocks`: other I/O holds what it has until this one is done, so it goes to the head of the
 * queue (25.09 and newer; older versions have one order for all).
 */
void spdk_shim_io_wait_init(struct spdk_bdev_io_wait_entry *entry, struct spdk_bdev *bdev,
			    spdk_bdev_io_wait_cb cb_fn, void *cb_arg, bool unblocks);

#endif
