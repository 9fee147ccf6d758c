//! An array whose client is not ours: reads without a buffer, no blocks, pieces of memory that are too short or too long.
//! SPDK lets them through.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};

use spdk_bdevs::ramdisk::{self, Ramdisk};
use spdk_raid::raid1::state::ArrayState;
use spdk_raid::raid1::{MODULE, Raid1};
use spdk_safe::app::yield_now;
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static SPDK: Harness = Harness::new(&[&MODULE, &ramdisk::MODULE]);

const BLOCKS: u64 = 2048;

/// How often I/O has ended, and how often well.
static ENDED: AtomicU32 = AtomicU32::new(0);
static DONE: AtomicU32 = AtomicU32::new(0);
/// The sum of all bytes that were read.
static SUM: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" fn no_event(
    _type: spdk_sys::spdk_bdev_event_type,
    _bdev: *mut spdk_sys::spdk_bdev,
    _ctx: *mut c_void,
) {
}

/// # Safety
///
/// SPDK calls it once for an I/O; `arg` is not null if the bytes of its memory are to be added up.
unsafe extern "C" fn ended(io: *mut spdk_sys::spdk_bdev_io, success: bool, arg: *mut c_void) {
    if success && !arg.is_null() {
        let (mut iovs, mut count) = (null_mut(), 0);
        // SAFETY: the I/O has just completed, and is not freed.
        unsafe { spdk_sys::spdk_bdev_io_get_iovec(io, &raw mut iovs, &raw mut count) };
        // SAFETY: the array has as many entries.
        let iovs = unsafe { std::slice::from_raw_parts(iovs, count as usize) };
        for iov in iovs {
            // SAFETY: the memory is there until the I/O is freed, and was filled.
            let bytes =
                unsafe { std::slice::from_raw_parts(iov.iov_base.cast::<u8>(), iov.iov_len) };
            let sum = bytes.iter().map(|byte| u32::from(*byte)).sum();
            SUM.fetch_add(sum, Ordering::Relaxed);
        }
    }
    // SAFETY: completed, once.
    unsafe { spdk_sys::spdk_bdev_free_io(io) };
    DONE.fetch_add(u32::from(success), Ordering::Relaxed);
    ENDED.fetch_add(1, Ordering::Relaxed);
}

/// Waits for I/O that SPDK took, and says whether it ended well; `None` if SPDK refused it.
async fn end(rc: i32) -> Option<bool> {
    if rc != 0 {
        return None;
    }
    while ENDED.load(Ordering::Relaxed) == 0 {
        yield_now().await;
    }
    // It has ended once.
    for _ in 0..20 {
        yield_now().await;
    }
    assert_eq!(ENDED.swap(0, Ordering::Relaxed), 1);
    Some(DONE.swap(0, Ordering::Relaxed) == 1)
}

