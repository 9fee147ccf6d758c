#include "passthru.h"
#include "version.h"

#include <spdk/bdev.h>
#include <spdk/bdev_module.h>
#include <spdk/uuid.h>

#ifdef SPDK_SHIM_BDEV_PASSTHRU

#ifdef SPDK_SHIM_HAVE_SOURCE
#include <bdev/passthru/vbdev_passthru.h>
#else
#if SINCE(23, 9)
int bdev_passthru_create_disk(const char *bdev_name, const char *vbdev_name, const struct spdk_uuid *uuid);
#else
int bdev_passthru_create_disk(const char *bdev_name, const char *vbdev_name);
#endif
#if SINCE(22, 5)
void bdev_passthru_delete_disk(const char *bdev_name, spdk_bdev_unregister_cb cb_fn, void *cb_arg);
#else
void bdev_passthru_delete_disk(struct spdk_bdev *bdev, spdk_bdev_unregister_cb cb_fn, void *cb_arg);
#endif
#endif /* SPDK_SHIM_HAVE_SOURCE */

int
spdk_shim_passthru_create(const char *name, const char *base, const uint8_t *uuid,
			  struct spdk_shim_needs *needs)
{
#if SINCE(23, 9)
	struct spdk_uuid spdk_uuid;

	memset(&spdk_uuid, 0, sizeof(spdk_uuid));
	if (uuid != NULL) {
		memcpy(&spdk_uuid, uuid, sizeof(spdk_uuid));
	}
	return bdev_passthru_create_disk(base, name, &spdk_uuid);
#else
	if (uuid != NULL) {
		return SPDK_SHIM_NEEDS(needs, "the UUID of a pass-through bdev", "23.09");
	}
#if !SINCE(22, 1)
	struct spdk_bdev *bdev = spdk_bdev_get_by_name(base);

	/* It passes on a reset, and a delay bdev dereferences NULL then. */
	if (bdev != NULL && strcmp(bdev->module->name, "delay") == 0) {
		return SPDK_SHIM_NEEDS(needs, "a pass-through bdev on a delay bdev", "22.01");
	}
#endif
	return bdev_passthru_create_disk(base, name);
#endif
}

int
spdk_shim_passthru_delete(const char *name, void (*cb_fn)(void *cb_arg, int rc), void *cb_arg)
{
#if SINCE(22, 5)
	bdev_passthru_delete_disk(name, cb_fn, cb_arg);
#else
	struct spdk_bdev *bdev = spdk_bdev_get_by_name(name);

	if (bdev == NULL) {
		return -ENODEV;
	}
	bdev_passthru_delete_disk(bdev, cb_fn, cb_arg);
#endif
	return 0;
}

#else

int
spdk_shim_passthru_create(const char *name, const char *base, const uint8_t *uuid,
			  struct spdk_shim_needs *needs)
{
	return -ENOTSUP;
}

int
spdk_shim_passthru_delete(const char *name, void (*cb_fn)(void *cb_arg, int rc), void *cb_arg)
{
	return -ENOTSUP;
}

#endif /* SPDK_SHIM_BDEV_PASSTHRU */
