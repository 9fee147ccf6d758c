#include "null.h"
#include "version.h"

#include <spdk/bdev.h>
#include <spdk/bdev_module.h>
#include <spdk/dif.h>
#include <spdk/uuid.h>

#ifdef SPDK_SHIM_BDEV_NULL

#ifdef SPDK_SHIM_HAVE_SOURCE
#include <bdev/null/bdev_null.h>
#else
typedef void (*spdk_delete_null_complete)(void *cb_arg, int bdeverrno);
#if SINCE(24, 9)
struct null_bdev_opts {
	char *name;
	struct spdk_uuid uuid;
	uint64_t num_blocks;
	uint32_t block_size;
	uint32_t physical_block_size;
	uint32_t md_size;
#if SINCE(25, 9)
	uint32_t preferred_write_alignment;
	uint32_t preferred_write_granularity;
	uint32_t optimal_write_size;
	uint32_t preferred_unmap_alignment;
	uint32_t preferred_unmap_granularity;
#endif
	enum spdk_dif_type dif_type;
	bool dif_is_head_of_md;
	enum spdk_dif_pi_format dif_pi_format;
};
int bdev_null_create(struct spdk_bdev **bdev, const struct null_bdev_opts *opts);
#else
struct spdk_null_bdev_opts {
	const char *name;
	const struct spdk_uuid *uuid;
	uint64_t num_blocks;
	uint32_t block_size;
#if SINCE(23, 5)
	uint32_t physical_block_size;
#endif
	uint32_t md_size;
	bool md_interleave;
	enum spdk_dif_type dif_type;
	bool dif_is_head_of_md;
};
int bdev_null_create(struct spdk_bdev **bdev, const struct spdk_null_bdev_opts *opts);
#endif
#if SINCE(22, 5)
void bdev_null_delete(const char *bdev_name, spdk_delete_null_complete cb_fn, void *cb_arg);
#else
void bdev_null_delete(struct spdk_bdev *bdev, spdk_delete_null_complete cb_fn, void *cb_arg);
#endif
#endif /* SPDK_SHIM_HAVE_SOURCE */

int
spdk_shim_null_create(const struct spdk_shim_null_opts *opts, struct spdk_shim_needs *needs)
{
	struct spdk_bdev *bdev = NULL;

#if SINCE(24, 9)
	struct null_bdev_opts null_opts;

	memset(&null_opts, 0, sizeof(null_opts));
	null_opts.name = (char *)opts->name;	/* copied */
	if (opts->uuid != NULL) {
		memcpy(&null_opts.uuid, opts->uuid, sizeof(null_opts.uuid));
	}
	null_opts.block_size = opts->block_size;
#else
	struct spdk_null_bdev_opts null_opts;
	struct spdk_uuid uuid;

	memset(&null_opts, 0, sizeof(null_opts));
	null_opts.name = opts->name;
	if (opts->uuid != NULL) {
		memcpy(&uuid, opts->uuid, sizeof(uuid));
		null_opts.uuid = &uuid;
	}
	null_opts.block_size = opts->block_size + opts->md_size;
	null_opts.md_interleave = opts->md_size != 0;
#endif
#if SINCE(23, 5)
	null_opts.physical_block_size = opts->physical_block_size;
#else
	if (opts->physical_block_size != 0) {
		return SPDK_SHIM_NEEDS(needs, "the physical block size of a null bdev", "23.05");
	}
#endif
	null_opts.num_blocks = opts->num_blocks;
	null_opts.md_size = opts->md_size;
	null_opts.dif_type = (enum spdk_dif_type)opts->dif_type;
	null_opts.dif_is_head_of_md = opts->dif_at_head;
	return bdev_null_create(&bdev, &null_opts);
}

int
spdk_shim_null_resize(const char *name, uint64_t num_blocks)
{
	struct spdk_bdev *bdev = spdk_bdev_get_by_name(name);

	if (bdev == NULL || strcmp(bdev->product_name, "Null disk") != 0 ||
	    strcmp(bdev->module->name, "null") != 0) {
		return -ENODEV;
	}
	return spdk_bdev_notify_blockcnt_change(bdev, num_blocks);
}

int
spdk_shim_null_delete(const char *name, void (*cb_fn)(void *cb_arg, int rc), void *cb_arg)
{
#if SINCE(22, 5)
	bdev_null_delete(name, cb_fn, cb_arg);
#else
	struct spdk_bdev *bdev = spdk_bdev_get_by_name(name);

	if (bdev == NULL) {
		return -ENODEV;
	}
	bdev_null_delete(bdev, cb_fn, cb_arg);
#endif
	return 0;
}

#else

int
spdk_shim_null_create(const struct spdk_shim_null_opts *opts, struct spdk_shim_needs *needs)
{
	return -ENOTSUP;
}

int
spdk_shim_null_resize(const char *name, uint64_t num_blocks)
{
	return -ENOTSUP;
}

int
spdk_shim_null_delete(const char *name, void (*cb_fn)(void *cb_arg, int rc), void *cb_arg)
{
	return -ENOTSUP;
}

#endif /* SPDK_SHIM_BDEV_NULL */
