#include "client.h"

#include <spdk/bdev.h>

int
spdk_shim_bdev_open(const char *name, bool write, spdk_bdev_event_cb_t event_cb, void *event_ctx,
		    struct spdk_bdev_desc **desc)
{
	*desc = NULL;
	int rc = spdk_bdev_open_ext(name, write, event_cb, event_ctx, desc);

	if (rc != 0) {
		*desc = NULL;
	}
	/* 20.07 says -EINVAL for a name that it does not know; otherwise that is a missing event_cb (B-01). */
	return rc == -EINVAL && event_cb != NULL ? -ENODEV : rc;
}
