/* Threads and channels. */
#ifndef SPDK_SHIM_THREAD_H
#define SPDK_SHIM_THREAD_H

#include <spdk/stdinc.h>
#include <spdk/thread.h>

/* Whether a thread was not told to exit; before 23.01 there is no way to know, and the answer is yes. */
bool spdk_shim_thread_is_running(struct spdk_thread *thread);

/* The context behind a channel: static inline in SPDK. */
void *spdk_shim_channel_ctx(struct spdk_io_channel *ch);

#endif
