/*
 * The C half of spdk-sys: what bindgen can't reach (inlines, bitfields, unions, packed structs) and what
 * differs between SPDK 20.07 and 26.05. Above this file there is one API for all of them.
 *
 * Names: spdk_shim_*. Return codes are SPDK's: 0 or a negated errno. A feature that the linked SPDK
 * does not have answers -ENOTSUP.
 */
#ifndef SPDK_SHIM_H
#define SPDK_SHIM_H

#include <spdk/stdinc.h>
#include <spdk/bdev.h>
#include <spdk/bdev_module.h>
#include <spdk/thread.h>

/* What spdk_app_start() needs, in one layout for all versions. Strings are copied or used before return. */
struct spdk_shim_app_opts {
	const char *name;
	const char *reactor_mask;
	const char *rpc_addr;		/* NULL: no RPC server */
	const char *json_config_file;	/* NULL: none */
	const char *env_context;	/* further EAL arguments, or NULL */
	int mem_size_mib;		/* -1: DPDK decides */
	int log_level;			/* enum spdk_log_level; what is printed to stderr */
	bool no_huge;
	bool no_pci;
	bool share_cores;		/* no lock files for the cores; 24.09 and newer (23.01 to 24.05 always lock) */
	uint64_t msg_mempool_size;	/* 0: SPDK's default; ignored where SPDK has no such option */
	void (*shutdown_cb)(void);
};

/* Blocks until spdk_app_stop(). `start` runs on the app thread. */
int spdk_shim_app_start(const struct spdk_shim_app_opts *opts, spdk_msg_fn start, void *arg);

/* Pool sizes; 0 keeps a default. Call before spdk_shim_app_start(). */
struct spdk_shim_pool_opts {
	uint32_t bdev_io_pool_size;
	uint32_t bdev_io_cache_size;
	uint64_t iobuf_small_pool_count;	/* iobuf: 23.01 and newer */
	uint64_t iobuf_large_pool_count;
};
int spdk_shim_set_pool_opts(const struct spdk_shim_pool_opts *opts);

/* Malloc bdevs: their C header is not installed, and its contents changed six times. */
struct spdk_shim_malloc_opts {
	const char *name;
	uint64_t num_blocks;
	uint32_t block_size;
	uint32_t optimal_io_boundary;	/* blocks; 0 is none; 22.01 and newer, else -ENOTSUP */
};
int spdk_shim_malloc_create(const struct spdk_shim_malloc_opts *opts, struct spdk_bdev **bdev);
int spdk_shim_malloc_delete(const char *name, void (*cb_fn)(void *cb_arg, int rc), void *cb_arg);

/* A bdev to be registered: spdk_bdev has bitfields, and its size differs from version to version. */
struct spdk_shim_bdev_desc {
	char *name;
	char *product_name;
	void *ctxt;
	struct spdk_bdev_module *module;
	const struct spdk_bdev_fn_table *fn_table;
	uint64_t num_blocks;
	uint32_t block_size;
	uint32_t optimal_io_boundary;	/* blocks; 0 is none */
	uint8_t required_alignment_log2;
	bool write_cache;
};
/* The result is zeroed but for what `desc` says; NULL when out of memory. Free it after destruct is done. */
struct spdk_bdev *spdk_shim_bdev_alloc(const struct spdk_shim_bdev_desc *desc);
void spdk_shim_bdev_free(struct spdk_bdev *bdev);

/*
 * spdk_bdev_open_ext(); a name that is not there is -ENODEV on every version. *desc is NULL on failure.
 */
int spdk_shim_bdev_open(const char *name, bool write, spdk_bdev_event_cb_t event_cb, void *event_ctx,
			struct spdk_bdev_desc **desc);

/* log2 of the alignment that a bdev wants, as spdk_bdev.required_alignment has it. */
uint8_t spdk_shim_bdev_alignment_log2(const struct spdk_bdev *bdev);
/* Name of the module that implements a bdev. */
const char *spdk_shim_bdev_module_name(const struct spdk_bdev *bdev);
/* Name of the module that holds the exclusive-write claim of a bdev; NULL if there is none. App thread. */
const char *spdk_shim_bdev_claimed_by(const struct spdk_bdev *bdev);

/* What a module reads of a request, in one call. */
struct spdk_shim_request {
	void *bdev_ctxt;		/* what spdk_shim_bdev_desc.ctxt was at registration */
	struct iovec *iovs;
	uint64_t offset_blocks;
	uint64_t num_blocks;
	int iovcnt;
	int type;			/* enum spdk_bdev_io_type */
};
void spdk_shim_request_read(struct spdk_bdev_io *bdev_io, struct spdk_shim_request *out);
/* The per-request bytes of the module (get_ctx_size of them); aligned to 8 on old versions. */
void *spdk_shim_request_ctx(struct spdk_bdev_io *bdev_io);

/*
 * Fills a wait entry. `unblocks`: other I/O holds what it has until this one is done, so it goes to the head of the
 * queue (25.09 and newer; older versions have one order for all).
 */
void spdk_shim_io_wait_init(struct spdk_bdev_io_wait_entry *entry, struct spdk_bdev *bdev,
			    spdk_bdev_io_wait_cb cb_fn, void *cb_arg, bool unblocks);

/* Whether a thread was not told to exit; before 23.01 there is no way to know, and the answer is yes. */
bool spdk_shim_thread_is_running(struct spdk_thread *thread);

/* The context behind a channel: static inline in SPDK. */
void *spdk_shim_channel_ctx(struct spdk_io_channel *ch);

/* One line to SPDK's log; `msg` is never a format string. */
void spdk_shim_log(int level, const char *file, int line, const char *func, const char *msg);

#endif
