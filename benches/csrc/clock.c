#include "client.h"

static uint64_t
now_ns(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void
bench_now(struct bench_clock *clock)
{
	clock->wall_ns = now_ns(CLOCK_MONOTONIC);
	clock->cpu_ns = now_ns(CLOCK_THREAD_CPUTIME_ID);
}
