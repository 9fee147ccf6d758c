#include "client.h"

#include <spdk/bdev.h>
#include <spdk/bdev_module.h>

int bench_context_size(const char *bdev);

static void
bdev_event(enum spdk_bdev_event_type type, struct spdk_bdev *bdev, void *ctx)
{
}

/* Bytes that the bdev's module has in each request; a negated errno. */
int
bench_context_size(const char *name)
{
	struct spdk_bdev_desc *desc;
	struct spdk_bdev *bdev;
	int rc;

	rc = spdk_bdev_open_ext(name, false, bdev_event, NULL, &desc);
	if (rc != 0) {
		return rc;
	}
	bdev = spdk_bdev_desc_get_bdev(desc);
	rc = bdev->module->get_ctx_size ? bdev->module->get_ctx_size() : 0;
	spdk_bdev_close(desc);
	return rc;
}
