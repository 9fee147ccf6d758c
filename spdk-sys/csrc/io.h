/* Submitting I/O, and waiting for memory. */
#ifndef SPDK_SHIM_IO_H
#define SPDK_SHIM_IO_H

#include <spdk/stdinc.h>
#include <spdk/bdev.h>

/*
 * Fills a wait entry. `unblocks`: other I/O holds what it has until this one is done, so it goes to the head of the
 * queue (25.09 and newer; older versions have one order for all).
 */
void spdk_shim_io_wait_init(struct spdk_bdev_io_wait_entry *entry, struct spdk_bdev *bdev,
			    spdk_bdev_io_wait_cb cb_fn, void *cb_arg, bool unblocks);

/*
 * Whether the pool of I/Os has too few for a thread's first channel. Before 23.01 SPDK does not look, and crashes on
 * the first that is missing; later ones give no channel.
 */
bool spdk_shim_bdev_io_pool_is_short(void);

/* 23.01 and newer, else -ENOTSUP. */
int spdk_shim_bdev_copy(struct spdk_bdev_desc *desc, struct spdk_io_channel *ch, uint64_t dst, uint64_t src,
			uint64_t num_blocks, spdk_bdev_io_completion_cb cb, void *cb_arg);
/* 22.09 and newer, else -ENOTSUP. The answer is UINT64_MAX if there is none. */
int spdk_shim_bdev_seek(struct spdk_bdev_desc *desc, struct spdk_io_channel *ch, uint64_t offset, bool hole,
			spdk_bdev_io_completion_cb cb, void *cb_arg);
uint64_t spdk_shim_bdev_io_seek_offset(const struct spdk_bdev_io *bdev_io);
int spdk_shim_bdev_zcopy_start(struct spdk_bdev_desc *desc, struct spdk_io_channel *ch, uint64_t offset,
			       uint64_t num_blocks, bool populate, spdk_bdev_io_completion_cb cb, void *cb_arg);

/* How a completed I/O ended, in every form that SPDK has. */
struct spdk_shim_io_status {
	int status;		/* enum spdk_bdev_io_status */
	uint32_t cdw0;		/* of NVMe */
	int nvme_sct;
	int nvme_sc;
	int scsi_sc;
	int scsi_sk;
	int scsi_asc;
	int scsi_ascq;
	int aio_result;		/* 0: not from Linux AIO; 21.01 and newer */
};
void spdk_shim_bdev_io_status(const struct spdk_bdev_io *bdev_io, struct spdk_shim_io_status *out);

/* How many spdk_bdev_ios the pool has, those that threads keep for themselves not among them; and its size. */
void spdk_shim_bdev_io_pool(uint64_t *idle, uint64_t *size);

#endif
