#include "aio.h"
#include "version.h"

#include <spdk/bdev.h>
#include <spdk/uuid.h>

#ifdef SPDK_SHIM_BDEV_AIO

#ifdef SPDK_SHIM_HAVE_SOURCE
#include <bdev/aio/bdev_aio.h>
#else
typedef void (*delete_aio_bdev_complete)(void *cb_arg, int bdeverrno);
#if SINCE(26, 1)
int create_aio_bdev(const char *name, const char *filename, uint32_t block_size, bool readonly, bool falloc,
		    const struct spdk_uuid *uuid, bool nowait);
#elif SINCE(24, 9)
int create_aio_bdev(const char *name, const char *filename, uint32_t block_size, bool readonly, bool falloc,
		    const struct spdk_uuid *uuid);
#elif SINCE(24, 5)
int create_aio_bdev(const char *name, const char *filename, uint32_t block_size, bool readonly, bool falloc);
#elif SINCE(23, 1)
int create_aio_bdev(const char *name, const char *filename, uint32_t block_size, bool readonly);
#else
int create_aio_bdev(const char *name, const char *filename, uint32_t block_size);
#endif
#if SINCE(22, 5)
void bdev_aio_delete(const char *name, delete_aio_bdev_complete cb_fn, void *cb_arg);
#else
void bdev_aio_delete(struct spdk_bdev *bdev, delete_aio_bdev_complete cb_fn, void *cb_arg);
#endif
#endif /* SPDK_SHIM_HAVE_SOURCE */

int
spdk_shim_aio_create(const struct spdk_shim_aio_opts *opts, struct spdk_shim_needs *needs)
{
	int rc;

#if SINCE(24, 9)
	struct spdk_uuid uuid;

	memset(&uuid, 0, sizeof(uuid));
	if (opts->uuid != NULL) {
		memcpy(&uuid, opts->uuid, sizeof(uuid));
	}
#else
	if (opts->uuid != NULL) {
		return SPDK_SHIM_NEEDS(needs, "the UUID of an AIO bdev", "24.09");
	}
#endif
#if !SINCE(23, 1)
	if (opts->read_only) {
		return SPDK_SHIM_NEEDS(needs, "a read-only AIO bdev", "23.01");
	}
#endif
#if SINCE(26, 1)
	rc = create_aio_bdev(opts->name, opts->path, opts->block_size, opts->read_only, false, &uuid, false);
#elif SINCE(24, 9)
	rc = create_aio_bdev(opts->name, opts->path, opts->block_size, opts->read_only, false, &uuid);
#elif SINCE(24, 5)
	rc = create_aio_bdev(opts->name, opts->path, opts->block_size, opts->read_only, false);
#elif SINCE(23, 1)
	rc = create_aio_bdev(opts->name, opts->path, opts->block_size, opts->read_only);
#else
	rc = create_aio_bdev(opts->name, opts->path, opts->block_size);
#endif
	/* It reports an errno that its own log line may have set to 0 in between. */
	return rc == 0 && spdk_bdev_get_by_name(opts->name) == NULL ? -EIO : rc;
}

int
spdk_shim_aio_delete(const char *name, void (*cb_fn)(void *cb_arg, int rc), void *cb_arg)
{
#if SINCE(22, 5)
	bdev_aio_delete(name, cb_fn, cb_arg);
#else
	struct spdk_bdev *bdev = spdk_bdev_get_by_name(name);

	if (bdev == NULL) {
		return -ENODEV;
	}
	bdev_aio_delete(bdev, cb_fn, cb_arg);
#endif
	return 0;
}

#else

int
spdk_shim_aio_create(const struct spdk_shim_aio_opts *opts, struct spdk_shim_needs *needs)
{
	return -ENOTSUP;
}

int
spdk_shim_aio_delete(const char *name, void (*cb_fn)(void *cb_arg, int rc), void *cb_arg)
{
	return -ENOTSUP;
}

#endif /* SPDK_SHIM_BDEV_AIO */
