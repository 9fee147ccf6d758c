/*
 * Somebody else's SPDK application: it knows nothing of Rust. It loads a configuration, writes to the bdev "md0", reads
 * it back, and ends.
 *
 * app CONFIG SOCKET
 */
#include <spdk/stdinc.h>
#include <spdk/bdev_module.h>
#include <spdk/env.h>
#include <spdk/event.h>
#include <spdk/version.h>

#define BLOCKS 64

static struct spdk_bdev_desc *g_desc;
static struct spdk_io_channel *g_ch;
static uint8_t *g_written;
static uint8_t *g_read;
static size_t g_len;

static void
event(enum spdk_bdev_event_type type, struct spdk_bdev *bdev, void *ctx)
{
}

static void
end(int rc)
{
	spdk_dma_free(g_written);
	spdk_dma_free(g_read);
	if (g_ch != NULL) {
		spdk_put_io_channel(g_ch);
	}
	if (g_desc != NULL) {
		spdk_bdev_close(g_desc);
	}
	spdk_app_stop(rc);
}

static void
read_done(struct spdk_bdev_io *bdev_io, bool success, void *ctx)
{
	spdk_bdev_free_io(bdev_io);
	printf("read: %s\n", !success ? "failed" : memcmp(g_read, g_written, g_len) ? "wrong" : "right");
	end(0);
}

static void
write_done(struct spdk_bdev_io *bdev_io, bool success, void *ctx)
{
	spdk_bdev_free_io(bdev_io);
	printf("written: %s\n", success ? "yes" : "no");
	if (spdk_bdev_read_blocks(g_desc, g_ch, g_read, 7, BLOCKS, read_done, NULL) != 0) {
		end(1);
	}
}

static void
start(void *ctx)
{
	struct spdk_bdev *bdev;

	if (spdk_bdev_open_ext("md0", true, event, NULL, &g_desc) != 0) {
		printf("there is no md0\n");
		end(1);
		return;
	}
	bdev = spdk_bdev_desc_get_bdev(g_desc);
	printf("%s is a %s of %s\n", spdk_bdev_get_name(bdev), spdk_bdev_get_product_name(bdev),
	       bdev->module->name);
	g_len = (size_t)BLOCKS * spdk_bdev_get_block_size(bdev);
	g_written = spdk_dma_zmalloc(g_len, 4096, NULL);
	g_read = spdk_dma_zmalloc(g_len, 4096, NULL);
	g_ch = spdk_bdev_get_io_channel(g_desc);
	if (g_written == NULL || g_read == NULL || g_ch == NULL) {
		end(1);
		return;
	}
	for (size_t i = 0; i < g_len; i++) {
		g_written[i] = i / 512 + i;
	}
	if (spdk_bdev_write_blocks(g_desc, g_ch, g_written, 7, BLOCKS, write_done, NULL) != 0) {
		end(1);
	}
}

int
main(int argc, char **argv)
{
	struct spdk_app_opts opts = {};
	int rc;

	if (argc != 3) {
		return 2;
	}
	setvbuf(stdout, NULL, _IONBF, 0);
#if SPDK_VERSION >= SPDK_VERSION_NUM(21, 1, 0)
	spdk_app_opts_init(&opts, sizeof(opts));
#else
	spdk_app_opts_init(&opts);
#endif
	opts.name = "linked-test";
	opts.json_config_file = argv[1];
	opts.rpc_addr = argv[2];
	opts.mem_size = 512;
	opts.no_pci = true;
	opts.num_entries = 0;
#if SPDK_VERSION >= SPDK_VERSION_NUM(24, 9, 0)
	opts.disable_cpumask_locks = true;
#endif
#if SPDK_VERSION >= SPDK_VERSION_NUM(24, 1, 0)
	opts.no_huge = true;
#else
	opts.env_context = (void *)"--no-huge --legacy-mem";
	opts.iova_mode = "va";
#endif
	rc = spdk_app_start(&opts, start, NULL);
	spdk_app_fini();
	printf("ended: %d\n", rc);
	return rc != 0;
}
