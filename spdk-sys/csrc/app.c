#include "app.h"
#include "log.h"
#include "version.h"

#include <spdk/bdev.h>
#include <spdk/env.h>
#include <spdk/event.h>
#include <spdk/log.h>
#include <spdk/string.h>
#include <spdk/thread.h>

SIZE_IS(struct spdk_bdev_opts, 32);
SIZE_IS(struct spdk_app_opts, 253);

int
spdk_shim_env_context(const struct spdk_shim_app_opts *opts, char **context)
{
	*context = NULL;
	/*
	 * Before 24.01 there is no no_huge option. "--legacy-mem" in the context makes env_dpdk leave out
	 * "--match-allocations", which DPDK refuses beside "--no-huge".
	 */
#if !SINCE(24, 1)
	if (opts->no_huge) {
		*context = spdk_sprintf_alloc("--no-huge --legacy-mem%s%s", opts->env_context ? " " : "",
					      opts->env_context ? opts->env_context : "");
		return *context == NULL ? -ENOMEM : 0;
	}
#endif
	if (opts->env_context != NULL) {
		*context = strdup(opts->env_context);
		return *context == NULL ? -ENOMEM : 0;
	}
	return 0;
}

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
	app.delay_subsystem_init = opts->wait_for_rpc;
	app.log = spdk_shim_log_callback();
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

	if (opts->interrupt_mode) {
#if SINCE(24, 1)
		app.interrupt_mode = true;
#elif SINCE(21, 1)
		rc = spdk_interrupt_mode_enable();
		if (rc != 0) {
			return rc;
		}
#else
		return -ENOTSUP;
#endif
	}
	rc = spdk_shim_env_context(opts, &context);
	if (rc != 0) {
		return rc;
	}
	if (opts->no_huge) {
#if SINCE(24, 1)
		app.no_huge = true;
#else
		app.iova_mode = "va";
#endif
	}
	app.env_context = context;

	rc = spdk_app_start(&app, start, arg);
	free(context);
	return rc;
}

static struct spdk_bdev_opts
bdev_opts(void)
{
	struct spdk_bdev_opts bdev;

	memset(&bdev, 0, sizeof(bdev));
#if SINCE(21, 1)
	spdk_bdev_get_opts(&bdev, sizeof(bdev));
#else
	spdk_bdev_get_opts(&bdev);
#endif
	return bdev;
}

int
spdk_shim_no_auto_examine(void)
{
	struct spdk_bdev_opts bdev = bdev_opts();

	bdev.bdev_auto_examine = false;
	return spdk_bdev_set_opts(&bdev);
}

int
spdk_shim_set_pool_opts(const struct spdk_shim_pool_opts *opts)
{
	struct spdk_bdev_opts bdev = bdev_opts();

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
	SIZE_IS(struct spdk_iobuf_opts, 40);
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
