/* Somebody else's SPDK application: it knows nothing of Rust. It writes a block to each bdev, and ends. */
#include <spdk/stdinc.h>
#include <spdk/bdev_module.h>
#include <spdk/env.h>
#include <spdk/event.h>
#include <spdk/version.h>

static struct spdk_bdev *g_bdev;
static struct spdk_bdev_desc *g_desc;
static struct spdk_io_channel *g_ch;
static void *g_buf;

static void next_bdev(void);

static void
event(enum spdk_bdev_event_type type, struct spdk_bdev *bdev, void *ctx)
{
}

static void
written(struct spdk_bdev_io *bdev_io, bool success, void *ctx)
{
	spdk_bdev_free_io(bdev_io);
	printf("%s of %s: %s\n", spdk_bdev_get_name(g_bdev), g_bdev->module->name,
	       success ? "written" : "not written");
	spdk_put_io_channel(g_ch);
	spdk_bdev_close(g_desc);
	g_bdev = spdk_bdev_next(g_bdev);
	next_bdev();
}

static void
next_bdev(void)
{
	if (g_bdev == NULL) {
		spdk_dma_free(g_buf);
		spdk_app_stop(0);
		return;
	}
	if (spdk_bdev_open_ext(spdk_bdev_get_name(g_bdev), true, event, NULL, &g_desc) != 0) {
		spdk_app_stop(1);
		return;
	}
	g_ch = spdk_bdev_get_io_channel(g_desc);
	if (spdk_bdev_write_blocks(g_desc, g_ch, g_buf, 0, 1, written, NULL) != 0) {
		spdk_app_stop(1);
	}
}

static void
start(void *ctx)
{
	printf("main\n");
	g_buf = spdk_dma_zmalloc(4096, 4096, NULL);
	g_bdev = spdk_bdev_first();
	next_bdev();
}

int
main(void)
{
	struct spdk_app_opts opts = {};
	int rc;

	setvbuf(stdout, NULL, _IONBF, 0);
#if SPDK_VERSION >= SPDK_VERSION_NUM(21, 1, 0)
	spdk_app_opts_init(&opts, sizeof(opts));
#else
	spdk_app_opts_init(&opts);
#endif
	opts.name = "linked-test";
	opts.rpc_addr = NULL;
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
