#include "info.h"
#include "client.h"
#include "version.h"

#include <spdk/bdev.h>
#include <spdk/bdev_module.h>
#include <spdk/bdev_zone.h>
#include <spdk/dif.h>
#include <spdk/util.h>

/* SPDK emulates WRITE_ZEROES by writes from a buffer of this size, and overruns it with larger blocks. */
#define ZERO_BUFFER_SIZE (1u << 20)

#define BIT(type) (UINT64_C(1) << (type))

static uint64_t
io_types(struct spdk_bdev *bdev)
{
	uint64_t types = 0;
	int type;

	for (type = SPDK_BDEV_IO_TYPE_INVALID + 1; type < SPDK_BDEV_NUM_IO_TYPES; type++) {
		if (spdk_bdev_io_type_supported(bdev, (enum spdk_bdev_io_type)type)) {
			types |= BIT(type);
		}
	}
	/* What the bdev layer emulates by reads and writes, and does not always say (B-46 to B-48, B-51). */
	if (types & BIT(SPDK_BDEV_IO_TYPE_READ)) {
		types |= BIT(SPDK_BDEV_IO_TYPE_COMPARE);
		if (types & BIT(SPDK_BDEV_IO_TYPE_WRITE)) {
			types |= BIT(SPDK_BDEV_IO_TYPE_COMPARE_AND_WRITE);
#if SINCE(23, 5)
			types |= BIT(SPDK_BDEV_IO_TYPE_COPY);
#endif
		}
	}
#if SINCE(22, 9)
	types |= BIT(SPDK_BDEV_IO_TYPE_SEEK_DATA) | BIT(SPDK_BDEV_IO_TYPE_SEEK_HOLE);
#endif
	if (bdev->blocklen > ZERO_BUFFER_SIZE &&
	    !bdev->fn_table->io_type_supported(bdev->ctxt, SPDK_BDEV_IO_TYPE_WRITE_ZEROES)) {
		types &= ~BIT(SPDK_BDEV_IO_TYPE_WRITE_ZEROES);
	}
#if !SINCE(22, 1)
	/* A delay bdev dereferences NULL when it is reset. */
	if (strcmp(bdev->module->name, "delay") == 0) {
		types &= ~BIT(SPDK_BDEV_IO_TYPE_RESET);
	}
#endif
	return types;
}

