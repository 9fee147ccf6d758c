#include "io.h"
#include "version.h"

#include <spdk/bdev.h>
#include <spdk/bdev_module.h>
#include <spdk/nvme_spec.h>

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

uint32_t
spdk_shim_bdev_io_types(struct spdk_bdev *bdev)
{
	const struct { enum spdk_bdev_io_type type; uint32_t bit; } plain[] = {
		{ SPDK_BDEV_IO_TYPE_UNMAP, SPDK_SHIM_IO_UNMAP },
		{ SPDK_BDEV_IO_TYPE_WRITE_ZEROES, SPDK_SHIM_IO_WRITE_ZEROES },
		{ SPDK_BDEV_IO_TYPE_FLUSH, SPDK_SHIM_IO_FLUSH },
		{ SPDK_BDEV_IO_TYPE_RESET, SPDK_SHIM_IO_RESET },
		{ SPDK_BDEV_IO_TYPE_ZCOPY, SPDK_SHIM_IO_ZCOPY },
		{ SPDK_BDEV_IO_TYPE_ABORT, SPDK_SHIM_IO_ABORT },
#if SINCE(23, 1)
		{ SPDK_BDEV_IO_TYPE_COPY, SPDK_SHIM_IO_COPY },
#endif
	};
	bool read = spdk_bdev_io_type_supported(bdev, SPDK_BDEV_IO_TYPE_READ);
	bool write = spdk_bdev_io_type_supported(bdev, SPDK_BDEV_IO_TYPE_WRITE);
	uint32_t types = 0;
	size_t i;

	for (i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		if (spdk_bdev_io_type_supported(bdev, plain[i].type)) {
			types |= plain[i].bit;
		}
	}
	/* The bdev layer emulates these by reads and writes (B-46 to B-48, B-51). */
	if (read) {
		types |= SPDK_SHIM_IO_COMPARE;
	}
	if (read && write) {
		types |= SPDK_SHIM_IO_COMPARE_AND_WRITE;
	}
#if SINCE(22, 9)
	types |= SPDK_SHIM_IO_SEEK;
#endif
#if SINCE(23, 5)
	if (read && write) {
		types |= SPDK_SHIM_IO_COPY;
	}
#endif
	if (bdev->fn_table->io_type_supported(bdev->ctxt, SPDK_BDEV_IO_TYPE_WRITE_ZEROES)) {
		types |= SPDK_SHIM_IO_WRITE_ZEROES_NATIVE;
	}
	return types;
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
	uint32_t cdw0;

	out->status = io->internal.status;
	spdk_bdev_io_get_nvme_status(io, &cdw0, &out->nvme_sct, &out->nvme_sc);
	/* Old versions translate these two to an internal error. */
	if (io->internal.status == SPDK_BDEV_IO_STATUS_MISCOMPARE) {
		out->nvme_sct = SPDK_NVME_SCT_MEDIA_ERROR;
		out->nvme_sc = SPDK_NVME_SC_COMPARE_FAILURE;
	} else if (io->internal.status == SPDK_BDEV_IO_STATUS_ABORTED) {
		out->nvme_sct = SPDK_NVME_SCT_GENERIC;
		out->nvme_sc = SPDK_NVME_SC_ABORTED_BY_REQUEST;
	}
	spdk_bdev_io_get_scsi_status(io, &out->scsi_sc, &out->scsi_sk, &out->scsi_asc, &out->scsi_ascq);
	out->aio_result = 0;
#if SINCE(21, 1)
	if (io->internal.status == SPDK_BDEV_IO_STATUS_AIO_ERROR) {
		spdk_bdev_io_get_aio_status(io, &out->aio_result);
	}
#endif
}
