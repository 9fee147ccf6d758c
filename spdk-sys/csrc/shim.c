#include "shim.h"

#include <spdk/bdev.h>
#include <spdk/env.h>
#include <spdk/event.h>
#include <spdk/log.h>
#include <spdk/string.h>
#include <spdk/uuid.h>
#include <spdk/version.h>

#define SINCE(major, minor) (SPDK_VERSION >= SPDK_VERSION_NUM(major, minor, 0))

#if SINCE(24, 9)
#include <spdk/dif.h>
#endif


/*
 * Sizes on which the rest of spdk-sys and its users rely, at the newest supported version. A build that
 * fails here meets an SPDK that calls itself 26.05 and is not. (spdk-contract 7.3)
 */
#if SPDK_VERSION_MAJOR == 26 && SPDK_VERSION_MINOR == 5 && defined(__x86_64__)
#define SIZE_IS(type, n) _Static_assert(sizeof(type) == (n), "unexpected size of " #type)
SIZE_IS(struct spdk_bdev, 576);
SIZE_IS(struct spdk_bdev_io, 1216);
SIZE_IS(struct spdk_bdev_module, 152);
SIZE_IS(struct spdk_bdev_fn_table, 104);
SIZE_IS(struct spdk_bdev_io_wait_entry, 48);
SIZE_IS(struct spdk_bdev_opts, 32);
SIZE_IS(struct spdk_iobuf_opts, 40);
SIZE_IS(struct spdk_app_opts, 253);
#endif
/* Rust aligns what it puts there by hand, from this (spdk-2007-delta, "driver_ctx"). */
_Static_assert(offsetof(struct spdk_bdev_io, driver_ctx) % 8 == 0, "driver_ctx is not even 8-byte aligned");

/* --- app ------------------------------------------------------------------------------------------- */

int
spdk_shim_app_start(const struct spdk_shim_app_opts *opts, spdk_msg_fn start, void *arg)
{
	struct spdk_app_opts app;
	char *context = NULL;
	int rc;

	memset(&app, 0, sizeof(app));
#if SINCE(21, 1)
	spdk_app_opts_init(&app, sizeof(app));
#else
	spdk_app_opts_init(&app);
#endif
	app.name = opts->name;
	app.reactor_mask = opts->reactor_mask;
	app.rpc_addr = opts->rpc_addr;
	app.json_config_file = opts->json_config_file;
	app.mem_size = opts->mem_size_mib;
	app.print_level = (enum spdk_log_level)opts->log_level;
	app.no_pci = opts->no_pci;
	app.shutdown_cb = opts->shutdown_cb;
	app.enable_coredump = false;
	/* Tracing locks its shared memory, which fails for an ordinary user (spdk-2007-delta). */
	app.num_entries = 0;
#if SINCE(24, 9)
	app.disable_cpumask_locks = opts->share_cores;
#endif
#if SINCE(22, 5)
	if (opts->msg_mempool_size != 0) {
		app.msg_mempool_size = opts->msg_mempool_size;
	}
#endif

	/*
	 * Before 24.01 there is no no_huge option. "--legacy-mem" in the context makes env_dpdk leave out
	 * "--match-allocations", which DPDK refuses beside "--no-huge".
	 */
	if (opts->no_huge) {
#if SINCE(24, 1)
		app.no_huge = true;
#else
		app.iova_mode = "va";
		context = spdk_sprintf_alloc("--no-huge --legacy-mem%s%s", opts->env_context ? " " : "",
					     opts->env_context ? opts->env_context : "");
		if (context == NULL) {
			return -ENOMEM;
		}
#endif
	}
	if (context == NULL && opts->env_context != NULL) {
		context = strdup(opts->env_context);
		if (context == NULL) {
			return -ENOMEM;
		}
	}
	app.env_context = context;

	rc = spdk_app_start(&app, start, arg);
	free(context);
	return rc;
}

int
spdk_shim_set_pool_opts(const struct spdk_shim_pool_opts *opts)
{
	struct spdk_bdev_opts bdev;

	memset(&bdev, 0, sizeof(bdev));
#if SINCE(21, 1)
	spdk_bdev_get_opts(&bdev, sizeof(bdev));
#else
	spdk_bdev_get_opts(&bdev);
#endif
	if (opts->bdev_io_pool_size != 0) {
		bdev.bdev_io_pool_size = opts->bdev_io_pool_size;
	}
	if (opts->bdev_io_cache_size != 0) {
		bdev.bdev_io_cache_size = opts->bdev_io_cache_size;
	}
	int rc = spdk_bdev_set_opts(&bdev);
	if (rc != 0) {
		return rc;
	}
#if SINCE(23, 1)
	struct spdk_iobuf_opts iobuf;

	memset(&iobuf, 0, sizeof(iobuf));
#if SINCE(24, 5)
	spdk_iobuf_get_opts(&iobuf, sizeof(iobuf));
#else
	spdk_iobuf_get_opts(&iobuf);
#endif
	if (opts->iobuf_small_pool_count != 0) {
		iobuf.small_pool_count = opts->iobuf_small_pool_count;
	}
	if (opts->iobuf_large_pool_count != 0) {
		iobuf.large_pool_count = opts->iobuf_large_pool_count;
	}
	rc = spdk_iobuf_set_opts(&iobuf);
#endif
	return rc;
}

