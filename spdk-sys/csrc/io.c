#include "io.h"
#include "version.h"

#include <spdk/bdev.h>

SIZE_IS(struct spdk_bdev_io_wait_entry, 48);

void
spdk_shim_io_wait_init(struct spdk_bdev_io_wait_entry *entry, struct spdk_bdev *bdev,
		       spdk_bdev_io_wait_cb cb_fn, void *cb_arg, bool unblocks)
{
	entry->bdev = bdev;
	entry->cb_fn = cb_fn;
	entry->cb_arg = cb_arg;
#if SINCE(25, 9)
	entry->dep_unblock = unblocks;
#endif
}
