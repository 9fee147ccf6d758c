#include "client.h"
#include "version.h"

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

#if SINCE(21, 1)

void
spdk_shim_bdev_close_look(struct spdk_bdev_desc *desc)
{
	spdk_bdev_close(desc);
}

#else

struct close_look {
	struct spdk_bdev_io_stat stat;
	struct spdk_bdev_desc *desc;
};

static void
close_look_walked(struct spdk_bdev *bdev, struct spdk_bdev_io_stat *stat, void *cb_arg, int rc)
{
	struct close_look *look = cb_arg;

	spdk_bdev_close(look->desc);
	free(look);
}

void
spdk_shim_bdev_close_look(struct spdk_bdev_desc *desc)
{
	struct spdk_bdev *bdev = spdk_bdev_desc_get_bdev(desc);
	uint64_t limits[SPDK_BDEV_QOS_NUM_RATE_LIMIT_TYPES];
	struct close_look *look = NULL;
	bool has_limits = false;

	spdk_bdev_get_qos_rate_limits(bdev, limits);
	for (int i = 0; i < SPDK_BDEV_QOS_NUM_RATE_LIMIT_TYPES; i++) {
		has_limits |= limits[i] != 0;
	}
	if (has_limits) {
		look = calloc(1, sizeof(*look));
	}
	if (look == NULL) {
		spdk_bdev_close(desc);
		return;
	}
	look->desc = desc;
	spdk_bdev_get_device_stat(bdev, &look->stat, close_look_walked, look);
}

#endif
