#include "lock.h"
#include "version.h"

bool
spdk_shim_lock_keeps_channels(void)
{
	return SINCE(25, 9);
}
