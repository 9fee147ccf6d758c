/* Bdevs of ours: registering one, and reading its requests. */
#ifndef SPDK_SHIM_MODULE_H
#define SPDK_SHIM_MODULE_H

#include <spdk/stdinc.h>
#include <spdk/bdev_module.h>
#include "needs.h"

/* A bdev to be registered: spdk_bdev has bitfields, and its size differs from version to version. */
struct spdk_shim_bdev_desc {
	char *name;
	char *product_name;
	void *ctxt;
	struct spdk_bdev_module *module;
	const struct spdk_bdev_fn_table *fn_table;
	uint64_t num_blocks;
	uint32_t block_size;
	uint32_t optimal_io_boundary;	/* blocks; 0 is none */
	uint8_t required_alignment_log2;
	bool write_cache;
	bool splits_at_boundary;
	bool metadata_interleaved;
	uint8_t uuid[16];		/* all 0: SPDK makes one */
	/* 0 in all that follow is SPDK's default. */
	uint32_t physical_block_size;
	uint32_t write_unit;
	uint32_t metadata_size;
	uint32_t dif_type;		/* enum spdk_dif_type */
	uint32_t dif_guard_bits;	/* more than 16: 24.09 and newer */
	uint32_t max_segment_size;	/* 21.01 and newer, as the next */
	uint32_t max_segments;
	uint32_t max_read_write;	/* 24.01 and newer */
	uint32_t max_unmap;		/* 21.07 and newer, as the next two */
	uint32_t max_unmap_segments;
	uint32_t max_write_zeroes;
	uint32_t max_copy;		/* 23.01 and newer */
	uint16_t acwu;
	bool dif_at_head;
	bool dif_guard;
	bool dif_app_tag;
	bool dif_ref_tag;
};
/*
 * The result is zeroed but for what `desc` says; NULL when out of memory, or when this version can't do that. Free it
 * after destruct is done.
 */
struct spdk_bdev *spdk_shim_bdev_alloc(const struct spdk_shim_bdev_desc *desc, struct spdk_shim_needs *needs);
void spdk_shim_bdev_free(struct spdk_bdev *bdev);
void *spdk_shim_bdev_ctxt(const struct spdk_bdev *bdev);

/* 23.05 and newer, else -ENOTSUP. */
int spdk_shim_bdev_quiesce_range(struct spdk_bdev *bdev, struct spdk_bdev_module *module, uint64_t offset,
				 uint64_t length, void (*cb)(void *ctx, int status), void *ctx);
int spdk_shim_bdev_unquiesce_range(struct spdk_bdev *bdev, struct spdk_bdev_module *module, uint64_t offset,
				   uint64_t length, void (*cb)(void *ctx, int status), void *ctx);

/* What a module reads of a request, in one call. */
struct spdk_shim_request {
	void *bdev_ctxt;		/* what spdk_shim_bdev_desc.ctxt was at registration */
	void *driver_ctx;		/* the module's bytes of it, get_ctx_size of them; aligned to 8 on old versions */
	struct iovec *iovs;
	void *md_buf;			/* separate metadata, or NULL */
	uint64_t offset_blocks;
	uint64_t num_blocks;
	int iovcnt;
	int type;			/* enum spdk_bdev_io_type */
};
void spdk_shim_request_read(struct spdk_bdev_io *bdev_io, struct spdk_shim_request *out);

/*
 * Where the same stands in a request, for Rust to read a READ or WRITE without a call: that was
 * 28 of 1369 instructions of a read on a null bdev, and the copies of what it filled. The types of the fields are those of spdk_shim_request, but for `type`, a byte.
 */
enum spdk_shim_at {
	SPDK_SHIM_AT_TYPE = offsetof(struct spdk_bdev_io, type),
	SPDK_SHIM_AT_IOVS = offsetof(struct spdk_bdev_io, u.bdev.iovs),
	SPDK_SHIM_AT_IOVCNT = offsetof(struct spdk_bdev_io, u.bdev.iovcnt),
	SPDK_SHIM_AT_MD_BUF = offsetof(struct spdk_bdev_io, u.bdev.md_buf),
	SPDK_SHIM_AT_OFFSET_BLOCKS = offsetof(struct spdk_bdev_io, u.bdev.offset_blocks),
	SPDK_SHIM_AT_NUM_BLOCKS = offsetof(struct spdk_bdev_io, u.bdev.num_blocks),
	SPDK_SHIM_AT_DRIVER_CTX = offsetof(struct spdk_bdev_io, driver_ctx),
	/* Of a channel: its context. */
#ifdef SPDK_IO_CHANNEL_STRUCT_SIZE
	SPDK_SHIM_AT_CHANNEL_CTX = SPDK_IO_CHANNEL_STRUCT_SIZE,
#else
	SPDK_SHIM_AT_CHANNEL_CTX = sizeof(struct spdk_io_channel),
#endif
};

/* What only some types have, beside the former; what this one does not is 0. */
struct spdk_shim_request_more {
	struct iovec *fused_iovs;	/* of a compare-and-write, what to write */
	void *victim;			/* of an abort: the spdk_bdev_io to abort, */
	void *victim_ctx;		/* and where its driver context is; nothing there is read */
	uint64_t src_offset_blocks;	/* of a copy */
	int fused_iovcnt;
	bool populate;			/* of a zero-copy */
	bool commit;
	bool start;
};
void spdk_shim_request_read_more(struct spdk_bdev_io *bdev_io, struct spdk_shim_request_more *out);
/* What a seek found; before 22.09 there are none. */
void spdk_shim_request_set_seek(struct spdk_bdev_io *bdev_io, uint64_t offset);

/* What Rust has no enums for. Before 21.01 there is no AIO status: the request fails without a reason. */
void spdk_shim_request_complete_scsi(struct spdk_bdev_io *bdev_io, int sc, int sk, uint8_t asc, uint8_t ascq);
void spdk_shim_request_complete_aio(struct spdk_bdev_io *bdev_io, int error);

/*
 * Completes a request so that SPDK gives it to the module again. False if this SPDK would not do so for each (before
 * 24.01 it forgets one whose channel has nothing else outstanding; a reset it never takes): nothing was done, and the
 * caller submits it again, later.
 */
bool spdk_shim_request_nomem(struct spdk_bdev_io *bdev_io);
void spdk_shim_request_submit(struct spdk_bdev_io *bdev_io);

#endif
