#include "stats.h"
#include "version.h"

#include <spdk/bdev_module.h>
#include <spdk/histogram_data.h>

SIZE_IS(struct spdk_bdev_io_stat, 176);
_Static_assert(SPDK_BDEV_QOS_NUM_RATE_LIMIT_TYPES == 4, "Rust hands over four rate limits");

#if SINCE(23, 1)
#define ERRORS (-SPDK_MIN_BDEV_IO_STATUS)
_Static_assert(ERRORS <= SPDK_COUNTOF(((struct spdk_shim_stats *)0)->errors), "no room for all statuses");
#endif

/* SPDK's statistics with room for its error counters, whose struct is private: one uint32_t for each status. */
struct stats_ctx {
	struct spdk_bdev_io_stat stat;
#if SINCE(23, 1)
	uint32_t errors[ERRORS];
#endif
	spdk_shim_stats_cb cb_fn;
	void *cb_arg;
};

static void
copy_stats(const struct spdk_bdev_io_stat *stat, struct spdk_shim_stats *out)
{
	memset(out, 0, sizeof(*out));
	/* ticks_rate is not read: SPDK leaves it uninitialised in the statistics of a channel (23.01 to 26.05). */
#define COPY(kind, bytes_field, ops_field)			\
	do {							\
		out->kind.bytes = stat->bytes_field;		\
		out->kind.ops = stat->ops_field;		\
		out->kind.latency = stat->kind##_latency_ticks;	\
	} while (0)
	COPY(read, bytes_read, num_read_ops);
	COPY(write, bytes_written, num_write_ops);
	COPY(unmap, bytes_unmapped, num_unmap_ops);
#if SINCE(23, 1)
	COPY(copy, bytes_copied, num_copy_ops);
	out->has_copy = true;
#define MIN_MAX(kind)						\
	do {							\
		out->kind.min_latency = stat->min_##kind##_latency_ticks;	\
		out->kind.max_latency = stat->max_##kind##_latency_ticks;	\
	} while (0)
	MIN_MAX(read);
	MIN_MAX(write);
	MIN_MAX(unmap);
	MIN_MAX(copy);
	out->has_min_max = true;
#endif
}

static bool
can_reset(enum spdk_shim_reset_stats reset)
{
#if SINCE(25, 1)
	return true;
#else
	return reset == SPDK_SHIM_RESET_STATS_NONE;
#endif
}

#if SINCE(25, 1)
static enum spdk_bdev_reset_stat_mode
reset_mode(enum spdk_shim_reset_stats reset)
{
	switch (reset) {
	case SPDK_SHIM_RESET_STATS_ALL:
		return SPDK_BDEV_RESET_STAT_ALL;
	case SPDK_SHIM_RESET_STATS_MAX_MIN:
		return SPDK_BDEV_RESET_STAT_MAXMIN;
	default:
		return SPDK_BDEV_RESET_STAT_NONE;
	}
}
#endif

int
spdk_shim_channel_stats(struct spdk_bdev *bdev, struct spdk_io_channel *ch, enum spdk_shim_reset_stats reset,
			struct spdk_shim_stats *out)
{
	struct spdk_bdev_io_stat stat;

	if (!can_reset(reset)) {
		return -ENOTSUP;
	}
	/* A pointer inside is followed unless it is NULL (B-91). */
	memset(&stat, 0, sizeof(stat));
#if SINCE(25, 1)
	spdk_bdev_get_io_stat(bdev, ch, &stat, reset_mode(reset));
#else
	spdk_bdev_get_io_stat(bdev, ch, &stat);
#endif
	copy_stats(&stat, out);
	return 0;
}

static void
bdev_stats_done(struct spdk_bdev *bdev, struct spdk_bdev_io_stat *stat, void *cb_arg, int rc)
{
	struct stats_ctx *ctx = cb_arg;
	struct spdk_shim_stats out;

	if (rc == 0) {
		copy_stats(&ctx->stat, &out);
#if SINCE(23, 1)
		memcpy(out.errors, ctx->errors, sizeof(ctx->errors));
		out.has_errors = true;
#endif
	}
	ctx->cb_fn(ctx->cb_arg, rc, rc == 0 ? &out : NULL);
	free(ctx);
}

