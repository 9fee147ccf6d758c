#include "own_loop.h"
#include "log.h"
#include "version.h"

#include <spdk/env.h>
#include <spdk/log.h>
#include <spdk/rpc.h>
#include <spdk/string.h>

#if SINCE(22, 1)
#include <spdk/init.h>
#else
/* In spdk_internal/event.h, which is not installed. */
void spdk_subsystem_init(void (*cb_fn)(int rc, void *arg), void *arg);
void spdk_subsystem_fini(spdk_msg_fn cb_fn, void *arg);
#endif

SIZE_IS(struct spdk_env_opts, 128);

static bool
only_new_threads(enum spdk_thread_op op)
{
	return op == SPDK_THREAD_OP_NEW;
}

int
spdk_shim_loop_env_init(const struct spdk_shim_app_opts *opts, spdk_thread_op_fn op)
{
	struct spdk_env_opts env;
	char *context = NULL;
	int rc;

	/* What spdk_app_start() does with the log. */
	spdk_log_set_print_level((enum spdk_log_level)opts->log_level);
	spdk_log_set_level(SPDK_LOG_NOTICE);

	memset(&env, 0, sizeof(env));
#if SINCE(24, 9)
	env.opts_size = sizeof(env);
#endif
	spdk_env_opts_init(&env);
	env.name = opts->name;
	env.core_mask = opts->reactor_mask;
	env.mem_size = opts->mem_size_mib;
	env.no_pci = opts->no_pci;
	rc = spdk_shim_env_context(opts, &context);
	if (rc != 0) {
		return rc;
	}
	if (opts->no_huge) {
#if SINCE(24, 1)
		env.no_huge = true;
#else
		env.iova_mode = "va";
#endif
	}
	env.env_context = context;
	rc = spdk_env_init(&env);
	free(context);
	if (rc != 0) {
		return rc < 0 ? rc : -EIO;
	}
	/* spdk_env_init() pins its caller to the first core (E-07). */
	spdk_unaffinitize_thread();
	spdk_log_open(spdk_shim_log_callback());

#if SINCE(22, 5)
	rc = spdk_thread_lib_init_ext(op, only_new_threads, 0,
				      opts->msg_mempool_size ? opts->msg_mempool_size : SPDK_DEFAULT_MSG_MEMPOOL_SIZE);
#else
	rc = spdk_thread_lib_init_ext(op, only_new_threads, 0);
#endif
	if (rc != 0) {
		spdk_env_fini();
		return rc < 0 ? rc : -EIO;
	}
	return 0;
}

static struct {
	spdk_shim_loop_init_fn cb;
	void *arg;
	char *json;
	size_t json_size;
} g_loop;

static void
subsystems_are_up(int rc, void *arg)
{
	/* As the app framework does: methods of the runtime are allowed now, and the configuration's are run. */
	if (rc == 0) {
		spdk_rpc_set_state(SPDK_RPC_RUNTIME);
#if SINCE(24, 5)
		if (g_loop.json != NULL) {
			spdk_subsystem_load_config(g_loop.json, g_loop.json_size, g_loop.cb, g_loop.arg, true);
			return;
		}
#endif
	}
	g_loop.cb(rc, g_loop.arg);
}

#if SINCE(24, 5)
static void
startup_config_is_loaded(int rc, void *arg)
{
	if (rc != 0) {
		g_loop.cb(rc, g_loop.arg);
		return;
	}
	spdk_subsystem_init(subsystems_are_up, NULL);
}
#endif

int
spdk_shim_loop_init(char *json, size_t json_size, spdk_shim_loop_init_fn cb, void *arg)
{
	g_loop.cb = cb;
	g_loop.arg = arg;
	g_loop.json = json;
	g_loop.json_size = json_size;
	if (json != NULL) {
#if SINCE(24, 5)
		spdk_subsystem_load_config(json, json_size, startup_config_is_loaded, NULL, true);
		return 0;
#else
		return -ENOTSUP;
#endif
	}
	spdk_subsystem_init(subsystems_are_up, NULL);
	return 0;
}

void
spdk_shim_loop_fini(void (*cb)(void *arg), void *arg)
{
	spdk_subsystem_fini(cb, arg);
}