#[test]
fn b5_16_12_what_a_client_in_c_can_ask_for_faults_no_leg_and_leaves_them_equal() {
    SPDK.run(async |spdk| {
        let mut disks = Vec::new();
        let mut builder = Raid1::builder("md");
        for name in ["c0", "c1", "c2"] {
            let disk = Ramdisk::builder(name).blocks(Blocks(BLOCKS));
            disks.push(disk.create(&spdk).await.unwrap());
            builder = builder.base(name);
        }
        let md = builder.create(&spdk).await.unwrap();
        let desc = BdevDesc::open(&spdk, "md").read_write().unwrap();
        let ours = desc.channel().unwrap();
        ours.write(Lba(0), vec![1; BLOCKS as usize * 512])
            .await
            .0
            .unwrap();

        let mut raw = null_mut();
        // SAFETY: the name is a C string, and this is the app thread.
        let rc = unsafe {
            spdk_sys::spdk_shim_bdev_open(
                c"md".as_ptr(),
                true,
                Some(no_event),
                null_mut(),
                &raw mut raw,
            )
        };
        assert_eq!(rc, 0);
        // SAFETY: the descriptor is open.
        let ch = unsafe { spdk_sys::spdk_bdev_get_io_channel(raw) };
        let done = Some(ended as unsafe extern "C" fn(_, _, _));
        let add = std::ptr::dangling_mut::<c_void>();

        // Without a buffer: 512 B, 32 KiB, and more than SPDK has in one piece.
        for (blocks, is_read) in [(1, true), (64, true), (1024, false)] {
            // SAFETY: descriptor and channel go together; SPDK brings the memory.
            let rc = unsafe {
                spdk_sys::spdk_bdev_read_blocks(raw, ch, null_mut(), 3, blocks, done, add)
            };
            let ended = end(rc).await;
            let sum = SUM.swap(0, Ordering::Relaxed);
            assert_eq!(ended, Some(is_read), "{blocks}");
            assert_eq!(u64::from(sum), if is_read { blocks * 512 } else { 0 });
        }
        // No blocks: whatever SPDK says, nothing happens.
        let mut memory = DmaBuf::zeroed(Bytes(4096), 4096).unwrap();
        memory.fill(2);
        let at = memory.as_mut_ptr().cast::<c_void>();
        for kind in 0..5 {
            let none = null_mut();
            let rc = match kind {
                // SAFETY: descriptor and channel go together; the memory stays until the I/O has ended. (The same holds
                // for all that follow.)
                0 => unsafe { spdk_sys::spdk_bdev_read_blocks(raw, ch, at, 3, 0, done, none) },
                // SAFETY: as above.
                1 => unsafe { spdk_sys::spdk_bdev_write_blocks(raw, ch, at, 3, 0, done, none) },
                // SAFETY: as above.
                2 => unsafe { spdk_sys::spdk_bdev_unmap_blocks(raw, ch, 3, 0, done, none) },
                // SAFETY: as above.
                3 => unsafe { spdk_sys::spdk_bdev_write_zeroes_blocks(raw, ch, 3, 0, done, none) },
                // SAFETY: as above.
                _ => unsafe { spdk_sys::spdk_bdev_flush_blocks(raw, ch, 3, 0, done, none) },
            };
            let _ = end(rc).await;
        }
        assert_eq!(md.info().counters.faults, 0);
        // Pieces with fewer bytes than its blocks have, and with more: not both legs can have it right, so it fails.
        for len in [512, 2048] {
            let mut iov = libc::iovec {
                iov_base: at,
                iov_len: len,
            };
            // SAFETY: as above; so does the array.
            let rc = unsafe {
                spdk_sys::spdk_bdev_writev_blocks(raw, ch, &raw mut iov, 1, 8, 2, done, null_mut())
            };
            assert_ne!(end(rc).await, Some(true), "{len}");
            // SAFETY: as above.
            let rc = unsafe {
                spdk_sys::spdk_bdev_readv_blocks(raw, ch, &raw mut iov, 1, 8, 2, done, null_mut())
            };
            assert_ne!(end(rc).await, Some(true), "{len}");
        }
        // SAFETY: nothing is in flight.
        unsafe { spdk_sys::spdk_put_io_channel(ch) };
        // SAFETY: the channel was put, and this is the thread that opened it.
        unsafe { spdk_sys::spdk_bdev_close(raw) };

        while md.info().dirty_ranges != 0 {
            yield_now().await;
        }
        let info = md.info();
        assert_eq!((info.state, info.counters.faults), (ArrayState::Optimal, 0));
        let (result, all) = ours.read(Lba(0), vec![0; BLOCKS as usize * 512]).await;
        result.unwrap();
        drop(ours);
        desc.close().await;
        md.delete().await;
        for disk in &disks {
            let desc = BdevDesc::open(&spdk, disk.name()).read_only().unwrap();
            let ch = desc.channel().unwrap();
            let (result, data) = ch.read(Lba(0), vec![0; BLOCKS as usize * 512]).await;
            result.unwrap();
            assert!(data == all, "{:?}", disk.name());
            drop(ch);
            desc.close().await;
            disk.delete().await.unwrap();
        }
    });
}