int
spdk_shim_bdev_stats(struct spdk_bdev *bdev, enum spdk_shim_reset_stats reset, spdk_shim_stats_cb cb_fn, void *cb_arg)
{
	struct stats_ctx *ctx;

	if (!can_reset(reset)) {
		return -ENOTSUP;
	}
	ctx = calloc(1, sizeof(*ctx));
	if (ctx == NULL) {
		return -ENOMEM;
	}
	ctx->cb_fn = cb_fn;
	ctx->cb_arg = cb_arg;
#if SINCE(23, 1)
	ctx->stat.io_error = (struct spdk_bdev_io_error_stat *)ctx->errors;
#endif
#if SINCE(25, 1)
	spdk_bdev_get_device_stat(bdev, &ctx->stat, reset_mode(reset), bdev_stats_done, ctx);
#else
	spdk_bdev_get_device_stat(bdev, &ctx->stat, bdev_stats_done, ctx);
#endif
	return 0;
}

struct histogram_ctx {
	struct spdk_histogram_data *histogram;
	spdk_shim_histogram_cb cb_fn;
	void *cb_arg;
};

static void
histogram_done(void *cb_arg, int rc, struct spdk_histogram_data *histogram)
{
	struct histogram_ctx *ctx = cb_arg;

	ctx->cb_fn(ctx->cb_arg, rc, rc == 0 ? ctx->histogram : NULL);
	spdk_histogram_data_free(ctx->histogram);
	free(ctx);
}

void
spdk_shim_histogram_get(struct spdk_bdev *bdev, spdk_shim_histogram_cb cb_fn, void *cb_arg)
{
	struct histogram_ctx *ctx = calloc(1, sizeof(*ctx));

	if (ctx != NULL) {
		/* In the layout in which it was enabled, since SPDK leaves out what it can't merge, and doesn't say so. */
#if SINCE(25, 5)
		if (bdev->internal.histogram_enabled) {
			ctx->histogram = spdk_histogram_data_alloc_sized_ext(bdev->internal.histogram_granularity,
					 bdev->internal.histogram_min_val, bdev->internal.histogram_max_val);
		} else {
			ctx->histogram = spdk_histogram_data_alloc();
		}
#else
		ctx->histogram = spdk_histogram_data_alloc();
#endif
	}
	if (ctx == NULL || ctx->histogram == NULL) {
		free(ctx);
		cb_fn(cb_arg, -ENOMEM, NULL);
		return;
	}
	ctx->cb_fn = cb_fn;
	ctx->cb_arg = cb_arg;
	spdk_bdev_histogram_get(bdev, ctx->histogram, histogram_done, ctx);
}

struct each_ctx {
	spdk_shim_bucket_fn fn;
	void *ctx;
};

static void
each_bucket(void *arg, uint64_t start, uint64_t end, uint64_t count, uint64_t total, uint64_t so_far)
{
	struct each_ctx *each = arg;

	if (count != 0) {
		each->fn(each->ctx, start, end, count);
	}
}

void
spdk_shim_histogram_each(const struct spdk_histogram_data *histogram, spdk_shim_bucket_fn fn, void *ctx)
{
	struct each_ctx each = { .fn = fn, .ctx = ctx };

	spdk_histogram_data_iterate(histogram, each_bucket, &each);
}

void
spdk_shim_io_info(const struct spdk_bdev_io *bdev_io, struct spdk_shim_io_info *out)
{
	memset(out, 0, sizeof(*out));
	out->type = bdev_io->type;
	out->submit_ticks = bdev_io->internal.submit_tsc;
	switch (bdev_io->type) {
	case SPDK_BDEV_IO_TYPE_READ:
	case SPDK_BDEV_IO_TYPE_WRITE:
	case SPDK_BDEV_IO_TYPE_UNMAP:
	case SPDK_BDEV_IO_TYPE_FLUSH:
	case SPDK_BDEV_IO_TYPE_WRITE_ZEROES:
	case SPDK_BDEV_IO_TYPE_ZCOPY:
	case SPDK_BDEV_IO_TYPE_COMPARE:
	case SPDK_BDEV_IO_TYPE_COMPARE_AND_WRITE:
#if SINCE(23, 1)
	case SPDK_BDEV_IO_TYPE_COPY:
#endif
		out->offset_blocks = bdev_io->u.bdev.offset_blocks;
		out->num_blocks = bdev_io->u.bdev.num_blocks;
		out->has_range = true;
		break;
	default:
		break;
	}
}
