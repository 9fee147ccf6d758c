#include "client.h"

#include <spdk/bdev.h>
#include <spdk/likely.h>
#include <spdk/thread.h>

struct slot {
	struct bench_client *client;
	void *buf;
	struct iovec iov;
	uint64_t lba;
	struct spdk_bdev_io_wait_entry wait;
};

struct bench_client {
	struct spdk_bdev *bdev;
	struct spdk_bdev_desc *desc;
	struct spdk_io_channel *ch;
	struct bench_work work;
	uint64_t left;		/* I/Os to be started */
	uint64_t place;		/* of the next one, in order */
	uint64_t random;	/* xorshift64 */
	uint32_t busy;		/* slots with an I/O */
	struct bench_ran ran;
	bench_done_fn done;
	void *done_arg;
	struct slot *slots;
};

static void slot_next(struct slot *slot);

static void
bdev_event(enum spdk_bdev_event_type type, struct spdk_bdev *bdev, void *ctx)
{
}

int
bench_client_open(const char *bdev, struct bench_client **out)
{
	struct bench_client *client = calloc(1, sizeof(*client));
	int rc;

	if (client == NULL) {
		return -ENOMEM;
	}
	rc = spdk_bdev_open_ext(bdev, true, bdev_event, NULL, &client->desc);
	if (rc != 0) {
		free(client);
		return rc;
	}
	client->bdev = spdk_bdev_desc_get_bdev(client->desc);
	client->ch = spdk_bdev_get_io_channel(client->desc);
	if (client->ch == NULL) {
		spdk_bdev_close(client->desc);
		free(client);
		return -ENOMEM;
	}
	*out = client;
	return 0;
}

void
bench_client_close(struct bench_client *client)
{
	spdk_put_io_channel(client->ch);
	spdk_bdev_close(client->desc);
	free(client->slots);
	free(client);
}

static inline uint64_t
next_place(struct bench_client *client)
{
	uint64_t x, place;

	if (client->work.random) {
		x = client->random;
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		client->random = x;
		return ((x >> 32) * client->work.places) >> 32;
	}
	place = client->place++;
	if (client->place == client->work.places) {
		client->place = 0;
	}
	return place;
}

/* A slot has nothing to do any more. */
static void
slot_end(struct bench_client *client)
{
	if (--client->busy == 0) {
		bench_now(&client->ran.ended);
		client->done(client->done_arg, &client->ran);
	}
}

static void
io_done(struct spdk_bdev_io *bdev_io, bool success, void *arg)
{
	struct slot *slot = arg;
	struct bench_client *client = slot->client;

	spdk_bdev_free_io(bdev_io);
	client->ran.completed++;
	if (spdk_unlikely(!success)) {
		client->ran.failed++;
	}
	slot_next(slot);
}

static void slot_submit(void *arg);

/* -ENOMEM is no error: there will be room. */
static void
slot_wait(struct slot *slot, int rc)
{
	struct bench_client *client = slot->client;

	if (rc == -ENOMEM) {
		slot->wait.bdev = client->bdev;
		slot->wait.cb_fn = slot_submit;
		slot->wait.cb_arg = slot;
		rc = spdk_bdev_queue_io_wait(client->bdev, client->ch, &slot->wait);
		if (rc == 0) {
			return;
		}
	}
	client->ran.failed++;
	client->left = 0;
	slot_end(client);
}

static void
slot_submit(void *arg)
{
	struct slot *slot = arg;
	struct bench_client *client = slot->client;
	struct spdk_bdev_desc *desc = client->desc;
	struct spdk_io_channel *ch = client->ch;
	uint64_t blocks = client->work.io_blocks;
	int rc;

	if (client->work.vectored) {
		if (client->work.write) {
			rc = spdk_bdev_writev_blocks(desc, ch, &slot->iov, 1, slot->lba, blocks, io_done, slot);
		} else {
			rc = spdk_bdev_readv_blocks(desc, ch, &slot->iov, 1, slot->lba, blocks, io_done, slot);
		}
	} else {
		if (client->work.write) {
			rc = spdk_bdev_write_blocks(desc, ch, slot->buf, slot->lba, blocks, io_done, slot);
		} else {
			rc = spdk_bdev_read_blocks(desc, ch, slot->buf, slot->lba, blocks, io_done, slot);
		}
	}
	if (spdk_unlikely(rc != 0)) {
		slot_wait(slot, rc);
	}
}

static void
slot_next(struct slot *slot)
{
	struct bench_client *client = slot->client;

	if (spdk_unlikely(client->left == 0)) {
		slot_end(client);
		return;
	}
	client->left--;
	slot->lba = next_place(client) * client->work.io_blocks;
	slot_submit(slot);
}

int
bench_client_start(struct bench_client *client, const struct bench_work *work, void **bufs,
		   bench_done_fn done, void *arg)
{
	struct slot *slots;
	uint32_t i;

	if (client->busy != 0) {
		return -EBUSY;
	}
	slots = realloc(client->slots, work->depth * sizeof(*slots));
	if (slots == NULL) {
		return -ENOMEM;
	}
	memset(slots, 0, work->depth * sizeof(*slots));
	client->slots = slots;
	client->work = *work;
	client->left = work->count;
	client->place = 0;
	client->random = work->seed;
	client->done = done;
	client->done_arg = arg;
	memset(&client->ran, 0, sizeof(client->ran));
	for (i = 0; i < work->depth; i++) {
		slots[i].client = client;
		slots[i].buf = bufs[i];
		slots[i].iov.iov_base = bufs[i];
		slots[i].iov.iov_len = (size_t)work->io_blocks * spdk_bdev_get_block_size(client->bdev);
	}
	client->busy = work->depth;
	bench_now(&client->ran.began);
	for (i = 0; i < work->depth; i++) {
		slot_next(&slots[i]);
	}
	return 0;
}

void
bench_client_stop(struct bench_client *client)
{
	client->left = 0;
}
