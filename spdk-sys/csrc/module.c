#include "module.h"
#include "version.h"

#include <spdk/bdev_module.h>
#include <spdk/dif.h>

SIZE_IS(struct spdk_bdev, 576);
SIZE_IS(struct spdk_bdev_io, 1216);
SIZE_IS(struct spdk_bdev_module, 152);
SIZE_IS(struct spdk_bdev_fn_table, 104);
/* Rust aligns what it puts there by hand, from this (spdk-2007-delta, "driver_ctx"). */
_Static_assert(offsetof(struct spdk_bdev_io, driver_ctx) % 8 == 0, "driver_ctx is not even 8-byte aligned");
/* What Rust takes the fields at SPDK_SHIM_AT_* for. */
#define REQUEST_FIELD_IS(field, n) _Static_assert(sizeof(((struct spdk_bdev_io *)0)->field) == (n), #field)
REQUEST_FIELD_IS(type, 1);
REQUEST_FIELD_IS(u.bdev.iovs, 8);
REQUEST_FIELD_IS(u.bdev.iovcnt, 4);
REQUEST_FIELD_IS(u.bdev.md_buf, 8);
REQUEST_FIELD_IS(u.bdev.offset_blocks, 8);
REQUEST_FIELD_IS(u.bdev.num_blocks, 8);

struct spdk_bdev *
spdk_shim_bdev_alloc(const struct spdk_shim_bdev_desc *desc, struct spdk_shim_needs *needs)
{
	struct spdk_bdev *bdev = NULL;

#if !SINCE(21, 1)
	if (desc->max_segment_size != 0 || desc->max_segments != 0) {
		(void)SPDK_SHIM_NEEDS(needs, "a limit on pieces of memory", "21.01");
		return NULL;
	}
#endif
#if !SINCE(21, 7)
	if (desc->max_unmap != 0 || desc->max_unmap_segments != 0 || desc->max_write_zeroes != 0) {
		(void)SPDK_SHIM_NEEDS(needs, "a limit on unmaps and zeroes", "21.07");
		return NULL;
	}
#endif
#if !SINCE(23, 1)
	if (desc->max_copy != 0) {
		(void)SPDK_SHIM_NEEDS(needs, "a limit on copies", "23.01");
		return NULL;
	}
#endif
#if !SINCE(24, 1)
	if (desc->max_read_write != 0) {
		(void)SPDK_SHIM_NEEDS(needs, "a limit on reads and writes", "24.01");
		return NULL;
	}
#endif
#if !SINCE(24, 9)
	if (desc->dif_guard_bits > 16) {
		(void)SPDK_SHIM_NEEDS(needs, "a guard of more than 16 bits", "24.09");
		return NULL;
	}
#endif
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
	bdev->split_on_optimal_io_boundary = desc->splits_at_boundary;
	bdev->md_interleave = desc->metadata_interleaved;
	bdev->md_len = desc->metadata_size;
	bdev->dif_type = (enum spdk_dif_type)desc->dif_type;
	bdev->dif_is_head_of_md = desc->dif_at_head;
	bdev->dif_check_flags = (desc->dif_guard ? SPDK_DIF_FLAGS_GUARD_CHECK : 0) |
				(desc->dif_app_tag ? SPDK_DIF_FLAGS_APPTAG_CHECK : 0) |
				(desc->dif_ref_tag ? SPDK_DIF_FLAGS_REFTAG_CHECK : 0);
#if SINCE(24, 9)
	bdev->dif_pi_format = desc->dif_guard_bits == 64 ? SPDK_DIF_PI_FORMAT_64 :
			      desc->dif_guard_bits == 32 ? SPDK_DIF_PI_FORMAT_32 : SPDK_DIF_PI_FORMAT_16;
#endif
	bdev->write_unit_size = desc->write_unit;
	bdev->acwu = desc->acwu;
	memcpy(&bdev->uuid, desc->uuid, sizeof(bdev->uuid));
#if SINCE(21, 1)
	bdev->max_segment_size = desc->max_segment_size;
	bdev->max_num_segments = desc->max_segments;
#endif
#if SINCE(21, 7)
	bdev->phys_blocklen = desc->physical_block_size;
	bdev->max_unmap = desc->max_unmap;
	bdev->max_unmap_segments = desc->max_unmap_segments;
	bdev->max_write_zeroes = desc->max_write_zeroes;
#endif
#if SINCE(23, 1)
	bdev->max_copy = desc->max_copy;
#endif
#if SINCE(24, 1)
	bdev->max_rw_size = desc->max_read_write;
#endif
	return bdev;
}

void
spdk_shim_bdev_free(struct spdk_bdev *bdev)
{
	/* Old versions leave them to the module; newer ones have none left. */
	spdk_bdev_alias_del_all(bdev);
	free(bdev);
}

void *
spdk_shim_bdev_ctxt(const struct spdk_bdev *bdev)
{
	return bdev->ctxt;
}

int
spdk_shim_bdev_quiesce_range(struct spdk_bdev *bdev, struct spdk_bdev_module *module, uint64_t offset,
			     uint64_t length, void (*cb)(void *ctx, int status), void *ctx)
{
#if SINCE(23, 5)
	return spdk_bdev_quiesce_range(bdev, module, offset, length, cb, ctx);
#else
	return -ENOTSUP;
#endif
}

int
spdk_shim_bdev_unquiesce_range(struct spdk_bdev *bdev, struct spdk_bdev_module *module, uint64_t offset,
			       uint64_t length, void (*cb)(void *ctx, int status), void *ctx)
{
#if SINCE(23, 5)
	return spdk_bdev_unquiesce_range(bdev, module, offset, length, cb, ctx);
#else
	return -ENOTSUP;
#endif
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
		out->victim_ctx = bdev_io->u.abort.bio_to_abort->driver_ctx;
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

bool
spdk_shim_request_nomem(struct spdk_bdev_io *bdev_io)
{
#if SINCE(24, 1)
	if (bdev_io->type != SPDK_BDEV_IO_TYPE_RESET) {
		spdk_bdev_io_complete(bdev_io, SPDK_BDEV_IO_STATUS_NOMEM);
		return true;
	}
#endif
	return false;
}

void
spdk_shim_request_submit(struct spdk_bdev_io *bdev_io)
{
	bdev_io->bdev->fn_table->submit_request(spdk_bdev_io_get_io_channel(bdev_io), bdev_io);
}
