#include "thread.h"
#include "version.h"

#include <spdk/cpuset.h>
#include <spdk/thread.h>

SIZE_IS(struct spdk_thread_stats, 16);

static struct spdk_cpuset *
cpuset_of(const uint32_t *cores, size_t count)
{
	struct spdk_cpuset *set = spdk_cpuset_alloc();

	for (size_t i = 0; set != NULL && i < count; i++) {
		spdk_cpuset_set_cpu(set, cores[i], true);
	}
	return set;
}

struct spdk_thread *
spdk_shim_thread_create(const char *name, const uint32_t *cores, size_t count, bool bound)
{
	struct spdk_cpuset *set = cpuset_of(cores, count);
	struct spdk_thread *thread;

	if (set == NULL) {
		return NULL;
	}
	thread = spdk_thread_create(name, set);	/* copies the set */
	spdk_cpuset_free(set);
#if SINCE(23, 5)
	if (thread != NULL && bound) {
		spdk_thread_bind(thread, true);
	}
#endif
	return thread;
}

int
spdk_shim_thread_set_cores(const uint32_t *cores, size_t count)
{
	struct spdk_cpuset *set = cpuset_of(cores, count);
	int rc;

	if (set == NULL) {
		return -ENOMEM;
	}
	rc = spdk_thread_set_cpumask(set);
	spdk_cpuset_free(set);
	return rc;
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
