#include "log.h"
#include "version.h"

#include <spdk/log.h>

void
spdk_shim_log(int level, const char *file, int line, const char *func, const char *msg)
{
	spdk_log((enum spdk_log_level)level, file, line, func, "%s\n", msg);
}
