/* Starting an app, and the sizes of its pools. */
#ifndef SPDK_SHIM_APP_H
#define SPDK_SHIM_APP_H

#include <spdk/stdinc.h>
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
	bool wait_for_rpc;		/* subsystems start with the RPC framework_start_init */
	bool interrupt_mode;		/* 21.01 and newer, else -ENOTSUP */
	uint64_t msg_mempool_size;	/* 0: SPDK's default; ignored where SPDK has no such option */
	void (*shutdown_cb)(void);
};

/* Blocks until spdk_app_stop(). `start` runs on the app thread. */
int spdk_shim_app_start(const struct spdk_shim_app_opts *opts, spdk_msg_fn start, void *arg);

/* For the other halves of this shim: the EAL arguments that `opts` ask for, or NULL; to be freed. */
int spdk_shim_env_context(const struct spdk_shim_app_opts *opts, char **context);

/* Pool sizes; 0 keeps a default. Call before spdk_shim_app_start(). */
struct spdk_shim_pool_opts {
	uint32_t bdev_io_pool_size;
	uint32_t bdev_io_cache_size;
	uint64_t iobuf_small_pool_count;	/* iobuf: 23.01 and newer */
	uint64_t iobuf_large_pool_count;
};
int spdk_shim_set_pool_opts(const struct spdk_shim_pool_opts *opts);

/* No module examines a bdev before somebody asks for it (bdev_examine). Call before spdk_shim_app_start(). */
int spdk_shim_no_auto_examine(void);

#endif
