/* Pass-through bdevs. */
#ifndef SPDK_SHIM_PASSTHRU_H
#define SPDK_SHIM_PASSTHRU_H

#include <spdk/stdinc.h>
#include <spdk/bdev.h>

#include "needs.h"

/* `base` is its name, not an alias; it must be there. `uuid`: 23.09, or NULL. */
int spdk_shim_passthru_create(const char *name, const char *base, const uint8_t *uuid,
			      struct spdk_shim_needs *needs);
/* As spdk_shim_null_delete(). */
int spdk_shim_passthru_delete(const char *name, void (*cb_fn)(void *cb_arg, int rc), void *cb_arg);

#endif
