#include "floor.h"

#include <spdk/bdev.h>
#include <spdk/bdev_module.h>
#include <spdk/likely.h>
#include <spdk/thread.h>

struct bench_floor {
	struct spdk_bdev bdev;
	struct spdk_bdev_desc *legs[2];
	int fault;
};

struct floor_channel {
	struct spdk_io_channel *legs[2];
	uint32_t next;
};

/* In each write's bdev_io. */
struct floor_io {
	uint32_t left;
	bool failed;
};

static int
floor_init(void)
{
	return 0;
}

static int
floor_ctx_size(void)
{
	return sizeof(struct floor_io);
}

static struct spdk_bdev_module g_floor_module = {
	.name = "bench_floor",
	.module_init = floor_init,
	.get_ctx_size = floor_ctx_size,
};
SPDK_BDEV_MODULE_REGISTER(bench_floor, &g_floor_module)

static bool
is_unlucky(struct spdk_bdev_io *bdev_io)
{
	return (bdev_io->u.bdev.offset_blocks / 8) % 10 == 7;
}

static void
read_done(struct spdk_bdev_io *child, bool success, void *arg)
{
	struct spdk_bdev_io *bdev_io = arg;
	struct bench_floor *floor = bdev_io->bdev->ctxt;

	spdk_bdev_free_io(child);
	if (spdk_unlikely(floor->fault == BENCH_FLOOR_GARBLES && is_unlucky(bdev_io))) {
		*(uint8_t *)bdev_io->u.bdev.iovs[0].iov_base ^= 1;
	}
	spdk_bdev_io_complete(bdev_io, success ? SPDK_BDEV_IO_STATUS_SUCCESS : SPDK_BDEV_IO_STATUS_FAILED);
}

static void
write_done(struct spdk_bdev_io *child, bool success, void *arg)
{
	struct spdk_bdev_io *bdev_io = arg;
	struct floor_io *io = (struct floor_io *)bdev_io->driver_ctx;

	spdk_bdev_free_io(child);
	io->failed |= !success;
	if (--io->left == 0) {
		spdk_bdev_io_complete(bdev_io, io->failed ? SPDK_BDEV_IO_STATUS_FAILED :
				      SPDK_BDEV_IO_STATUS_SUCCESS);
	}
}

static void
submit_read(struct spdk_io_channel *ch, struct spdk_bdev_io *bdev_io, bool success)
{
	struct bench_floor *floor = bdev_io->bdev->ctxt;
	struct floor_channel *channel = spdk_io_channel_get_ctx(ch);
	uint32_t leg = channel->next;
	int rc = -ENOMEM;

	channel->next ^= 1;
	if (spdk_likely(success)) {
		rc = spdk_bdev_readv_blocks(floor->legs[leg], channel->legs[leg], bdev_io->u.bdev.iovs,
					    bdev_io->u.bdev.iovcnt, bdev_io->u.bdev.offset_blocks,
					    bdev_io->u.bdev.num_blocks, read_done, bdev_io);
	}
	if (spdk_unlikely(rc != 0)) {
		spdk_bdev_io_complete(bdev_io, rc == -ENOMEM ? SPDK_BDEV_IO_STATUS_NOMEM :
				      SPDK_BDEV_IO_STATUS_FAILED);
	}
}

static void
submit_write(struct floor_channel *channel, struct spdk_bdev_io *bdev_io)
{
	struct bench_floor *floor = bdev_io->bdev->ctxt;
	struct floor_io *io = (struct floor_io *)bdev_io->driver_ctx;
	int leg, rc;

	io->left = 2;
	io->failed = false;
	for (leg = 0; leg < 2; leg++) {
		if (spdk_unlikely(floor->fault == BENCH_FLOOR_FORGETS && leg == 1 && is_unlucky(bdev_io))) {
			io->left--;
			break;
		}
		rc = spdk_bdev_writev_blocks(floor->legs[leg], channel->legs[leg], bdev_io->u.bdev.iovs,
					     bdev_io->u.bdev.iovcnt, bdev_io->u.bdev.offset_blocks,
					     bdev_io->u.bdev.num_blocks, write_done, bdev_io);
		if (spdk_unlikely(rc != 0)) {
			io->failed = true;
			io->left -= 2 - leg;
			if (io->left == 0) {
				spdk_bdev_io_complete(bdev_io, SPDK_BDEV_IO_STATUS_FAILED);
			}
			break;
		}
	}
}