/* --- malloc bdev ----------------------------------------------------------------------------------- */

#ifdef SPDK_SHIM_BDEV_MALLOC

#ifdef SPDK_SHIM_MALLOC_HEADER
/* A source tree is at hand: its own declarations, so that a mistake below would not compile. */
#include SPDK_SHIM_MALLOC_HEADER
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
#endif /* SPDK_SHIM_MALLOC_HEADER */

#if SPDK_VERSION_MAJOR == 26 && SPDK_VERSION_MINOR == 5 && defined(__x86_64__)
SIZE_IS(struct malloc_bdev_opts, 72);
#endif

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

/* --- bdev module ----------------------------------------------------------------------------------- */

struct spdk_bdev *
spdk_shim_bdev_alloc(const struct spdk_shim_bdev_desc *desc)
{
	struct spdk_bdev *bdev = NULL;

	/* The struct must be zeroed: registration ORs into it (M-20). Newer versions align it to a cache line. */
	if (posix_memalign((void **)&bdev, 64, sizeof(*bdev)) != 0) {
		return NULL;
	}
	memset(bdev, 0, sizeof(*bdev));
	bdev->name = desc->name;
	bdev->product_name = desc->product_name;
	bdev->ctxt = desc->ctxt;
	bdev->module = desc->module;
	bdev->fn_table = desc->fn_table;
	bdev->blockcnt = desc->num_blocks;
	bdev->blocklen = desc->block_size;
	bdev->optimal_io_boundary = desc->optimal_io_boundary;
	bdev->required_alignment = desc->required_alignment_log2;
	bdev->write_cache = desc->write_cache;
	return bdev;
}

void
spdk_shim_bdev_free(struct spdk_bdev *bdev)
{
	free(bdev);
}

int
spdk_shim_bdev_open(const char *name, bool write, spdk_bdev_event_cb_t event_cb, void *event_ctx,
		    struct spdk_bdev_desc **desc)
{
	*desc = NULL;
	int rc = spdk_bdev_open_ext(name, write, event_cb, event_ctx, desc);

	if (rc != 0) {
		*desc = NULL;
	}
	/* 20.07 says -EINVAL for a name that it does not know; otherwise that is a missing event_cb (B-01). */
	return rc == -EINVAL && event_cb != NULL ? -ENODEV : rc;
}

uint8_t
spdk_shim_bdev_alignment_log2(const struct spdk_bdev *bdev)
{
	return bdev->required_alignment;
}

const char *
spdk_shim_bdev_module_name(const struct spdk_bdev *bdev)
{
	return bdev->module->name;
}

const char *
spdk_shim_bdev_claimed_by(const struct spdk_bdev *bdev)
{
#if SINCE(23, 1)
	if (bdev->internal.claim_type != SPDK_BDEV_CLAIM_EXCL_WRITE ||
	    bdev->internal.claim.v1.module == NULL) {
		return NULL;
	}
	return bdev->internal.claim.v1.module->name;
#else
	return bdev->internal.claim_module ? bdev->internal.claim_module->name : NULL;
#endif
}

void
spdk_shim_request_read(struct spdk_bdev_io *bdev_io, struct spdk_shim_request *out)
{
	out->type = bdev_io->type;
	out->bdev_ctxt = bdev_io->bdev->ctxt;
	switch (bdev_io->type) {
	case SPDK_BDEV_IO_TYPE_READ:
	case SPDK_BDEV_IO_TYPE_WRITE:
	case SPDK_BDEV_IO_TYPE_UNMAP:
	case SPDK_BDEV_IO_TYPE_FLUSH:
	case SPDK_BDEV_IO_TYPE_WRITE_ZEROES:
		out->iovs = bdev_io->u.bdev.iovs;
		out->iovcnt = bdev_io->u.bdev.iovcnt;
		out->offset_blocks = bdev_io->u.bdev.offset_blocks;
		out->num_blocks = bdev_io->u.bdev.num_blocks;
		break;
	default:
		/* Another member of the union is in use: there is no range and there are no iovecs. */
		out->iovs = NULL;
		out->iovcnt = 0;
		out->offset_blocks = 0;
		out->num_blocks = 0;
		break;
	}
}

void *
spdk_shim_request_ctx(struct spdk_bdev_io *bdev_io)
{
	return bdev_io->driver_ctx;
}

void
spdk_shim_io_wait_init(struct spdk_bdev_io_wait_entry *entry, struct spdk_bdev *bdev,
		       spdk_bdev_io_wait_cb cb_fn, void *cb_arg, bool unblocks)
{
	entry->bdev = bdev;
	entry->cb_fn = cb_fn;
	entry->cb_arg = cb_arg;
#if SINCE(25, 9)
	entry->dep_unblock = unblocks;
#endif
}

bool
spdk_shim_thread_is_running(struct spdk_thread *thread)
{
#if SINCE(23, 1)
	return spdk_thread_is_running(thread);
#else
	return true;
#endif
}

void *
spdk_shim_channel_ctx(struct spdk_io_channel *ch)
{
	return spdk_io_channel_get_ctx(ch);
}

/* --- log ------------------------------------------------------------------------------------------- */

void
spdk_shim_log(int level, const char *file, int line, const char *func, const char *msg)
{
	spdk_log((enum spdk_log_level)level, file, line, func, "%s\n", msg);
}
