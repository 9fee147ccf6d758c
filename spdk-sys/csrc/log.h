/* SPDK's log. */
#ifndef SPDK_SHIM_LOG_H
#define SPDK_SHIM_LOG_H

#include <spdk/stdinc.h>

/* One line to SPDK's log; `msg` is never a format string. */
void spdk_shim_log(int level, const char *file, int line, const char *func, const char *msg);

#endif