static void
floor_submit(struct spdk_io_channel *ch, struct spdk_bdev_io *bdev_io)
{
	switch (bdev_io->type) {
	case SPDK_BDEV_IO_TYPE_READ:
		if (spdk_unlikely(bdev_io->u.bdev.iovs[0].iov_base == NULL)) {
			spdk_bdev_io_get_buf(bdev_io, submit_read,
					     bdev_io->u.bdev.num_blocks * bdev_io->bdev->blocklen);
			break;
		}
		submit_read(ch, bdev_io, true);
		break;
	case SPDK_BDEV_IO_TYPE_WRITE:
		submit_write(spdk_io_channel_get_ctx(ch), bdev_io);
		break;
	default:
		spdk_bdev_io_complete(bdev_io, SPDK_BDEV_IO_STATUS_FAILED);
	}
}

static bool
floor_supports(void *ctx, enum spdk_bdev_io_type type)
{
	return type == SPDK_BDEV_IO_TYPE_READ || type == SPDK_BDEV_IO_TYPE_WRITE;
}

static struct spdk_io_channel *
floor_get_channel(void *ctx)
{
	return spdk_get_io_channel(ctx);
}

static int
channel_create(void *io_device, void *ctx)
{
	struct bench_floor *floor = io_device;
	struct floor_channel *channel = ctx;
	int leg;

	channel->next = 0;
	for (leg = 0; leg < 2; leg++) {
		channel->legs[leg] = spdk_bdev_get_io_channel(floor->legs[leg]);
		if (channel->legs[leg] == NULL) {
			while (leg-- > 0) {
				spdk_put_io_channel(channel->legs[leg]);
			}
			return -ENOMEM;
		}
	}
	return 0;
}

static void
channel_destroy(void *io_device, void *ctx)
{
	struct floor_channel *channel = ctx;

	spdk_put_io_channel(channel->legs[0]);
	spdk_put_io_channel(channel->legs[1]);
}

static void
floor_free(void *io_device)
{
	struct bench_floor *floor = io_device;

	/* `deleted` comes with this, so that a successor of the same name finds everything gone. */
	spdk_bdev_destruct_done(&floor->bdev, 0);
	free(floor->bdev.name);
	free(floor);
}

/* Returns 1: `spdk_bdev_destruct_done` says when it is gone. */
static int
floor_destruct(void *ctx)
{
	struct bench_floor *floor = ctx;

	spdk_bdev_close(floor->legs[0]);
	spdk_bdev_close(floor->legs[1]);
	spdk_io_device_unregister(floor, floor_free);
	return 1;
}

static const struct spdk_bdev_fn_table g_floor_table = {
	.destruct = floor_destruct,
	.submit_request = floor_submit,
	.io_type_supported = floor_supports,
	.get_io_channel = floor_get_channel,
};

static void
leg_event(enum spdk_bdev_event_type type, struct spdk_bdev *bdev, void *ctx)
{
}

int
bench_floor_create(const char *name, const char *const legs[2], int fault, struct bench_floor **out)
{
	struct bench_floor *floor = calloc(1, sizeof(*floor));
	struct spdk_bdev *base;
	int leg, rc = -ENOMEM;

	if (floor == NULL) {
		return -ENOMEM;
	}
	for (leg = 0; leg < 2; leg++) {
		rc = spdk_bdev_open_ext(legs[leg], true, leg_event, NULL, &floor->legs[leg]);
		if (rc != 0) {
			goto close;
		}
	}
	base = spdk_bdev_desc_get_bdev(floor->legs[0]);
	floor->fault = fault;
	floor->bdev.name = strdup(name);
	floor->bdev.product_name = "floor";
	floor->bdev.ctxt = floor;
	floor->bdev.fn_table = &g_floor_table;
	floor->bdev.module = &g_floor_module;
	floor->bdev.blocklen = spdk_bdev_get_block_size(base);
	floor->bdev.blockcnt = spdk_bdev_get_num_blocks(base);
	floor->bdev.required_alignment = base->required_alignment;
	if (floor->bdev.name == NULL) {
		rc = -ENOMEM;
		goto close;
	}
	spdk_io_device_register(floor, channel_create, channel_destroy, sizeof(struct floor_channel), name);
	rc = spdk_bdev_register(&floor->bdev);
	if (rc == 0) {
		*out = floor;
		return 0;
	}
	spdk_io_device_unregister(floor, NULL);
close:
	while (leg-- > 0) {
		spdk_bdev_close(floor->legs[leg]);
	}
	free(floor->bdev.name);
	free(floor);
	return rc;
}

void
bench_floor_delete(struct bench_floor *floor, bench_floor_gone_fn gone, void *arg)
{
	spdk_bdev_unregister(&floor->bdev, gone, arg);
}
