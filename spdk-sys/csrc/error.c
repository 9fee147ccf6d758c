#include "error.h"
#include "version.h"

#include <spdk/bdev.h>
#include <spdk/bdev_module.h>
#include <spdk/uuid.h>

#ifdef SPDK_SHIM_BDEV_ERROR

#ifdef SPDK_SHIM_HAVE_SOURCE
#include <bdev/error/vbdev_error.h>
#else
typedef void (*spdk_delete_error_complete)(void *cb_arg, int bdeverrno);
#if SINCE(23, 5)
int vbdev_error_create(const char *base_bdev_name, const struct spdk_uuid *uuid);
#else
int vbdev_error_create(const char *base_bdev_name);
#endif
#if SINCE(22, 5)
void vbdev_error_delete(const char *error_vbdev_name, spdk_delete_error_complete cb_fn, void *cb_arg);
#else
void vbdev_error_delete(struct spdk_bdev *vbdev, spdk_delete_error_complete cb_fn, void *cb_arg);
#endif
#if SINCE(23, 1)
struct vbdev_error_inject_opts {
	uint32_t io_type;
	uint32_t error_type;
#if SINCE(26, 5)
	uint32_t nvme_sct;
	uint32_t nvme_sc;
#endif
	uint32_t error_num;
#if SINCE(23, 9)
	uint64_t error_qd;
#endif
	uint64_t corrupt_offset;
	uint8_t corrupt_value;
};
int vbdev_error_inject_error(char *name, const struct vbdev_error_inject_opts *opts);
#else
int vbdev_error_inject_error(char *name, uint32_t io_type, uint32_t error_type, uint32_t error_num);
#endif
#endif /* SPDK_SHIM_HAVE_SOURCE */

int
spdk_shim_error_create(const char *base)
{
#if SINCE(23, 5)
	struct spdk_uuid none;

	/*
	 * A NULL, which the header allows, is dereferenced (26.05). A UUID other than this would be stored, and then
	 * overwritten with one that is made of the base's.
	 */
	memset(&none, 0, sizeof(none));
	return vbdev_error_create(base, &none);
#else
	return vbdev_error_create(base);
#endif
}

int
spdk_shim_error_inject(const char *name, const struct spdk_shim_error_opts *opts, struct spdk_shim_needs *needs)
{
	/* An index into an array that ends before RESET; it is not checked there. */
	if (opts->io_type != UINT32_MAX && opts->io_type >= SPDK_BDEV_IO_TYPE_RESET) {
		return -EINVAL;
	}
#if !SINCE(23, 1)
	if (opts->error_type == SPDK_SHIM_ERROR_CORRUPT) {
		return SPDK_SHIM_NEEDS(needs, "the injection of corrupt data", "23.01");
	}
#endif
#if !SINCE(23, 9)
	if (opts->queue_depth != 0) {
		return SPDK_SHIM_NEEDS(needs, "the injection at a queue depth", "23.09");
	}
#endif
#if !SINCE(24, 1)
	/* It can be injected since 23.09, but an I/O that fails so while nothing else is in flight hangs. */
	if (opts->error_type == SPDK_SHIM_ERROR_NOMEM) {
		return SPDK_SHIM_NEEDS(needs, "the injection of -ENOMEM", "24.01");
	}
#endif
#if !SINCE(26, 5)
	if (opts->error_type == SPDK_SHIM_ERROR_NVME) {
		return SPDK_SHIM_NEEDS(needs, "the injection of an NVMe status", "26.05");
	}
#endif

#if SINCE(23, 1)
	struct vbdev_error_inject_opts inject;

	memset(&inject, 0, sizeof(inject));
	inject.io_type = opts->io_type;
	inject.error_type = opts->error_type;
	inject.error_num = opts->count;
	inject.corrupt_offset = opts->corrupt_offset;
	inject.corrupt_value = opts->corrupt_value;
#if SINCE(23, 9)
	inject.error_qd = opts->queue_depth;
#endif
#if SINCE(26, 5)
	inject.nvme_sct = opts->nvme_sct;
	inject.nvme_sc = opts->nvme_sc;
#endif
	return vbdev_error_inject_error((char *)name, &inject);
#else
	return vbdev_error_inject_error((char *)name, opts->io_type, opts->error_type, opts->count);
#endif
}

int
spdk_shim_error_delete(const char *name, void (*cb_fn)(void *cb_arg, int rc), void *cb_arg)
{
#if SINCE(22, 5)
	vbdev_error_delete(name, cb_fn, cb_arg);
#else
	struct spdk_bdev *bdev = spdk_bdev_get_by_name(name);

	if (bdev == NULL) {
		return -ENODEV;
	}
	vbdev_error_delete(bdev, cb_fn, cb_arg);
#endif
	return 0;
}

#else

int
spdk_shim_error_create(const char *base)
{
	return -ENOTSUP;
}

int
spdk_shim_error_inject(const char *name, const struct spdk_shim_error_opts *opts, struct spdk_shim_needs *needs)
{
	return -ENOTSUP;
}

int
spdk_shim_error_delete(const char *name, void (*cb_fn)(void *cb_arg, int rc), void *cb_arg)
{
	return -ENOTSUP;
}

#endif /* SPDK_SHIM_BDEV_ERROR */
