#include "delay.h"
#include "version.h"

#include <spdk/bdev.h>
#include <spdk/bdev_module.h>
#include <spdk/uuid.h>
#if SINCE(26, 5)
#include <spdk/module/bdev/delay.h>
#endif

#ifdef SPDK_SHIM_BDEV_DELAY

#ifdef SPDK_SHIM_HAVE_SOURCE
#include <bdev/delay/vbdev_delay.h>
#else
#if !SINCE(26, 5)
enum delay_io_type {
	DELAY_AVG_READ,
	DELAY_P99_READ,
	DELAY_AVG_WRITE,
	DELAY_P99_WRITE,
	DELAY_NONE
};
int vbdev_delay_update_latency_value(char *delay_name, uint64_t latency_us, enum delay_io_type type);
#else
int vbdev_delay_update_latency_value(char *delay_name, uint64_t latency_us,
				     enum spdk_bdev_delay_io_type type);
#endif
#if SINCE(23, 5)
int create_delay_disk(const char *bdev_name, const char *vbdev_name, struct spdk_uuid *uuid,
		      uint64_t avg_read_latency, uint64_t p99_read_latency, uint64_t avg_write_latency,
		      uint64_t p99_write_latency);
#else
int create_delay_disk(const char *bdev_name, const char *vbdev_name, uint64_t avg_read_latency,
		      uint64_t p99_read_latency, uint64_t avg_write_latency, uint64_t p99_write_latency);
#endif
#if SINCE(22, 5)
void delete_delay_disk(const char *vbdev_name, spdk_bdev_unregister_cb cb_fn, void *cb_arg);
#else
void delete_delay_disk(struct spdk_bdev *bdev, spdk_bdev_unregister_cb cb_fn, void *cb_arg);
#endif
#endif /* SPDK_SHIM_HAVE_SOURCE */

int
spdk_shim_delay_create(const struct spdk_shim_delay_opts *opts, struct spdk_shim_needs *needs)
{
#if SINCE(23, 5)
	struct spdk_uuid uuid;

	memset(&uuid, 0, sizeof(uuid));
	if (opts->uuid != NULL) {
		memcpy(&uuid, opts->uuid, sizeof(uuid));
	}
	return create_delay_disk(opts->base, opts->name, &uuid, opts->avg_read, opts->p99_read,
				 opts->avg_write, opts->p99_write);
#else
	if (opts->uuid != NULL) {
		return SPDK_SHIM_NEEDS(needs, "the UUID of a delay bdev", "23.05");
	}
	return create_delay_disk(opts->base, opts->name, opts->avg_read, opts->p99_read, opts->avg_write,
				 opts->p99_write);
#endif
}

int
spdk_shim_delay_update(const char *name, enum spdk_shim_latency which, uint64_t us)
{
#if SINCE(26, 5)
	static const enum spdk_bdev_delay_io_type types[] = {
		[SPDK_SHIM_LATENCY_AVG_READ] = SPDK_BDEV_DELAY_IO_TYPE_AVG_READ,
		[SPDK_SHIM_LATENCY_P99_READ] = SPDK_BDEV_DELAY_IO_TYPE_P99_READ,
		[SPDK_SHIM_LATENCY_AVG_WRITE] = SPDK_BDEV_DELAY_IO_TYPE_AVG_WRITE,
		[SPDK_SHIM_LATENCY_P99_WRITE] = SPDK_BDEV_DELAY_IO_TYPE_P99_WRITE,
	};
#else
	static const enum delay_io_type types[] = {
		[SPDK_SHIM_LATENCY_AVG_READ] = DELAY_AVG_READ,
		[SPDK_SHIM_LATENCY_P99_READ] = DELAY_P99_READ,
		[SPDK_SHIM_LATENCY_AVG_WRITE] = DELAY_AVG_WRITE,
		[SPDK_SHIM_LATENCY_P99_WRITE] = DELAY_P99_WRITE,
	};
#endif
	return vbdev_delay_update_latency_value((char *)name, us, types[which]);
}

int
spdk_shim_delay_delete(const char *name, void (*cb_fn)(void *cb_arg, int rc), void *cb_arg)
{
#if SINCE(22, 5)
	delete_delay_disk(name, cb_fn, cb_arg);
#else
	struct spdk_bdev *bdev = spdk_bdev_get_by_name(name);

	if (bdev == NULL) {
		return -ENODEV;
	}
	delete_delay_disk(bdev, cb_fn, cb_arg);
#endif
	return 0;
}

#else

int
spdk_shim_delay_create(const struct spdk_shim_delay_opts *opts, struct spdk_shim_needs *needs)
{
	return -ENOTSUP;
}

int
spdk_shim_delay_update(const char *name, enum spdk_shim_latency which, uint64_t us)
{
	return -ENOTSUP;
}

int
spdk_shim_delay_delete(const char *name, void (*cb_fn)(void *cb_arg, int rc), void *cb_arg)
{
	return -ENOTSUP;
}

#endif /* SPDK_SHIM_BDEV_DELAY */
