/* SPDK without its reactors: the caller polls the SPDK threads. */
#ifndef SPDK_SHIM_OWN_LOOP_H
#define SPDK_SHIM_OWN_LOOP_H

#include <spdk/stdinc.h>
#include <spdk/thread.h>

#include "app.h"

/*
 * Environment and thread library. `op` hears of each new thread, synchronously, in spdk_thread_create(); it is asked
 * for SPDK_THREAD_OP_NEW alone. The calling OS thread is not pinned afterwards. On failure nothing is up.
 */
int spdk_shim_loop_env_init(const struct spdk_shim_app_opts *opts, spdk_thread_op_fn op);

/*
 * The subsystems, on the first SPDK thread; `cb` when they are up, or with the first error. With a JSON configuration
 * (which is changed, and must live until `cb`; 24.05 and newer, else -ENOTSUP and no `cb`).
 */
typedef void (*spdk_shim_loop_init_fn)(int rc, void *arg);
int spdk_shim_loop_init(char *json, size_t json_size, spdk_shim_loop_init_fn cb, void *arg);

/* The subsystems again; `cb` when they are down. On the same thread. */
void spdk_shim_loop_fini(void (*cb)(void *arg), void *arg);

#endif
