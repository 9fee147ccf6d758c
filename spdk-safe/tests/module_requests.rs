//! Requests of every type: what each has, and how its data is looked at.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Mutex;

use spdk_safe::bdev::SharedDesc;
use spdk_safe::error::{IoCause, NvmeStatus, ScsiStatus};
use spdk_safe::module::{
    BdevModule, BlockDevice, BlockDeviceBuilder, DataError, RegisteredBdev, Request, RequestStatus,
};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static MODULE: BdevModule = BdevModule::new(c"rust_requests");
static SPDK: Harness = Harness::new(&[&MODULE]);

/// A device that supports everything, and does with each request what the test says.
struct All<S>(S);

impl<S: Fn(Request) + Send + Sync + 'static> BlockDevice for All<S> {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn supports(&self, _: IoType) -> bool {
        true
    }

    fn submit(&self, _: &Rc<()>, request: Request) {
        (self.0)(request);
    }
}

fn device(
    spdk: &Spdk,
    name: &str,
    submit: impl Fn(Request) + Send + Sync + 'static,
) -> RegisteredBdev {
    BlockDeviceBuilder::new(name)
        .blocks(Blocks(64))
        .align(512)
        .register(spdk, &MODULE, All(submit))
        .unwrap()
}

fn open(spdk: &Spdk, name: &str) -> (BdevDesc<ReadWrite>, IoChannel<ReadWrite>) {
    let desc = BdevDesc::open(spdk, name).read_write().unwrap();
    let ch = desc.channel().unwrap();
    (desc, ch)
}

/// 64 blocks in memory.
static DISK: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn ramdisk(request: Request) {
    let mut disk = DISK.lock().unwrap();
    disk.resize(64 * 512, 0);
    let at = |lba: Lba, blocks: Blocks| {
        let at = lba.0 as usize * 512;
        at..at + blocks.0 as usize * 512
    };
    match request {
        Request::Read(read) => {
            let range = at(read.lba(), read.blocks());
            read.view().copy_from(Bytes(0), &disk[range]).unwrap();
            read.complete(RequestStatus::Success);
        }
        Request::Write(write) => {
            let range = at(write.lba(), write.blocks());
            let full = write.view().copy_from(Bytes(0), &[0; 1]);
            assert_eq!(full, Err(DataError::Direction), "M11");
            write.view().copy_to(Bytes(0), &mut disk[range]).unwrap();
            write.complete(RequestStatus::Success);
        }
        Request::Unmap(range) | Request::WriteZeroes(range) => {
            disk[at(range.lba(), range.blocks())].fill(0);
            range.complete(RequestStatus::Success);
        }
        Request::Compare(compare) => {
            let mut found = vec![0; compare.blocks().0 as usize * 512];
            compare.view().copy_to(Bytes(0), &mut found).unwrap();
            let equal = found == disk[at(compare.lba(), compare.blocks())];
            compare.complete(if equal {
                RequestStatus::Success
            } else {
                RequestStatus::Miscompare
            });
        }
        Request::CompareAndWrite(caw) => {
            let range = at(caw.lba(), caw.blocks());
            let mut bytes = vec![0; range.len()];
            caw.compare_view().copy_to(Bytes(0), &mut bytes).unwrap();
            if bytes != disk[range.clone()] {
                return caw.complete(RequestStatus::Miscompare);
            }
            caw.write_view()
                .copy_to(Bytes(0), &mut disk[range])
                .unwrap();
            caw.complete(RequestStatus::Success);
        }
        Request::Copy(copy) => {
            let from = at(copy.from(), copy.blocks());
            disk.copy_within(from, copy.lba().0 as usize * 512);
            copy.complete(RequestStatus::Success);
        }
        Request::ZcopyStart(start) => {
            if start.populate() {
                let range = at(start.lba(), start.blocks());
                start.view().copy_from(Bytes(0), &disk[range]).unwrap();
            }
            start.complete(RequestStatus::Success);
        }
        Request::ZcopyEnd(end) => {
            if end.commit() {
                let range = at(end.lba(), end.blocks());
                end.view().copy_to(Bytes(0), &mut disk[range]).unwrap();
            }
            end.complete(RequestStatus::Success);
        }
        Request::SeekData(seek) => {
            let from = seek.lba().0;
            let data = |lba: &u64| disk[at(Lba(*lba), Blocks(1))].iter().any(|&b| b != 0);
            let found = (from..64).find(data);
            seek.complete_at(found.map(Lba));
        }
        Request::SeekHole(seek) => {
            let from = seek.lba().0;
            let hole = |lba: &u64| disk[at(Lba(*lba), Blocks(1))].iter().all(|&b| b == 0);
            let found = (from..64).find(hole);
            seek.complete_at(found.map(Lba));
        }
        Request::Flush(flush) => flush.complete(RequestStatus::Success),
        Request::Reset(reset) => reset.complete(RequestStatus::Success),
        other => other.complete(RequestStatus::Failed),
    }
}

