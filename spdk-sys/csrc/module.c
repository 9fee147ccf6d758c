#include "module.h"
#include "version.h"

#include <spdk/bdev_module.h>

SIZE_IS(struct spdk_bdev, 576);
SIZE_IS(struct spdk_bdev_io, 1216);
SIZE_IS(struct spdk_bdev_module, 152);
SIZE_IS(struct spdk_bdev_fn_table, 104);
/* Rust aligns what it puts there by hand, from this (spdk-2007-delta, "driver_ctx"). */
_Static_assert(offsetof(struct spdk_bdev_io, driver_ctx) % 8 == 0, "driver_ctx is not even 8-byte aligned");

struct spdk_bdev *
spdk_shim_bdev_alloc(const struct spdk_shim_bdev_desc *desc)
{
	struct spdk_bdev *bdev = NULL;

	/* The struct must be zeroed: registration ORs into it (M-20). Newer versions align it to a cache line. */
	if (posix_memalign((void **)&bdev, 64, sizeof(*bdev)) != 0) {
		return NULL;
	}
	memset(bdev, 0, sizeof(*bdev));
	bdev->name = desc->name;
	bdev->product_name = desc->product_name;
	bdev->ctxt = desc->ctxt;
	bdev->module = desc->module;
	bdev->fn_table = desc->fn_table;
	bdev->blockcnt = desc->num_blocks;
	bdev->blocklen = desc->block_size;
	bdev->optimal_io_boundary = desc->optimal_io_boundary;
	bdev->required_alignment = desc->required_alignment_log2;
	bdev->write_cache = desc->write_cache;
	return bdev;
}

void
spdk_shim_bdev_free(struct spdk_bdev *bdev)
{
	free(bdev);
}

/* By number, which never changed: the names came with different versions. */
enum {
	TYPE_SEEK_HOLE = 17,
	TYPE_SEEK_DATA = 18,
	TYPE_COPY = 19,
};

void
spdk_shim_request_read(struct spdk_bdev_io *bdev_io, struct spdk_shim_request *out)
{
	out->type = bdev_io->type;
	out->bdev_ctxt = bdev_io->bdev->ctxt;
	out->driver_ctx = bdev_io->driver_ctx;
	switch ((int)bdev_io->type) {
	case SPDK_BDEV_IO_TYPE_READ:
	case SPDK_BDEV_IO_TYPE_WRITE:
	case SPDK_BDEV_IO_TYPE_COMPARE:
	case SPDK_BDEV_IO_TYPE_COMPARE_AND_WRITE:
	case SPDK_BDEV_IO_TYPE_ZCOPY:
		out->iovs = bdev_io->u.bdev.iovs;
		out->iovcnt = bdev_io->u.bdev.iovcnt;
		out->md_buf = bdev_io->u.bdev.md_buf;
		out->offset_blocks = bdev_io->u.bdev.offset_blocks;
		out->num_blocks = bdev_io->u.bdev.num_blocks;
		break;
	case SPDK_BDEV_IO_TYPE_UNMAP:
	case SPDK_BDEV_IO_TYPE_FLUSH:
	case SPDK_BDEV_IO_TYPE_WRITE_ZEROES:
	case TYPE_SEEK_HOLE:
	case TYPE_SEEK_DATA:
	case TYPE_COPY:
		out->iovs = NULL;
		out->iovcnt = 0;
		out->md_buf = NULL;
		out->offset_blocks = bdev_io->u.bdev.offset_blocks;
		out->num_blocks = bdev_io->u.bdev.num_blocks;
		break;
	default:
		/* Another member of the union is in use: there is no range and there are no iovecs. */
		out->iovs = NULL;
		out->iovcnt = 0;
		out->md_buf = NULL;
		out->offset_blocks = 0;
		out->num_blocks = 0;
		break;
	}
}

void
spdk_shim_request_read_more(struct spdk_bdev_io *bdev_io, struct spdk_shim_request_more *out)
{
	memset(out, 0, sizeof(*out));
	switch ((int)bdev_io->type) {
	case SPDK_BDEV_IO_TYPE_COMPARE_AND_WRITE:
		out->fused_iovs = bdev_io->u.bdev.fused_iovs;
		out->fused_iovcnt = bdev_io->u.bdev.fused_iovcnt;
		break;
	case SPDK_BDEV_IO_TYPE_ZCOPY:
		out->populate = bdev_io->u.bdev.zcopy.populate;
		out->commit = bdev_io->u.bdev.zcopy.commit;
		out->start = bdev_io->u.bdev.zcopy.start;
		break;
	case SPDK_BDEV_IO_TYPE_ABORT:
		out->victim = bdev_io->u.abort.bio_to_abort;
		break;
#if SINCE(23, 1)
	case SPDK_BDEV_IO_TYPE_COPY:
		out->src_offset_blocks = bdev_io->u.bdev.copy.src_offset_blocks;
		break;
#endif
	default:
		break;
	}
}

void
spdk_shim_request_set_seek(struct spdk_bdev_io *bdev_io, uint64_t offset)
{
#if SINCE(22, 9)
	bdev_io->u.bdev.seek.offset = offset;
#endif
}

void
spdk_shim_request_complete_scsi(struct spdk_bdev_io *bdev_io, int sc, int sk, uint8_t asc, uint8_t ascq)
{
	spdk_bdev_io_complete_scsi_status(bdev_io, sc, sk, asc, ascq);
}

void
spdk_shim_request_complete_aio(struct spdk_bdev_io *bdev_io, int error)
{
#if SINCE(21, 1)
	spdk_bdev_io_complete_aio_status(bdev_io, -error);
#else
	spdk_bdev_io_complete(bdev_io, SPDK_BDEV_IO_STATUS_FAILED);
#endif
}
