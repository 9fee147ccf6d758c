/*
 * The floor: the least that a mirror of two legs can do in C. Reads go to the legs in turn, writes to both; there is no
 * state, and no failure is dealt with. Everything here is called on the app thread.
 */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include <spdk/stdinc.h>

struct bench_floor;

typedef void (*bench_floor_gone_fn)(void *arg, int rc);

/* What is wrong with it, for those who check that a benchmark sees that. */
enum bench_floor_fault {
	BENCH_FLOOR_SOUND,
	/* Writes of places whose number ends in 7 do not go to the second leg. */
	BENCH_FLOOR_FORGETS,
	/* Reads of such places come back with a byte changed. */
	BENCH_FLOOR_GARBLES,
};

/* Registers a bdev of that name over two others of the same size. Returns 0 or a negated errno. */
int bench_floor_create(const char *name, const char *const legs[2], int fault, struct bench_floor **floor);
/* Unregisters and frees it, then calls `gone`. */
void bench_floor_delete(struct bench_floor *floor, bench_floor_gone_fn gone, void *arg);

#endif
