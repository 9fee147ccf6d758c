/* What a bdev is. */
#ifndef SPDK_SHIM_INFO_H
#define SPDK_SHIM_INFO_H

#include <spdk/stdinc.h>
#include <spdk/bdev.h>

/* A limit that a version does not know, or a bdev does not have, is 0. */
struct spdk_shim_bdev_info {
	const char *name;
	const char *product;
	const char *module;
	uint8_t uuid[16];
	uint64_t num_blocks;
	uint64_t io_types;		/* bit n: enum spdk_bdev_io_type n, natively or by emulation */
	uint32_t block_size;		/* with interleaved metadata */
	uint32_t data_block_size;
	uint32_t physical_block_size;	/* before 21.07: the data block size */
	uint32_t align;			/* bytes */
	uint32_t write_unit;
	uint32_t acwu;
	uint32_t optimal_io_boundary;
	uint32_t md_size;
	uint32_t dif_type;		/* 0 is none */
	uint32_t dif_guard_bits;
	uint32_t max_segment_size;	/* 21.01 */
	uint32_t max_num_segments;	/* 21.01 */
	uint32_t max_unmap;		/* 21.07 */
	uint32_t max_unmap_segments;	/* 21.07 */
	uint32_t max_write_zeroes;	/* 21.07 */
	uint32_t max_copy;		/* 23.01 */
	uint32_t max_rw_size;		/* 24.01 */
	uint64_t zone_size;
	uint32_t max_open_zones;
	uint32_t optimal_open_zones;
	uint32_t max_active_zones;	/* 21.04 */
	uint32_t max_zone_append_size;	/* 21.04 */
	int32_t numa_id;		/* -1: any, or before 24.09 */
	bool md_interleaved;
	bool dif_at_head;
	bool dif_guard;
	bool dif_app_tag;
	bool dif_ref_tag;
	bool write_cache;
	bool zoned;
	bool media_events;
	bool split_on_boundary;
};
/* The strings live as long as the bdev. App thread, with the bdev held. */
void spdk_shim_bdev_info(struct spdk_bdev *bdev, struct spdk_shim_bdev_info *out);
/* Alias number `index`, or NULL. App thread, with the bdev held. */
const char *spdk_shim_bdev_alias(const struct spdk_bdev *bdev, size_t index);

/* The bdev of that name or alias, unless it is being removed; else NULL. App thread, where removals begin. */
struct spdk_bdev *spdk_shim_bdev_ready(const char *name);

/* Calls `fn` with each bdev that is not being removed. App thread. Stops at an error of its own (-ENOMEM). */
int spdk_shim_for_each_bdev(void (*fn)(void *ctx, struct spdk_bdev *bdev), void *ctx);

/* For tests: makes a bdev one that tells of media events, before anybody opens it. */
void spdk_shim_test_set_media_events(struct spdk_bdev *bdev);

#endif
