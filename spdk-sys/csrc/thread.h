/* Threads and channels. */
#ifndef SPDK_SHIM_THREAD_H
#define SPDK_SHIM_THREAD_H

#include <spdk/stdinc.h>
#include <spdk/thread.h>

/*
 * spdk_thread_create() on `count` cores, each of which has a reactor; NULL on failure. A `bound` thread is never moved
 * by SPDK's scheduler (23.05 and newer; before that the one core in its set holds it).
 */
struct spdk_thread *spdk_shim_thread_create(const char *name, const uint32_t *cores, size_t count, bool bound);

/* spdk_thread_set_cpumask() for the current thread; each of the cores has a reactor. */
int spdk_shim_thread_set_cores(const uint32_t *cores, size_t count);

/* Whether a thread was not told to exit; before 23.01 there is no way to know, and the answer is yes. */
bool spdk_shim_thread_is_running(struct spdk_thread *thread);

/* The context behind a channel: static inline in SPDK. */
void *spdk_shim_channel_ctx(struct spdk_io_channel *ch);

#endif
