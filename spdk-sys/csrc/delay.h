/* Delay bdevs. */
#ifndef SPDK_SHIM_DELAY_H
#define SPDK_SHIM_DELAY_H

#include <spdk/stdinc.h>
#include <spdk/bdev.h>

#include "needs.h"

/* Latencies in microseconds; a p99 is not below its average. */
struct spdk_shim_delay_opts {
	const char *name;
	const char *base;	/* its name, not an alias; it must be there */
	const uint8_t *uuid;	/* 23.05, or NULL */
	uint64_t avg_read;
	uint64_t p99_read;
	uint64_t avg_write;
	uint64_t p99_write;
};
int spdk_shim_delay_create(const struct spdk_shim_delay_opts *opts, struct spdk_shim_needs *needs);

enum spdk_shim_latency {
	SPDK_SHIM_LATENCY_AVG_READ,
	SPDK_SHIM_LATENCY_P99_READ,
	SPDK_SHIM_LATENCY_AVG_WRITE,
	SPDK_SHIM_LATENCY_P99_WRITE,
};
int spdk_shim_delay_update(const char *name, enum spdk_shim_latency which, uint64_t us);
/* As spdk_shim_null_delete(). */
int spdk_shim_delay_delete(const char *name, void (*cb_fn)(void *cb_arg, int rc), void *cb_arg);

#endif
