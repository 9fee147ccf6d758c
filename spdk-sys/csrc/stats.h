/* What SPDK counts about a bdev: statistics, latency histograms, I/O that takes too long. */
#ifndef SPDK_SHIM_STATS_H
#define SPDK_SHIM_STATS_H

#include <spdk/stdinc.h>
#include <spdk/bdev.h>

/* I/O of one kind that succeeded. Latencies in ticks (spdk_get_ticks_hz); min is UINT64_MAX if there was none. */
struct spdk_shim_io_stat {
	uint64_t ops;
	uint64_t bytes;
	uint64_t latency;
	uint64_t min_latency;		/* only if has_min_max */
	uint64_t max_latency;
};

struct spdk_shim_stats {
	struct spdk_shim_io_stat read;
	struct spdk_shim_io_stat write;
	struct spdk_shim_io_stat unmap;
	struct spdk_shim_io_stat copy;
	uint32_t errors[16];		/* by status -1, -2, ..; only of whole bdevs, and if has_errors */
	bool has_min_max;		/* 23.01 and newer; has_copy and has_errors too */
	bool has_copy;
	bool has_errors;
};

enum spdk_shim_reset_stats {
	SPDK_SHIM_RESET_STATS_NONE,
	SPDK_SHIM_RESET_STATS_ALL,	/* 25.01 and newer, as all but NONE; else -ENOTSUP */
	SPDK_SHIM_RESET_STATS_MAX_MIN,
};

/* Of one channel, on its thread. */
int spdk_shim_channel_stats(struct spdk_bdev *bdev, struct spdk_io_channel *ch, enum spdk_shim_reset_stats reset,
			    struct spdk_shim_stats *out);

/*
 * Of all channels. Unless this answers with an error, `cb_fn` is called once, on the calling thread, later or at once;
 * `stats` is NULL if rc is not 0, and else only there during the call.
 */
typedef void (*spdk_shim_stats_cb)(void *cb_arg, int rc, const struct spdk_shim_stats *stats);
int spdk_shim_bdev_stats(struct spdk_bdev *bdev, enum spdk_shim_reset_stats reset, spdk_shim_stats_cb cb_fn, void *cb_arg);

/* The merged histogram of all channels. `cb_fn` as above; -EFAULT if a channel has none. */
struct spdk_histogram_data;
typedef void (*spdk_shim_histogram_cb)(void *cb_arg, int rc, const struct spdk_histogram_data *histogram);
void spdk_shim_histogram_get(struct spdk_bdev *bdev, spdk_shim_histogram_cb cb_fn, void *cb_arg);

/* Calls `fn` for each bucket with a count, in order: datapoints from start to before end (0: no end). */
typedef void (*spdk_shim_bucket_fn)(void *ctx, uint64_t start, uint64_t end, uint64_t count);
void spdk_shim_histogram_each(const struct spdk_histogram_data *histogram, spdk_shim_bucket_fn fn, void *ctx);

/* What a descriptor's time-out reports about an I/O. Read only, on its channel's thread. */
struct spdk_shim_io_info {
	uint64_t submit_ticks;
	uint64_t offset_blocks;		/* only if has_range */
	uint64_t num_blocks;
	int type;			/* enum spdk_bdev_io_type */
	bool has_range;
};
void spdk_shim_io_info(const struct spdk_bdev_io *bdev_io, struct spdk_shim_io_info *out);

#endif
