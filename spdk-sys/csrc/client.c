#include "client.h"
#include "version.h"

#include <spdk/bdev.h>
#include <spdk/bdev_module.h>

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

uint8_t
spdk_shim_bdev_alignment_log2(const struct spdk_bdev *bdev)
{
	return bdev->required_alignment;
}

const char *
spdk_shim_bdev_module_name(const struct spdk_bdev *bdev)
{
	return bdev->module->name;
}

const char *
spdk_shim_bdev_claimed_by(const struct spdk_bdev *bdev)
{
#if SINCE(23, 1)
	if (bdev->internal.claim_type != SPDK_BDEV_CLAIM_EXCL_WRITE ||
	    bdev->internal.claim.v1.module == NULL) {
		return NULL;
	}
	return bdev->internal.claim.v1.module->name;
#else
	return bdev->internal.claim_module ? bdev->internal.claim_module->name : NULL;
#endif
}
