#include "reset.h"
#include "client.h"
#include "version.h"

#include <spdk/bdev.h>
#include <spdk/log.h>
#include <spdk/queue.h>
#include <spdk/thread.h>

#if SINCE(25, 5)

int
spdk_shim_bdev_reset(struct spdk_bdev_desc *desc, struct spdk_io_channel *ch, spdk_bdev_io_completion_cb cb,
		     void *cb_arg)
{
	return spdk_bdev_reset(desc, ch, cb, cb_arg);
}

#else

struct turn {
	struct spdk_bdev *bdev;
	struct spdk_bdev_desc *desc;
	struct spdk_io_channel *ch;
	spdk_bdev_io_completion_cb cb;
	void *cb_arg;
	TAILQ_ENTRY(turn) link;
};

/* The resets of all bdevs: the first one of each bdev is with SPDK, the others wait. */
static TAILQ_HEAD(, turn) g_turns = TAILQ_HEAD_INITIALIZER(g_turns);
static pthread_mutex_t g_mutex = PTHREAD_MUTEX_INITIALIZER;

static struct turn *
first_of(const struct spdk_bdev *bdev)
{
	struct turn *turn;

	TAILQ_FOREACH(turn, &g_turns, link) {
		if (turn->bdev == bdev) {
			return turn;
		}
	}
	return NULL;
}

static void turn_comes(void *ctx);

/* On its channel's thread, which has not exited, since it has the channel. */
static void
send_turn(struct turn *turn)
{
	if (spdk_thread_send_msg(spdk_io_channel_get_thread(turn->ch), turn_comes, turn) != 0) {
		SPDK_ERRLOG("no room for a message; a reset never ends\n");
	}
}

static void
end_turn(struct turn *turn)
{
	struct turn *next;

	pthread_mutex_lock(&g_mutex);
	TAILQ_REMOVE(&g_turns, turn, link);
	next = first_of(turn->bdev);
	pthread_mutex_unlock(&g_mutex);
	if (next != NULL) {
		send_turn(next);
	}
	free(turn);
}

static void
turn_done(struct spdk_bdev_io *bdev_io, bool success, void *ctx)
{
	struct turn *turn = ctx;
	spdk_bdev_io_completion_cb cb = turn->cb;
	void *cb_arg = turn->cb_arg;

	end_turn(turn);
	cb(bdev_io, success, cb_arg);
}

static void
turn_comes(void *ctx)
{
	struct turn *turn = ctx;

	/* -ENOMEM is the only error there is, and goes by. */
	if (spdk_bdev_reset(turn->desc, turn->ch, turn_done, turn) != 0) {
		send_turn(turn);
	}
}

int
spdk_shim_bdev_reset(struct spdk_bdev_desc *desc, struct spdk_io_channel *ch, spdk_bdev_io_completion_cb cb,
		     void *cb_arg)
{
	struct turn *turn = calloc(1, sizeof(*turn));
	bool waits;
	int rc;

	if (turn == NULL) {
		/* Not -ENOMEM, which would be waited out for a bdev_io. */
		return -EAGAIN;
	}
	turn->bdev = spdk_bdev_desc_get_bdev(desc);
	turn->desc = desc;
	turn->ch = ch;
	turn->cb = cb;
	turn->cb_arg = cb_arg;
	pthread_mutex_lock(&g_mutex);
	waits = first_of(turn->bdev) != NULL;
	TAILQ_INSERT_TAIL(&g_turns, turn, link);
	pthread_mutex_unlock(&g_mutex);
	if (waits) {
		return 0;
	}
	rc = spdk_bdev_reset(desc, ch, turn_done, turn);
	if (rc != 0) {
		end_turn(turn);
	}
	return rc;
}

#endif

struct reset {
	struct spdk_bdev_desc *desc;
	struct spdk_io_channel *ch;
	/* This one may have been answered by one that was under way before, and has seen nothing that came since. */
	bool again;
};

static void
reset_event(enum spdk_bdev_event_type type, struct spdk_bdev *bdev, void *ctx)
{
	/* A removal waits for the reset, which ends by itself. */
}

static void
reset_end(void *ctx)
{
	struct reset *reset = ctx;

	if (reset->ch != NULL) {
		spdk_put_io_channel(reset->ch);
	}
	spdk_bdev_close(reset->desc);
	free(reset);
}

static void reset_done(struct spdk_bdev_io *bdev_io, bool success, void *ctx);

static void
reset_again(void *ctx)
{
	struct reset *reset = ctx;
	int rc = spdk_shim_bdev_reset(reset->desc, reset->ch, reset_done, reset);

	/* -ENOMEM goes by. */
	if (rc == -ENOMEM && spdk_thread_send_msg(spdk_get_thread(), reset_again, ctx) == 0) {
		return;
	}
	if (rc != 0) {
		reset_end(ctx);
	}
}

static void
reset_done(struct spdk_bdev_io *bdev_io, bool success, void *ctx)
{
	struct reset *reset = ctx;

	spdk_bdev_free_io(bdev_io);
	if (reset->again) {
		reset->again = false;
		if (spdk_thread_send_msg(spdk_get_thread(), reset_again, ctx) == 0) {
			return;
		}
	}
	/* SPDK still looks at the bdev when it comes back from here, and must not find it without descriptors (26.05). */
	if (spdk_thread_send_msg(spdk_get_thread(), reset_end, ctx) != 0) {
		reset_end(ctx);
	}
}

int
spdk_shim_bdev_reset_by_name(const char *name)
{
	struct reset *reset = calloc(1, sizeof(*reset));
	int rc;

	if (reset == NULL) {
		return -ENOMEM;
	}
	rc = spdk_shim_bdev_open(name, false, reset_event, NULL, &reset->desc);
	if (rc != 0) {
		free(reset);
		return rc;
	}
	/* From 25.05 on SPDK answers a reset with the end of the one before. */
	reset->again = SINCE(25, 5);
	reset->ch = spdk_bdev_get_io_channel(reset->desc);
	rc = reset->ch == NULL ? -ENOMEM : spdk_shim_bdev_reset(reset->desc, reset->ch, reset_done, reset);
	if (rc != 0) {
		reset_end(reset);
	}
	return rc;
}
