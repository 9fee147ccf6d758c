#include "module_type.h"
#include "version.h"

bool
spdk_shim_module_async_fini_start(struct spdk_bdev_module *module)
{
#if SINCE(21, 10)
	module->async_fini_start = true;
	return true;
#else
	(void)module;
	return false;
#endif
}

void
spdk_shim_module_fini_start_done(void)
{
#if SINCE(21, 10)
	spdk_bdev_module_fini_start_done();
#endif
}

void
spdk_shim_module_fini_done(void)
{
#if SINCE(21, 10)
	spdk_bdev_module_fini_done();
#else
	spdk_bdev_module_finish_done();
#endif
}