fn block(desc: &BdevDesc<ReadWrite>, byte: u8) -> DmaBuf {
    let mut buf = desc.alloc(Blocks(1)).unwrap();
    buf.fill(byte);
    buf
}

#[test]
fn m5_each_type_has_what_it_has_and_does_what_it_says() {
    SPDK.run(async |spdk| {
        let bdev = device(&spdk, "every", ramdisk);
        let (desc, ch) = open(&spdk, "every");
        ch.write(Lba(3), block(&desc, 7)).await.0.unwrap();
        let read = async |lba| ch.read_blocks(Lba(lba), Blocks(1)).await.unwrap()[511];
        assert_eq!(read(3).await, 7);
        // In pieces that are not whole blocks, and M6: misaligned, so SPDK brings memory.
        let (result, pieces) = ch.read(Lba(3), vec![vec![0; 511], vec![0; 513]]).await;
        if let Err(error) = &result {
            assert!(matches!(error, IoError::Misaligned { .. }), "{error}");
        } else {
            assert_eq!(pieces[0], vec![7; 511]);
        }
        ch.compare(Lba(3), block(&desc, 7)).await.0.unwrap();
        let error = ch.compare(Lba(3), block(&desc, 8)).await.0.unwrap_err();
        assert!(error.is_miscompare(), "{error}");
        let caw = ch.compare_and_write(Lba(3), block(&desc, 7), block(&desc, 9));
        caw.await.0.unwrap();
        assert_eq!(read(3).await, 9);
        let caw = ch.compare_and_write(Lba(3), block(&desc, 7), block(&desc, 1));
        assert!(caw.await.0.unwrap_err().is_miscompare());
        assert_eq!(read(3).await, 9);
        match ch.copy(Lba(10), Lba(3), Blocks(1)).await {
            Err(IoError::NeedsVersion { .. }) => println!("no copy before 23.01"),
            result => {
                result.unwrap();
                assert_eq!(read(10).await, 9);
            }
        }
        match ch.seek_data(Lba(0)).await {
            Err(IoError::NeedsVersion { .. }) => println!("no seek before 22.09"),
            found => {
                assert_eq!(found.unwrap(), Some(Lba(3)));
                assert_eq!(ch.seek_hole(Lba(3)).await.unwrap(), Some(Lba(4)));
                assert_eq!(ch.seek_data(Lba(21)).await.unwrap(), None);
            }
        }
        ch.write_zeroes(Lba(3), Blocks(1)).await.unwrap();
        assert_eq!(read(3).await, 0);
        ch.flush(Lba(0), Blocks(1)).await.unwrap();
        ch.reset().await.unwrap();
        drop((ch, desc));
        bdev.unregister().await;
    });
}

