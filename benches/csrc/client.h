/*
 * A closed loop of reads or writes on one bdev, as a good C programmer writes it: the rival of the same loop on
 * spdk-safe. Everything here is called on one SPDK thread.
 */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <spdk/stdinc.h>

struct bench_client;

/* What one run does. `bufs` are `depth` buffers of `io_blocks` blocks, the run's until it is done. */
struct bench_work {
	uint32_t depth;
	uint32_t io_blocks;
	uint64_t places;	/* the bdev's size in I/Os, at most UINT32_MAX */
	uint64_t count;		/* how many I/Os are to be done */
	uint64_t seed;		/* of the random order; not 0 */
	bool write;
	bool random;
	bool vectored;		/* readv and writev rather than read and write */
};

/* Time that passed, and time that this OS thread had a core. */
struct bench_clock {
	uint64_t wall_ns;
	uint64_t cpu_ns;
};

struct bench_ran {
	struct bench_clock began;	/* before the first submission */
	struct bench_clock ended;	/* after the last completion */
	uint64_t completed;
	uint64_t failed;
};

typedef void (*bench_done_fn)(void *arg, const struct bench_ran *ran);

/* Opens a bdev for writing and gets a channel. Returns 0 or a negated errno. */
int bench_client_open(const char *bdev, struct bench_client **client);
/* When no run is under way. */
void bench_client_close(struct bench_client *client);

/* Begins a run; `done` is called once, when the last I/O is done. -EBUSY, -ENOMEM. */
int bench_client_start(struct bench_client *client, const struct bench_work *work, void **bufs,
		       bench_done_fn done, void *arg);
/* Has a run begin no more I/O. */
void bench_client_stop(struct bench_client *client);
void bench_now(struct bench_clock *clock);

/* Has callgrind count from here on, or stop; false if this was compiled without valgrind's headers. */
bool bench_count_begin(void);
void bench_count_end(void);

#endif
