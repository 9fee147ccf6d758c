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
spdk_shim_malloc_create(const struct spdk_shim_malloc_opts *opts, struct spdk_bdev **bdev)
{
	*bdev = NULL;
#if SINCE(23, 1)
	struct malloc_bdev_opts malloc_opts;

	memset(&malloc_opts, 0, sizeof(malloc_opts));
	malloc_opts.name = (char *)opts->name;	/* copied by create_malloc_disk() */
	malloc_opts.num_blocks = opts->num_blocks;
	malloc_opts.block_size = opts->block_size;
	malloc_opts.optimal_io_boundary = opts->optimal_io_boundary;
#if SINCE(26, 1)
	malloc_opts.numa_id = -1;	/* any */
#endif
	return create_malloc_disk(bdev, &malloc_opts);
#elif SINCE(22, 1)
	return create_malloc_disk(bdev, opts->name, NULL, opts->num_blocks, opts->block_size,
				  opts->optimal_io_boundary);
#else
	if (opts->optimal_io_boundary != 0) {
		return -ENOTSUP;
	}
	return create_malloc_disk(bdev, opts->name, NULL, opts->num_blocks, opts->block_size);
#endif
}

int
spdk_shim_malloc_delete(const char *name, void (*cb_fn)(void *cb_arg, int rc), void *cb_arg)
{
	struct spdk_bdev *bdev = spdk_bdev_get_by_name(name);

	/* Old versions call back at once, before they have looked at the module. */
	if (bdev == NULL || strcmp(spdk_bdev_get_product_name(bdev), "Malloc disk") != 0) {
		return -ENODEV;
	}
#if SINCE(22, 5)
	delete_malloc_disk(name, cb_fn, cb_arg);
#else
	delete_malloc_disk(bdev, cb_fn, cb_arg);
#endif
	return 0;
}

#else

int
spdk_shim_malloc_create(const struct spdk_shim_malloc_opts *opts, struct spdk_bdev **bdev)
{
	*bdev = NULL;
	return -ENOTSUP;
}

int
spdk_shim_malloc_delete(const char *name, void (*cb_fn)(void *cb_arg, int rc), void *cb_arg)
{
	return -ENOTSUP;
}

#endif /* SPDK_SHIM_BDEV_MALLOC */
