//! Many requests that go on one below another: SPDK starts the next one where the last one ends.

use std::cell::RefCell;
use std::ffi::c_void;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Waker};

use spdk_safe::app::yield_now;
use spdk_safe::module::{
    BdevModule, BlockDevice, BlockDeviceBuilder, RegisteredBdev, Request, RequestStatus,
};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static MODULE: BdevModule = BdevModule::new(c"rust_depth");
static SPDK: Harness = Harness::new(&[&MODULE]);

/// Says of its requests that there is no memory while the test says so, and keeps the first one.
static IS_SHORT: AtomicBool = AtomicBool::new(false);

thread_local! {
    static KEPT: RefCell<Vec<Request>> = const { RefCell::new(Vec::new()) };
}

struct Prompt;

impl BlockDevice for Prompt {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn submit(&self, _: &Rc<()>, request: Request) {
        if !IS_SHORT.load(SeqCst) {
            return request.complete(RequestStatus::Success);
        }
        KEPT.with_borrow_mut(|kept| match kept.is_empty() {
            true => kept.push(request),
            false => request.complete(RequestStatus::NoMemory),
        });
    }
}

fn device(spdk: &Spdk, name: &str) -> RegisteredBdev {
    BlockDeviceBuilder::new(name)
        .blocks(Blocks(64))
        .align(512)
        .register(spdk, &MODULE, Prompt)
        .unwrap()
}

#[test]
fn m32_many_requests_that_found_no_memory_go_on_without_end_of_stack() {
    SPDK.run(async |spdk| {
        let bdev = device(&spdk, "short");
        let desc = BdevDesc::open(&spdk, "short").read_write().unwrap();
        let ch = desc.channel().unwrap();
        IS_SHORT.store(true, SeqCst);
        let mut writes: Vec<_> = (0..4000)
            .map(|_| Box::pin(ch.write(Lba(0), ch.alloc(Blocks(1)).unwrap())))
            .collect();
        for write in &mut writes {
            let pending = write.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(pending.is_pending());
        }
        for _ in 0..50 {
            yield_now().await;
        }
        IS_SHORT.store(false, SeqCst);
        let kept = KEPT.take();
        assert_eq!(kept.len(), 1);
        for request in kept {
            request.complete(RequestStatus::Success);
        }
        for write in writes {
            let write: Pin<Box<_>> = write;
            write.await.0.unwrap();
        }
        drop((ch, desc));
        bdev.unregister().await;
    });
}

static READ: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn no_event(
    _type: spdk_sys::spdk_bdev_event_type,
    _bdev: *mut spdk_sys::spdk_bdev,
    _ctx: *mut c_void,
) {
}

unsafe extern "C" fn read_done(io: *mut spdk_sys::spdk_bdev_io, success: bool, _: *mut c_void) {
    assert!(success);
    // SAFETY: completed, once.
    unsafe { spdk_sys::spdk_bdev_free_io(io) };
    READ.fetch_add(1, SeqCst);
}

#[test]
fn m33_many_reads_that_wait_for_memory_of_spdks_go_on_without_end_of_stack() {
    SPDK.run(async |spdk| {
        let bdev = device(&spdk, "bufs");
        let mut desc = std::ptr::null_mut();
        // As a C client that brings no memory.
        // SAFETY: the name is a C string, and this is the app thread.
        let rc = unsafe {
            spdk_sys::spdk_shim_bdev_open(
                c"bufs".as_ptr(),
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
        let null = std::ptr::null_mut();
        let mut sent = 0;
        for _ in 0..4000 {
            // SAFETY: descriptor and channel go together; SPDK brings the memory.
            let rc = unsafe { spdk_sys::spdk_bdev_read_blocks(desc, ch, null, 0, 64, done, null) };
            if rc != 0 {
                assert_eq!(rc, -libc::ENOMEM);
                break;
            }
            sent += 1;
        }
        println!("{sent} reads");
        while READ.load(SeqCst) != sent {
            yield_now().await;
        }
        // SAFETY: nothing is in flight.
        unsafe { spdk_sys::spdk_put_io_channel(ch) };
        // SAFETY: the channel was put, and this is the thread that opened it.
        unsafe { spdk_sys::spdk_bdev_close(desc) };
        bdev.unregister().await;
    });
}
