#include "thread.h"
#include "version.h"

#include <spdk/thread.h>

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
