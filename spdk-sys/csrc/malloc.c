#include "malloc.h"
#include "version.h"

#include <spdk/bdev.h>
#include <spdk/uuid.h>
#if SINCE(24, 9)
#include <spdk/dif.h>
#endif

#ifdef SPDK_SHIM_BDEV_MALLOC

#ifdef SPDK_SHIM_HAVE_SOURCE
/* A source tree is at hand: its own declarations, so that a mistake below would not compile. */
#include <bdev/malloc/bdev_malloc.h>
#else
typedef void (*spdk_delete_malloc_complete)(void *cb_arg, int bdeverrno);
#if SINCE(23, 1)
struct malloc_bdev_opts {
	char *name;
	struct spdk_uuid uuid;
	uint64_t num_blocks;
	uint32_t block_size;
#if SINCE(23, 5)
	uint32_t physical_block_size;
#endif
	uint32_t optimal_io_boundary;
	uint32_t md_size;
	bool md_interleave;
	enum spdk_dif_type dif_type;
	bool dif_is_head_of_md;
#if SINCE(24, 9)
	enum spdk_dif_pi_format dif_pi_format;
#endif
#if SINCE(26, 1)
	int32_t numa_id;
#endif
};
int create_malloc_disk(struct spdk_bdev **bdev, const struct malloc_bdev_opts *opts);
#elif SINCE(22, 1)
int create_malloc_disk(struct spdk_bdev **bdev, const char *name, const struct spdk_uuid *uuid,
		       uint64_t num_blocks, uint32_t block_size, uint32_t optimal_io_boundary);
#else
int create_malloc_disk(struct spdk_bdev **bdev, const char *name, const struct spdk_uuid *uuid,
		       uint64_t num_blocks, uint32_t block_size);
#endif
#if SINCE(22, 5)
void delete_malloc_disk(const char *name, spdk_delete_malloc_complete cb_fn, void *cb_arg);
#else
void delete_malloc_disk(struct spdk_bdev *bdev, spdk_delete_malloc_complete cb_fn, void *cb_arg);
#endif
#endif /* SPDK_SHIM_HAVE_SOURCE */

SIZE_IS(struct malloc_bdev_opts, 72);

int
spdk_shim_malloc_create(const struct spdk_shim_malloc_opts *opts, struct spdk_shim_needs *needs)
{
	struct spdk_bdev *bdev = NULL;

#if !SINCE(22, 1)
	if (opts->optimal_io_boundary != 0) {
		return SPDK_SHIM_NEEDS(needs, "the I/O boundary of a malloc bdev", "22.01");
	}
#endif
#if !SINCE(23, 1)
	if (opts->md_size != 0) {
		return SPDK_SHIM_NEEDS(needs, "metadata of a malloc bdev", "23.01");
	}
#endif
#if !SINCE(23, 5)
	if (opts->physical_block_size != 0) {
		return SPDK_SHIM_NEEDS(needs, "the physical block size of a malloc bdev", "23.05");
	}
#endif
#if !SINCE(26, 1)
	if (opts->numa_id >= 0) {
		return SPDK_SHIM_NEEDS(needs, "the NUMA node of a malloc bdev", "26.01");
	}
#endif

#if SINCE(23, 1)
	struct malloc_bdev_opts malloc_opts;

	memset(&malloc_opts, 0, sizeof(malloc_opts));
	malloc_opts.name = (char *)opts->name;	/* copied by create_malloc_disk() */
	if (opts->uuid != NULL) {
		memcpy(&malloc_opts.uuid, opts->uuid, sizeof(malloc_opts.uuid));
	}
	malloc_opts.num_blocks = opts->num_blocks;
	malloc_opts.block_size = opts->block_size;
	malloc_opts.optimal_io_boundary = opts->optimal_io_boundary;
	malloc_opts.md_size = opts->md_size;
	malloc_opts.md_interleave = opts->md_interleave;
	malloc_opts.dif_type = (enum spdk_dif_type)opts->dif_type;
	malloc_opts.dif_is_head_of_md = opts->dif_at_head;
#if SINCE(23, 5)
	malloc_opts.physical_block_size = opts->physical_block_size;
#endif
#if SINCE(26, 1)
	malloc_opts.numa_id = opts->numa_id;	/* -1: any */
#endif
	return create_malloc_disk(&bdev, &malloc_opts);
#else
	struct spdk_uuid uuid;

	if (opts->uuid != NULL) {
		memcpy(&uuid, opts->uuid, sizeof(uuid));
	}
#if SINCE(22, 1)
	return create_malloc_disk(&bdev, opts->name, opts->uuid != NULL ? &uuid : NULL, opts->num_blocks,
				  opts->block_size, opts->optimal_io_boundary);
#else
	return create_malloc_disk(&bdev, opts->name, opts->uuid != NULL ? &uuid : NULL, opts->num_blocks,
				  opts->block_size);
#endif
#endif
}

int
spdk_shim_malloc_delete(const char *name, void (*cb_fn)(void *cb_arg, int rc), void *cb_arg)
{
#if SINCE(22, 5)
	delete_malloc_disk(name, cb_fn, cb_arg);
#else
	struct spdk_bdev *bdev = spdk_bdev_get_by_name(name);

	if (bdev == NULL) {
		return -ENODEV;
	}
	delete_malloc_disk(bdev, cb_fn, cb_arg);
#endif
	return 0;
}

#else

int
spdk_shim_malloc_create(const struct spdk_shim_malloc_opts *opts, struct spdk_shim_needs *needs)
{
	return -ENOTSUP;
}

int
spdk_shim_malloc_delete(const char *name, void (*cb_fn)(void *cb_arg, int rc), void *cb_arg)
{
	return -ENOTSUP;
}

#endif /* SPDK_SHIM_BDEV_MALLOC */
