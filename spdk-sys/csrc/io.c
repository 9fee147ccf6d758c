#include "io.h"
#include "version.h"

#include <spdk/bdev.h>
#include <spdk/bdev_module.h>
#include <spdk/env.h>
#include <spdk/nvme_spec.h>
#include <spdk/scsi_spec.h>

SIZE_IS(struct spdk_bdev_io_wait_entry, 48);

void
spdk_shim_io_wait_init(struct spdk_bdev_io_wait_entry *entry, struct spdk_bdev *bdev,
		       spdk_bdev_io_wait_cb cb_fn, void *cb_arg, bool unblocks)
{
	entry->bdev = bdev;
	entry->cb_fn = cb_fn;
	entry->cb_arg = cb_arg;
#if SINCE(25, 9)
	entry->dep_unblock = unblocks;
#endif
}

bool
spdk_shim_bdev_io_pool_is_short(void)
{
#if SINCE(23, 1)
	return false;
#else
	struct spdk_bdev_opts opts;
	struct spdk_mempool *pool;
	char name[32];

	memset(&opts, 0, sizeof(opts));
#if SINCE(21, 1)
	spdk_bdev_get_opts(&opts, sizeof(opts));
#else
	spdk_bdev_get_opts(&opts);
#endif
	snprintf(name, sizeof(name), "bdev_io_%d", getpid());
	pool = spdk_mempool_lookup(name);
	return pool != NULL && spdk_mempool_count(pool) < opts.bdev_io_cache_size;
#endif
}

int
spdk_shim_bdev_copy(struct spdk_bdev_desc *desc, struct spdk_io_channel *ch, uint64_t dst, uint64_t src,
		    uint64_t num_blocks, spdk_bdev_io_completion_cb cb, void *cb_arg)
{
#if SINCE(23, 1)
	return spdk_bdev_copy_blocks(desc, ch, dst, src, num_blocks, cb, cb_arg);
#else
	return -ENOTSUP;
#endif
}

int
spdk_shim_bdev_seek(struct spdk_bdev_desc *desc, struct spdk_io_channel *ch, uint64_t offset, bool hole,
		    spdk_bdev_io_completion_cb cb, void *cb_arg)
{
#if SINCE(22, 9)
	return hole ? spdk_bdev_seek_hole(desc, ch, offset, cb, cb_arg) :
	       spdk_bdev_seek_data(desc, ch, offset, cb, cb_arg);
#else
	return -ENOTSUP;
#endif
}

uint64_t
spdk_shim_bdev_io_seek_offset(const struct spdk_bdev_io *bdev_io)
{
#if SINCE(22, 9)
	return spdk_bdev_io_get_seek_offset(bdev_io);
#else
	return UINT64_MAX;
#endif
}

int
spdk_shim_bdev_zcopy_start(struct spdk_bdev_desc *desc, struct spdk_io_channel *ch, uint64_t offset,
			   uint64_t num_blocks, bool populate, spdk_bdev_io_completion_cb cb, void *cb_arg)
{
#if SINCE(21, 7)
	return spdk_bdev_zcopy_start(desc, ch, NULL, 0, offset, num_blocks, populate, cb, cb_arg);
#else
	return spdk_bdev_zcopy_start(desc, ch, offset, num_blocks, populate, cb, cb_arg);
#endif
}

void
spdk_shim_bdev_io_status(const struct spdk_bdev_io *bdev_io, struct spdk_shim_io_status *out)
{
	struct spdk_bdev_io *io = (struct spdk_bdev_io *)bdev_io;

	out->status = io->internal.status;
	spdk_bdev_io_get_nvme_status(io, &out->cdw0, &out->nvme_sct, &out->nvme_sc);
	spdk_bdev_io_get_scsi_status(io, &out->scsi_sc, &out->scsi_sk, &out->scsi_asc, &out->scsi_ascq);
	/* Old versions translate these two to an internal error. */
	if (io->internal.status == SPDK_BDEV_IO_STATUS_MISCOMPARE) {
		out->nvme_sct = SPDK_NVME_SCT_MEDIA_ERROR;
		out->nvme_sc = SPDK_NVME_SC_COMPARE_FAILURE;
		out->scsi_sc = SPDK_SCSI_STATUS_CHECK_CONDITION;
		out->scsi_sk = SPDK_SCSI_SENSE_MISCOMPARE;
		out->scsi_asc = SPDK_SCSI_ASC_MISCOMPARE_DURING_VERIFY_OPERATION;
	} else if (io->internal.status == SPDK_BDEV_IO_STATUS_ABORTED) {
		out->nvme_sct = SPDK_NVME_SCT_GENERIC;
		out->nvme_sc = SPDK_NVME_SC_ABORTED_BY_REQUEST;
	}
	out->aio_result = 0;
#if SINCE(21, 1)
	if (io->internal.status == SPDK_BDEV_IO_STATUS_AIO_ERROR) {
		spdk_bdev_io_get_aio_status(io, &out->aio_result);
	}
#endif
}

void
spdk_shim_bdev_io_pool(uint64_t *idle, uint64_t *size)
{
	struct spdk_bdev_opts opts;
	struct spdk_mempool *pool;
	char name[32];

	memset(&opts, 0, sizeof(opts));
#if SINCE(21, 1)
	spdk_bdev_get_opts(&opts, sizeof(opts));
#else
	spdk_bdev_get_opts(&opts);
#endif
	/* The name that lib/bdev gives it. */
	snprintf(name, sizeof(name), "bdev_io_%d", getpid());
	pool = spdk_mempool_lookup(name);
	*idle = pool ? spdk_mempool_count(pool) : 0;
	*size = opts.bdev_io_pool_size;
}