#[test]
fn a_status_arrives_as_it_was_sent() {
    SPDK.run(async |spdk| {
        let bdev = device(&spdk, "status", |request| match request {
            Request::Write(write) => {
                let status = match write.lba().0 {
                    0 => RequestStatus::Failed,
                    1 => RequestStatus::Aborted,
                    2 => RequestStatus::Nvme {
                        cdw0: 77,
                        status: NvmeStatus { sct: 2, sc: 0x81 },
                    },
                    3 => RequestStatus::Scsi(ScsiStatus {
                        status: 2,
                        sense_key: 3,
                        asc: 0x11,
                        ascq: 4,
                    }),
                    4 => RequestStatus::Aio(spdk_safe::error::Errno::from_code(5)),
                    _ => RequestStatus::Miscompare,
                };
                write.complete(status);
            }
            other => other.complete(RequestStatus::Success),
        });
        let (desc, ch) = open(&spdk, "status");
        let status = async |lba| {
            let result = ch.write(Lba(lba), desc.alloc(Blocks(1)).unwrap()).await.0;
            result.unwrap_err().status().unwrap()
        };
        assert_eq!(status(0).await.cause, IoCause::Failed);
        assert_eq!(status(1).await.cause, IoCause::Aborted);
        let nvme = status(2).await;
        assert_eq!((nvme.cause, nvme.cdw0), (IoCause::Nvme, 77));
        assert_eq!(nvme.nvme, NvmeStatus { sct: 2, sc: 0x81 });
        let scsi = status(3).await;
        assert_eq!((scsi.cause, scsi.scsi.ascq), (IoCause::Scsi, 4));
        let aio = status(4).await;
        match aio.cause {
            IoCause::Failed => println!("no status of AIO before 21.01"),
            cause => {
                assert_eq!(cause, IoCause::Aio);
                assert_eq!(aio.errno.unwrap().code(), 5);
            }
        }
        assert_eq!(status(5).await.cause, IoCause::Miscompare);
        drop((ch, desc));
        bdev.unregister().await;
    });
}

#[test]
fn i5_m11_what_a_view_can_not_do_is_an_error() {
    SPDK.run(async |spdk| {
        let bdev = device(&spdk, "views", |request| {
            let Request::Read(read) = request else {
                return request.complete(RequestStatus::Failed);
            };
            let view = read.view();
            assert_eq!(view.len(), Bytes(1024));
            let mut out = [0; 4];
            assert_eq!(view.copy_to(Bytes(0), &mut out), Err(DataError::NoContents));
            for (at, len) in [(1024, 1), (1021, 4), (u64::MAX, 2)] {
                let error = view.copy_from(Bytes(at), &vec![0; len]).unwrap_err();
                assert!(matches!(error, DataError::Range { .. }), "{error}");
                let error = view.fill(Bytes(at), Bytes(len as u64), 1).unwrap_err();
                assert!(matches!(error, DataError::Range { .. }), "{error}");
            }
            view.fill(Bytes(0), Bytes(1024), 1).unwrap();
            view.copy_from(Bytes(510), &[2; 4]).unwrap();
            view.copy_to(Bytes(509), &mut out).unwrap();
            assert_eq!(out, [1, 2, 2, 2]);
            assert_eq!(view.pieces().map(|piece| piece.len()).sum::<usize>(), 1024);
            let data = read.data();
            assert_eq!(
                data.slice(Blocks(1), Blocks(1)).unwrap().blocks(),
                Blocks(1)
            );
            assert!(data.slice(Blocks(1), Blocks(2)).is_none());
            assert!(data.slice(Blocks(u64::MAX), Blocks(2)).is_none());
            drop(data);
            read.complete(RequestStatus::Success);
        });
        let (desc, ch) = open(&spdk, "views");
        let (result, buf) = ch.read(Lba(0), desc.alloc(Blocks(2)).unwrap()).await;
        result.unwrap();
        assert_eq!(buf[508..516], [1, 1, 2, 2, 2, 2, 1, 1]);
        drop((ch, desc));
        bdev.unregister().await;
    });
}