void
spdk_shim_bdev_info(struct spdk_bdev *bdev, struct spdk_shim_bdev_info *out)
{
	memset(out, 0, sizeof(*out));
	out->name = bdev->name;
	out->product = bdev->product_name;
	out->module = bdev->module->name;
	memcpy(out->uuid, &bdev->uuid, sizeof(out->uuid));
	out->num_blocks = bdev->blockcnt;
	out->io_types = io_types(bdev);
	out->block_size = bdev->blocklen;
	out->data_block_size = spdk_bdev_get_data_block_size(bdev);
	out->align = (uint32_t)spdk_bdev_get_buf_align(bdev);
	out->write_unit = spdk_bdev_get_write_unit_size(bdev);
	out->acwu = spdk_bdev_get_acwu(bdev);
	out->optimal_io_boundary = spdk_bdev_get_optimal_io_boundary(bdev);
	out->split_on_boundary = bdev->split_on_optimal_io_boundary;
	out->md_size = spdk_bdev_get_md_size(bdev);
	out->md_interleaved = spdk_bdev_is_md_interleaved(bdev);
	out->write_cache = spdk_bdev_has_write_cache(bdev);
	out->media_events = bdev->media_events;

	out->dif_type = spdk_bdev_get_dif_type(bdev);
	if (out->dif_type != SPDK_DIF_DISABLE) {
		out->dif_at_head = spdk_bdev_is_dif_head_of_md(bdev);
		out->dif_guard = spdk_bdev_is_dif_check_enabled(bdev, SPDK_DIF_CHECK_TYPE_GUARD);
		out->dif_app_tag = spdk_bdev_is_dif_check_enabled(bdev, SPDK_DIF_CHECK_TYPE_APPTAG);
		out->dif_ref_tag = spdk_bdev_is_dif_check_enabled(bdev, SPDK_DIF_CHECK_TYPE_REFTAG);
		out->dif_guard_bits = 16;
#if SINCE(24, 9)
		if (bdev->dif_pi_format != SPDK_DIF_PI_FORMAT_16) {
			out->dif_guard_bits = bdev->dif_pi_format == SPDK_DIF_PI_FORMAT_32 ? 32 : 64;
		}
#endif
	}

	out->zoned = spdk_bdev_is_zoned(bdev);
	if (out->zoned) {
		out->zone_size = spdk_bdev_get_zone_size(bdev);
		out->max_open_zones = spdk_bdev_get_max_open_zones(bdev);
		out->optimal_open_zones = spdk_bdev_get_optimal_open_zones(bdev);
#if SINCE(21, 4)
		out->max_active_zones = bdev->max_active_zones;
		out->max_zone_append_size = bdev->max_zone_append_size;
#endif
	}

	out->physical_block_size = out->data_block_size;
#if SINCE(21, 1)
	out->max_segment_size = bdev->max_segment_size;
	out->max_num_segments = bdev->max_num_segments;
#endif
#if SINCE(21, 7)
	out->physical_block_size = bdev->phys_blocklen;
	out->max_unmap = bdev->max_unmap;
	out->max_unmap_segments = bdev->max_unmap_segments;
	out->max_write_zeroes = bdev->max_write_zeroes;
#endif
#if SINCE(23, 1)
	out->max_copy = bdev->max_copy;
#endif
#if SINCE(24, 1)
	out->max_rw_size = bdev->max_rw_size;
#endif
	out->numa_id = -1;
#if SINCE(24, 9)
	out->numa_id = spdk_bdev_get_numa_id(bdev);
#endif
}

const char *
spdk_shim_bdev_alias(const struct spdk_bdev *bdev, size_t index)
{
	struct spdk_bdev_alias *alias;

	TAILQ_FOREACH(alias, &bdev->aliases, tailq) {
		if (index-- == 0) {
#if SINCE(21, 7)
			return alias->alias.name;
#else
			return alias->alias;
#endif
		}
	}
	return NULL;
}

struct spdk_bdev *
spdk_shim_bdev_ready(const char *name)
{
	struct spdk_bdev *bdev = spdk_bdev_get_by_name(name);

	return bdev != NULL && bdev->internal.status == SPDK_BDEV_STATUS_READY ? bdev : NULL;
}

#if SINCE(22, 9)

struct each {
	void (*fn)(void *ctx, struct spdk_bdev *bdev);
	void *ctx;
};

static int
each_bdev(void *ctx, struct spdk_bdev *bdev)
{
	struct each *each = ctx;

	each->fn(each->ctx, bdev);
	return 0;
}

int
spdk_shim_for_each_bdev(void (*fn)(void *ctx, struct spdk_bdev *bdev), void *ctx)
{
	struct each each = { fn, ctx };

	return spdk_for_each_bdev(&each, each_bdev);
}

#else

int
spdk_shim_for_each_bdev(void (*fn)(void *ctx, struct spdk_bdev *bdev), void *ctx)
{
	struct spdk_bdev *bdev;

	/*
	 * Nothing is opened: that sets off a walk over the channels of a bdev with QoS limits, and one that is
	 * unregistered before the walk is over never goes (spdk_io_device_unregister() refuses).
	 */
	for (bdev = spdk_bdev_first(); bdev != NULL; bdev = spdk_bdev_next(bdev)) {
		if (bdev->internal.status == SPDK_BDEV_STATUS_READY) {
			fn(ctx, bdev);
		}
	}
	return 0;
}

#endif

void
spdk_shim_test_set_media_events(struct spdk_bdev *bdev)
{
	bdev->media_events = true;
}
