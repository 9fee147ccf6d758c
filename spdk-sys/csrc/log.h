/* SPDK's log, and DPDK's. */
#ifndef SPDK_SHIM_LOG_H
#define SPDK_SHIM_LOG_H

#include <spdk/stdinc.h>
#include <spdk/log.h>

/* One line to SPDK's log; `msg` is never a format string. */
void spdk_shim_log(int level, const char *file, int line, const char *func, const char *msg);

/*
 * A line as `sink` gets it: formatted, without its newline, cut at 4 KiB. `file` and `func` may be NULL; `text` has
 * `len` bytes and is whatever C has written. On the thread that logs, maybe under SPDK's locks.
 */
struct spdk_shim_log_line {
	int level;			/* enum spdk_log_level, for DPDK's lines too */
	bool dpdk;
	bool truncated;
	const char *file;
	int line;
	const char *func;
	const char *text;
	size_t len;
};
typedef void (*spdk_shim_log_sink)(const struct spdk_shim_log_line *line);

/*
 * Has every line that SPDK would print to stderr (by its print level), and every line of DPDK's, go to `sink` instead.
 * Once, before SPDK starts.
 */
int spdk_shim_log_to(spdk_shim_log_sink sink);

/* For the other halves of this shim: what to give spdk_log_open(); NULL without a sink. */
void (*spdk_shim_log_callback(void))(int level, const char *file, const int line, const char *func,
				     const char *format, va_list args);

/* The flags, one after the other; NULL after the last one, and before the first. */
struct spdk_log_flag *spdk_shim_log_flag_next(struct spdk_log_flag *flag);
const char *spdk_shim_log_flag_name(const struct spdk_log_flag *flag);

#endif