thread_local! {
    static HELD: RefCell<Vec<Request>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn an_abort_names_its_victim() {
    SPDK.run(async |spdk| {
        let bdev = device(&spdk, "abort", |request| match request {
            Request::Abort(abort) => {
                let victim = abort.victim();
                let found = HELD.with_borrow_mut(|held| {
                    let at = held.iter().position(|held| match held {
                        Request::Write(write) => write.id() == victim,
                        _ => false,
                    });
                    at.map(|at| held.remove(at))
                });
                abort.complete(match found {
                    Some(request) => {
                        request.complete(RequestStatus::Aborted);
                        RequestStatus::Success
                    }
                    None => RequestStatus::Failed,
                });
            }
            write @ Request::Write(_) => HELD.with_borrow_mut(|held| held.push(write)),
            // SPDK's raid module, where it is linked, reads what is new.
            other => other.complete(RequestStatus::Failed),
        });
        let (desc, ch) = open(&spdk, "abort");
        let batch = ch.batch();
        let mut kept = std::pin::pin!(ch.write(Lba(0), block(&desc, 1)));
        let mut gone = std::pin::pin!(ch.write(Lba(1), block(&desc, 2)).in_batch(&batch));
        assert!(futures::poll!(&mut kept).is_pending());
        assert!(futures::poll!(&mut gone).is_pending());
        let _ = batch.abort().await;
        assert!(gone.await.0.unwrap_err().is_aborted());
        let left = HELD.take();
        assert_eq!(left.len(), 1);
        left.into_iter()
            .for_each(|request| request.complete(RequestStatus::Success));
        kept.await.0.unwrap();
        drop((ch, desc));
        bdev.unregister().await;
    });
}

#[test]
fn a_zero_copy_goes_through_the_device() {
    SPDK.run(async |spdk| {
        let bdev = device(&spdk, "zc", ramdisk);
        let (desc, ch) = open(&spdk, "zc");
        ch.write(Lba(20), block(&desc, 5)).await.0.unwrap();
        let mut region = ch.zcopy(Lba(20), Blocks(1)).await.unwrap();
        let mut byte = [0; 1];
        region.copy_out(511, &mut byte).unwrap();
        assert_eq!(byte, [5]);
        region.copy_in(511, &[6]).unwrap();
        region.commit().await.unwrap();
        let buf = ch.read_blocks(Lba(20), Blocks(1)).await.unwrap();
        assert_eq!(buf[510..], [5, 6]);
        drop((ch, desc));
        bdev.unregister().await;
    });
}

/// What a C client found that had its read done into SPDK's memory: `u8::MAX` until then.
static FOUND: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(u8::MAX);

unsafe extern "C" fn no_event(
    _type: spdk_sys::spdk_bdev_event_type,
    _bdev: *mut spdk_sys::spdk_bdev,
    _ctx: *mut std::ffi::c_void,
) {
}

unsafe extern "C" fn read_done(
    io: *mut spdk_sys::spdk_bdev_io,
    success: bool,
    _arg: *mut std::ffi::c_void,
) {
    assert!(success);
    let (mut iovs, mut count) = (std::ptr::null_mut(), 0);
    // SAFETY: the I/O has just completed, and is not freed.
    unsafe { spdk_sys::spdk_bdev_io_get_iovec(io, &raw mut iovs, &raw mut count) };
    assert_eq!(count, 1);
    // SAFETY: the array has one entry.
    let memory = unsafe { (*iovs).iov_base }.cast::<u8>();
    // SAFETY: it is a block of memory, until the I/O is freed.
    let first = unsafe { *memory };
    // SAFETY: completed, once.
    unsafe { spdk_sys::spdk_bdev_free_io(io) };
    FOUND.store(first, std::sync::atomic::Ordering::Release);
}

#[test]
fn m6_a_read_whose_client_brought_no_memory_has_some() {
    SPDK.run(async |spdk| {
        // Completes it only after the memory was filled: `view` would be an error without any.
        let bdev = device(&spdk, "none", |request| match request {
            Request::Read(read) => {
                assert_eq!(read.view().len(), Bytes(512));
                read.view().copy_from(Bytes(0), &[42; 512]).unwrap();
                read.complete(RequestStatus::Success);
            }
            other => other.complete(RequestStatus::Failed),
        });
        let mut desc = std::ptr::null_mut();
        // As a C client has it. Ours brings memory, always.
        // SAFETY: the name is a C string, and this is the app thread.
        let rc = unsafe {
            spdk_sys::spdk_shim_bdev_open(
                c"none".as_ptr(),
                false,
                Some(no_event),
                std::ptr::null_mut(),
                &raw mut desc,
            )
        };
        assert_eq!(rc, 0);
        // SAFETY: the descriptor is open.
        let ch = unsafe { spdk_sys::spdk_bdev_get_io_channel(desc) };
        let done = Some(read_done as unsafe extern "C" fn(_, _, _));
        let (none, arg) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: descriptor and channel go together; SPDK brings the memory.
        let rc = unsafe { spdk_sys::spdk_bdev_read_blocks(desc, ch, none, 3, 1, done, arg) };
        assert_eq!(rc, 0);
        while FOUND.load(std::sync::atomic::Ordering::Acquire) == u8::MAX {
            spdk_safe::app::yield_now().await;
        }
        assert_eq!(FOUND.load(std::sync::atomic::Ordering::Acquire), 42);
        // SAFETY: nothing is in flight.
        unsafe { spdk_sys::spdk_put_io_channel(ch) };
        // SAFETY: the channel was put, and this is the thread that opened it.
        unsafe { spdk_sys::spdk_bdev_close(desc) };
        bdev.unregister().await;
    });
}

/// Whether a C client's write worked: `u8::MAX` until it has ended.
static WRITTEN: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(u8::MAX);

/// Hands all to the bdev below it.
struct Over(SharedDesc<ReadWrite>);

impl BlockDevice for Over {
    type Channel = IoChannel<ReadWrite>;

    fn create_channel(&self) -> Result<Self::Channel, ChannelError> {
        self.0.channel()
    }

    fn submit(&self, ch: &Rc<Self::Channel>, request: Request) {
        request.forward(ch, |request, result| request.complete(result));
    }
}

unsafe extern "C" fn write_done(
    io: *mut spdk_sys::spdk_bdev_io,
    success: bool,
    _arg: *mut std::ffi::c_void,
) {
    // SAFETY: completed, once.
    unsafe { spdk_sys::spdk_bdev_free_io(io) };
    WRITTEN.store(success.into(), std::sync::atomic::Ordering::Release);
}

#[test]
fn i3_a_write_whose_client_brought_misaligned_memory_is_forwarded() {
    SPDK.run(async |spdk| {
        let base = device(&spdk, "base", ramdisk);
        let desc = BdevDesc::open(&spdk, "base").read_write().unwrap();
        let over = BlockDeviceBuilder::new("over")
            .like(desc.info())
            .register(&spdk, &MODULE, Over(desc.share()))
            .unwrap();
        let mut raw = std::ptr::null_mut();
        // As a C client has it. Ours is told that it is misaligned.
        // SAFETY: the name is a C string, and this is the app thread.
        let rc = unsafe {
            spdk_sys::spdk_shim_bdev_open(
                c"over".as_ptr(),
                true,
                Some(no_event),
                std::ptr::null_mut(),
                &raw mut raw,
            )
        };
        assert_eq!(rc, 0);
        // SAFETY: the descriptor is open.
        let ch = unsafe { spdk_sys::spdk_bdev_get_io_channel(raw) };
        let done = Some(write_done as unsafe extern "C" fn(_, _, _));
        let mut buf = DmaBuf::zeroed(Bytes(2048), 512).unwrap();
        buf.fill(77);
        // SAFETY: it has 2048 bytes.
        let data = unsafe { buf.as_ptr().add(4) }.cast_mut().cast();
        let arg = std::ptr::null_mut();
        // SAFETY: descriptor and channel go together; there is a block of data, which lives until the I/O is done.
        let rc = unsafe { spdk_sys::spdk_bdev_write_blocks(raw, ch, data, 3, 1, done, arg) };
        assert_eq!(rc, 0);
        while WRITTEN.load(std::sync::atomic::Ordering::Acquire) == u8::MAX {
            spdk_safe::app::yield_now().await;
        }
        assert_eq!(WRITTEN.load(std::sync::atomic::Ordering::Acquire), 1);
        // SAFETY: nothing is in flight.
        unsafe { spdk_sys::spdk_put_io_channel(ch) };
        // SAFETY: the channel was put, and this is the thread that opened it.
        unsafe { spdk_sys::spdk_bdev_close(raw) };
        let below = desc.channel().unwrap();
        let found = below.read_blocks(Lba(3), Blocks(1)).await.unwrap();
        assert_eq!(found[..], [77; 512]);
        drop((below, desc));
        over.unregister().await;
        base.unregister().await;
    });
}
