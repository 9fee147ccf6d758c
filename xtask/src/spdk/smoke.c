/*
 * Starts the application framework without hugepages, PCI or root, on a malloc bdev that a JSON
 * file describes, writes one block, reads it back and compares. Built and run by `cargo xtask spdk`
 * before the prefix can be seen: an SPDK that can't do this is no use.
 *
 * Usage: smoke CONFIG.json
 */
#define _GNU_SOURCE
#include <sched.h>

#include "spdk/stdinc.h"
#include "spdk/bdev.h"
#include "spdk/env.h"
#include "spdk/event.h"
#include "spdk/version.h"

#define BDEV "Smoke0"

static struct spdk_bdev_desc *g_desc;
static struct spdk_io_channel *g_channel;
static char *g_written, *g_read;
static uint32_t g_len;

static void
stop(const char *failed)
{
	if (failed != NULL) {
		fprintf(stderr, "smoke: %s failed\n", failed);
	}
	if (g_channel != NULL) {
		spdk_put_io_channel(g_channel);
	}
	if (g_desc != NULL) {
		spdk_bdev_close(g_desc);
	}
	spdk_dma_free(g_written);
	spdk_dma_free(g_read);
	spdk_app_stop(failed == NULL ? 0 : 1);
}

static void
read_done(struct spdk_bdev_io *io, bool success, void *ctx)
{
	spdk_bdev_free_io(io);
	stop(!success ? "read" : memcmp(g_written, g_read, g_len) != 0 ? "comparing" : NULL);
}

static void
write_done(struct spdk_bdev_io *io, bool success, void *ctx)
{
	spdk_bdev_free_io(io);
	if (!success) {
		stop("write");
	} else if (spdk_bdev_read(g_desc, g_channel, g_read, 0, g_len, read_done, NULL) != 0) {
		stop("submitting the read");
	}
}

static void
event(enum spdk_bdev_event_type type, struct spdk_bdev *bdev, void *ctx)
{
}

static void
start(void *ctx)
{
	struct spdk_bdev *bdev;

	if (spdk_bdev_open_ext(BDEV, true, event, NULL, &g_desc) != 0) {
		stop("opening " BDEV);
		return;
	}
	bdev = spdk_bdev_desc_get_bdev(g_desc);
	g_len = spdk_bdev_get_block_size(bdev);
	g_channel = spdk_bdev_get_io_channel(g_desc);
	g_written = spdk_dma_zmalloc(g_len, 0x1000, NULL);
	g_read = spdk_dma_zmalloc(g_len, 0x1000, NULL);
	if (g_channel == NULL || g_written == NULL || g_read == NULL) {
		stop("allocating");
		return;
	}
	memset(g_written, 0x5a, g_len);
	if (spdk_bdev_write(g_desc, g_channel, g_written, 0, g_len, write_done, NULL) != 0) {
		stop("submitting the write");
	}
}

int
main(int argc, char **argv)
{
	struct spdk_app_opts opts;
	cpu_set_t allowed;
	char core[16];
	int cpu = 0, rc;

	if (argc != 2) {
		fprintf(stderr, "usage: %s CONFIG.json\n", argv[0]);
		return 2;
	}
	/* The first CPU that we may use: a container may not have CPU 0. */
	if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) {
		while (cpu < CPU_SETSIZE - 1 && !CPU_ISSET(cpu, &allowed)) {
			cpu++;
		}
	}
	snprintf(core, sizeof(core), "[%d]", cpu);
	spdk_app_opts_init(&opts);
	opts.reactor_mask = core;
	opts.name = "smoke";
	opts.json_config_file = argv[1];
	opts.rpc_addr = NULL;
	opts.no_pci = true;
	opts.mem_size = 400;
	opts.iova_mode = "va";
	opts.env_context = "--no-huge --legacy-mem";
	/* Trace locks its memory, which needs a limit that ordinary users don't have. */
	opts.num_entries = 0;
	rc = spdk_app_start(&opts, start, NULL);
	spdk_app_fini();
	if (rc == 0) {
		printf("smoke: %s wrote and read a block\n", SPDK_VERSION_STRING);
	}
	return rc == 0 ? 0 : 1;
}
