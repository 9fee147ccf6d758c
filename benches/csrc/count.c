#include "client.h"

#if defined(__has_include)
#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#define HAVE_CALLGRIND
#endif
#endif

bool
bench_count_begin(void)
{
#ifdef HAVE_CALLGRIND
	CALLGRIND_TOGGLE_COLLECT;
	return true;
#else
	return false;
#endif
}

/* Each pair writes a file of its own. */
void
bench_count_end(void)
{
#ifdef HAVE_CALLGRIND
	CALLGRIND_TOGGLE_COLLECT;
	CALLGRIND_DUMP_STATS;
#endif
}
