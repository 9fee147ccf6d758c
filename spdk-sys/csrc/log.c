#define _GNU_SOURCE	/* fopencookie() */
#include "log.h"
#include "version.h"

#include <stdio.h>

#if !SINCE(21, 1)
#include <spdk/queue.h>
/* In spdk_internal/log.h, which is not installed. */
struct spdk_log_flag {
	TAILQ_ENTRY(spdk_log_flag) tailq;
	const char *name;
	bool enabled;
};
struct spdk_log_flag *spdk_log_get_first_flag(void);
struct spdk_log_flag *spdk_log_get_next_flag(struct spdk_log_flag *flag);
#endif

/* DPDK's headers need not be installed. */
int rte_openlog_stream(FILE *f);
int rte_log_cur_msg_loglevel(void);

static spdk_shim_log_sink g_sink;

void
spdk_shim_log(int level, const char *file, int line, const char *func, const char *msg)
{
	spdk_log((enum spdk_log_level)level, file, line, func, "%s\n", msg);
}

static void
forward_spdk(int level, const char *file, const int line, const char *func, const char *format,
	     va_list args)
{
	char text[4096];
	struct spdk_shim_log_line out = { .level = level, .file = file, .line = line, .func = func };
	int len;

	/* A log function of one's own gets lines of all levels. */
	if (level < SPDK_LOG_ERROR || level > (int)spdk_log_get_print_level()) {
		return;
	}
	len = vsnprintf(text, sizeof(text), format, args);
	if (len < 0) {
		return;
	}
	out.truncated = (size_t)len >= sizeof(text);
	out.len = out.truncated ? sizeof(text) - 1 : (size_t)len;
	while (out.len > 0 && text[out.len - 1] == '\n') {
		out.len--;
	}
	out.text = text;
	g_sink(&out);
}

static int
spdk_level(int rte_level)
{
	/* RTE_LOG_EMERG is 1, ERR 4, WARNING 5, NOTICE 6, INFO 7, DEBUG 8. */
	static const int levels[] = { SPDK_LOG_WARN, SPDK_LOG_NOTICE, SPDK_LOG_INFO, SPDK_LOG_DEBUG };

	if (rte_level <= 4) {
		return SPDK_LOG_ERROR;
	}
	return rte_level <= 8 ? levels[rte_level - 5] : SPDK_LOG_DEBUG;
}

/* DPDK writes one message and flushes, so that is what arrives here: one line, or several. */
static ssize_t
forward_dpdk(void *cookie, const char *text, size_t size)
{
	struct spdk_shim_log_line out = { .dpdk = true };
	const char *at = text, *end = text + size;

	out.level = spdk_level(rte_log_cur_msg_loglevel());
	if (out.level > (int)spdk_log_get_print_level()) {
		return (ssize_t)size;
	}
	while (at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));

		out.text = at;
		out.len = (size_t)((newline != NULL ? newline : end) - at);
		if (out.len != 0) {
			g_sink(&out);
		}
		at += out.len + 1;
	}
	return (ssize_t)size;
}

int
spdk_shim_log_to(spdk_shim_log_sink sink)
{
	cookie_io_functions_t functions = { .write = forward_dpdk };
	FILE *stream;

	stream = fopencookie(NULL, "w", functions);
	if (stream == NULL) {
		return -ENOMEM;
	}
	g_sink = sink;
	setvbuf(stream, NULL, _IOFBF, 4096);
	rte_openlog_stream(stream);
	spdk_log_open(forward_spdk);
	return 0;
}

void (*spdk_shim_log_callback(void))(int, const char *, const int, const char *, const char *, va_list)
{
	return g_sink != NULL ? forward_spdk : NULL;
}

struct spdk_log_flag *
spdk_shim_log_flag_next(struct spdk_log_flag *flag)
{
	return flag == NULL ? spdk_log_get_first_flag() : spdk_log_get_next_flag(flag);
}

const char *
spdk_shim_log_flag_name(const struct spdk_log_flag *flag)
{
	return flag->name;
}
