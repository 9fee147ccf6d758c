/* The module type: what its struct has in some versions only, and what changed its name. */
#ifndef SPDK_SHIM_MODULE_TYPE_H
#define SPDK_SHIM_MODULE_TYPE_H

#include <spdk/stdinc.h>
#include <spdk/bdev_module.h>

/* Has the module's fini_start end with spdk_shim_module_fini_start_done(); false before 21.10, which does not wait. */
bool spdk_shim_module_async_fini_start(struct spdk_bdev_module *module);
void spdk_shim_module_fini_start_done(void);
void spdk_shim_module_fini_done(void);

#endif
