//! Devices with a context for each SPDK thread: every order of drops, the wrong thread, panics, visits of all channels.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::error::Error;
use std::ffi::{CString, c_void};
use std::future::Future;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};

use spdk_safe::app::{Cores, LogLevel, Pools, yield_now};
use spdk_safe::error::{DeviceChannelError, ForEachError, IoDeviceError, ThreadError};
use spdk_safe::io_device::{
    self, DeviceChannel, ForEachChannel, IoDevice, RegisteredIoDevice, SharedIoDevice,
    UnregisterIoDevice,
};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;
use spdk_safe::thread::current_id;
use static_assertions::{assert_impl_all, assert_not_impl_any};

static SPDK: Harness = Harness::new(&[]);

assert_not_impl_any!(DeviceChannel<Probe>: Send, Sync, Clone);
assert_not_impl_any!(RegisteredIoDevice<Probe>: Clone);
// Although `Probe::Channel` is neither.
assert_impl_all!(RegisteredIoDevice<Probe>: Send, Sync);
assert_impl_all!(SharedIoDevice<Probe>: Send, Sync, Clone);
assert_impl_all!(UnregisterIoDevice<Probe>: Send, Sync, Unpin);
assert_impl_all!(ForEachChannel<Infallible>: Send, Sync, Unpin);

/// What happened to a device and its contexts.
#[derive(Default)]
struct Log {
    made: AtomicUsize,
    dropped: AtomicUsize,
    dropped_elsewhere: AtomicUsize,
    device_dropped: AtomicUsize,
}

impl Log {
    /// How many contexts were made, how many dropped, and how often the device was.
    fn counts(&self) -> (usize, usize, usize) {
        assert_eq!(self.dropped_elsewhere.load(Ordering::SeqCst), 0);
        (
            self.made.load(Ordering::SeqCst),
            self.dropped.load(Ordering::SeqCst),
            self.device_dropped.load(Ordering::SeqCst),
        )
    }
}

/// A device that logs.
struct Probe(Arc<Log>);

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.device_dropped.fetch_add(1, Ordering::SeqCst);
    }
}

struct ProbeContext {
    log: Arc<Log>,
    thread: u64,
    /// Not `Send`.
    value: Rc<Cell<u64>>,
}

impl Drop for ProbeContext {
    fn drop(&mut self) {
        self.log.dropped.fetch_add(1, Ordering::SeqCst);
        if here() != self.thread {
            self.log.dropped_elsewhere.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl IoDevice for Probe {
    type Channel = ProbeContext;

    fn create_channel(&self) -> Result<ProbeContext, Box<dyn Error + Send + Sync>> {
        self.0.made.fetch_add(1, Ordering::SeqCst);
        Ok(ProbeContext {
            log: Arc::clone(&self.0),
            thread: here(),
            value: Rc::default(),
        })
    }
}

fn probe(spdk: &Spdk) -> (RegisteredIoDevice<Probe>, Arc<Log>) {
    let log = Arc::new(Log::default());
    let device = io_device::register(spdk, "probe", Probe(Arc::clone(&log))).unwrap();
    (device, log)
}

/// A device whose contexts a closure makes.
struct Made<F>(F);

impl<C: 'static, F> IoDevice for Made<F>
where
    F: Fn() -> Result<C, Box<dyn Error + Send + Sync>> + Send + Sync + 'static,
{
    type Channel = C;

    fn create_channel(&self) -> Result<C, Box<dyn Error + Send + Sync>> {
        (self.0)()
    }
}

fn here() -> u64 {
    current_id().map_or(0, std::num::NonZero::get)
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// An SPDK thread made for the test.
struct TestThread {
    raw: *mut spdk_sys::spdk_thread,
    id: u64,
}

// SAFETY: the pointer is only sent to, and `exit` waits until the thread is gone.
unsafe impl Send for TestThread {}

impl TestThread {
    fn new() -> Self {
        // SAFETY: the app runs, and a reactor's thread is current.
        Self::on(unsafe { spdk_sys::spdk_env_get_current_core() })
    }

    fn on(core: u32) -> Self {
        let name = CString::new("test").unwrap();
        // SAFETY: allocates.
        let set = unsafe { spdk_sys::spdk_cpuset_alloc() };
        // SAFETY: the set was just made.
        unsafe { spdk_sys::spdk_cpuset_set_cpu(set, core, true) };
        // SAFETY: the app runs; the set and the name are copied.
        let raw = unsafe { spdk_sys::spdk_thread_create(name.as_ptr(), set) };
        // SAFETY: ours, and not used any more.
        unsafe { spdk_sys::spdk_cpuset_free(set) };
        assert!(!raw.is_null());
        // SAFETY: the thread exists.
        let id = unsafe { spdk_sys::spdk_thread_get_id(raw) };
        Self { raw, id }
    }

    /// Has `job` run on the thread.
    fn send(&self, job: impl FnOnce() + Send + 'static) {
        unsafe extern "C" fn call(ctx: *mut c_void) {
            // SAFETY: `send` made the pointer so, and each message is delivered once.
            let job = unsafe { Box::from_raw(ctx.cast::<Box<dyn FnOnce()>>()) };
            job();
        }
        let job: Box<dyn FnOnce()> = Box::new(job);
        let ctx = Box::into_raw(Box::new(job)).cast();
        // SAFETY: the thread has not exited.
        let rc = unsafe { spdk_sys::spdk_thread_send_msg(self.raw, Some(call), ctx) };
        assert_eq!(rc, 0);
    }

    /// Runs `job` on the thread, and waits for its result while the app goes on.
    async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (send, result) = mpsc::channel();
        self.send(move || {
            let _ = send.send(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)));
        });
        loop {
            match result.try_recv() {
                Ok(Ok(value)) => return value,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                Err(_) => yield_now().await,
            }
        }
    }

    /// Tells the thread to exit, and waits until it is gone.
    async fn exit(self) {
        self.send(|| {
            // SAFETY: reads a thread-local.
            let own = unsafe { spdk_sys::spdk_get_thread() };
            // SAFETY: on the thread itself, as SPDK wants it.
            unsafe { spdk_sys::spdk_thread_exit(own) };
        });
        let is_there = || {
            // SAFETY: only looks the id up. The reactor destroys the thread when it has exited.
            !unsafe { spdk_sys::spdk_thread_get_by_id(self.id) }.is_null()
        };
        while is_there() {
            yield_now().await;
        }
    }
}

/// Hands a `!Send` value to code on another SPDK thread of the same OS thread, or back.
struct Smuggled<T>(T);
// SAFETY: the tests that use it have one OS thread.
unsafe impl<T> Send for Smuggled<T> {}

impl<T> Smuggled<T> {
    fn take(self) -> T {
        self.0
    }
}

#[test]
fn a_thread_has_one_context_however_often_it_is_got() {
    SPDK.run(async |spdk| {
        let (device, log) = probe(&spdk);
        let share = device.share();
        let (one, two) = (device.channel().unwrap(), share.channel().unwrap());
        assert!(Rc::ptr_eq(
            &one.context().unwrap().value,
            &two.context().unwrap().value
        ));
        assert_eq!(one.context().unwrap().thread, here());
        let thread = TestThread::new();
        let (theirs, id) = (device.share(), thread.id);
        let other = thread
            .run(move || theirs.channel().unwrap().context().unwrap().thread)
            .await;
        assert_eq!(other, id);
        drop(one);
        for _ in 0..10 {
            yield_now().await;
        }
        assert_eq!(
            log.counts(),
            (2, 1, 0),
            "the other thread's is gone, ours is not"
        );
        drop(two);
        device.unregister().await;
        assert_eq!(log.counts(), (2, 2, 1));
        thread.exit().await;
    });
}

#[test]
fn a_channel_got_again_before_spdk_destroys_it_is_the_same() {
    SPDK.run(async |spdk| {
        let (device, log) = probe(&spdk);
        for _ in 0..3 {
            drop(device.channel().unwrap());
        }
        let ch = device.channel().unwrap();
        for _ in 0..10 {
            yield_now().await;
        }
        assert_eq!(log.counts(), (1, 0, 0));
        // The last message about it is under way when the device goes.
        drop(ch);
        let ch = device.channel().unwrap();
        let mut unregister = pin!(device.unregister());
        for _ in 0..10 {
            assert!(poll(unregister.as_mut()).is_pending());
            yield_now().await;
        }
        ch.context().unwrap().value.set(1);
        drop(ch);
        unregister.await;
        assert_eq!(log.counts(), (1, 1, 1));
    });
}

/// All orders of `0..n`.
fn orders(n: usize) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for next in 0..n {
        all = all
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                (0..=order.len()).map(move |at| {
                    let mut order = order.clone();
                    order.insert(at, next);
                    order
                })
            })
            .collect();
    }
    all
}

#[test]
fn every_order_of_drops_ends_with_all_contexts_and_the_device_dropped_once() {
    SPDK.run(async |spdk| {
        let thread = Rc::new(TestThread::new());
        let all = orders(6);
        assert_eq!(all.len(), 720);
        for (turn, order) in all.into_iter().enumerate() {
            let (device, log) = probe(&spdk);
            let share = device.share();
            let (ch, again) = (device.channel().unwrap(), device.channel().unwrap());
            let theirs = device.share();
            // Two of another SPDK thread: one is dropped at home, the other here.
            let got = thread.run(move || {
                let [home, away] = [(); 2].map(|()| theirs.channel().unwrap());
                Smuggled((home, away))
            });
            let (at_home, away) = got.await.take();
            let visit = device.for_each_channel(|context| {
                context.value.set(1);
                Ok::<(), Infallible>(())
            });
            drop(again);
            let mut slots = (
                Some(device),
                Some(share),
                Some(ch),
                Some(at_home),
                Some(away),
                Some(visit),
            );
            for slot in order {
                match slot {
                    0 => drop(slots.0.take()),
                    1 => drop(slots.1.take()),
                    2 => drop(slots.2.take()),
                    3 => {
                        let at_home = Smuggled(slots.3.take());
                        thread.send(move || drop(at_home.take()));
                    }
                    4 => drop(slots.4.take()),
                    _ => drop(slots.5.take()),
                }
                // Different amounts of time in between.
                for _ in 0..(turn % 4) {
                    yield_now().await;
                }
            }
            for _ in 0..1000 {
                if log.counts().2 == 1 {
                    break;
                }
                yield_now().await;
            }
            assert_eq!(log.counts(), (2, 2, 1));
        }
        Rc::into_inner(thread).unwrap().exit().await;
    });
}

#[test]
fn unregister_ends_when_the_last_channel_of_every_thread_is_gone_and_refuses_new_ones() {
    SPDK.run(async |spdk| {
        let (device, log) = probe(&spdk);
        let (share, thread) = (device.share(), TestThread::new());
        let theirs = device.share();
        let away = thread
            .run(move || Smuggled(theirs.channel().unwrap()))
            .await
            .take();
        let ch = device.channel().unwrap();
        let mut unregister = pin!(device.unregister());
        assert!(poll(unregister.as_mut()).is_pending());
        let error = share.channel().unwrap_err();
        assert!(
            matches!(error, DeviceChannelError::Unregistered { .. }),
            "{error}"
        );
        let error = share.for_each_channel(|_| Ok::<(), Infallible>(())).await;
        assert!(
            matches!(error, Err(ForEachError::Unregistered { .. })),
            "{error:?}"
        );
        drop(ch);
        for _ in 0..10 {
            yield_now().await;
            assert!(poll(unregister.as_mut()).is_pending());
        }
        assert_eq!(log.counts(), (2, 1, 0));
        drop(away);
        unregister.await;
        assert_eq!(log.counts(), (2, 2, 1));
        assert!(share.channel().is_err());
        thread.exit().await;
    });
}

#[test]
fn t41_a_channel_got_while_it_is_made_is_a_clean_error() {
    static SHARE: Mutex<Option<Box<dyn Fn() -> String + Send>>> = Mutex::new(None);
    SPDK.run(async |spdk| {
        let device = Made(|| {
            let said = SHARE.lock().unwrap().as_ref().unwrap()();
            Ok(said)
        });
        let device = io_device::register(&spdk, "loop", device).unwrap();
        let share = device.share();
        *SHARE.lock().unwrap() = Some(Box::new(move || match share.channel() {
            Err(error @ DeviceChannelError::Cycle { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        }));
        let ch = device.channel().unwrap();
        assert!(ch.context().unwrap().contains("\"loop\""));
        drop(ch);
        device.unregister().await;
        SHARE.lock().unwrap().take();
    });
}

#[test]
fn a_context_that_can_not_be_made_is_an_error_to_the_getter_and_made_on_the_next_try() {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    SPDK.run(async |spdk| {
        let device = Made(|| match TURN.fetch_add(1, Ordering::SeqCst) {
            0 => Err("not yet".into()),
            1 => panic!("on purpose"),
            turn => Ok(turn),
        });
        let device = io_device::register(&spdk, "later", device).unwrap();
        let error = device.channel().unwrap_err();
        assert_eq!(error.source().unwrap().to_string(), "not yet");
        let before = spdk_safe::contained_panics();
        let error = device.channel().unwrap_err();
        assert!(
            matches!(error, DeviceChannelError::Panicked { .. }),
            "{error}"
        );
        assert_eq!(spdk_safe::contained_panics(), before + 1);
        let visited = device.for_each_channel(|_| Ok::<(), Infallible>(())).await;
        assert_eq!(visited, Ok(0), "there is no context to visit");
        let ch = device.channel().unwrap();
        assert_eq!(*ch.context().unwrap(), 2);
        drop(ch);
        device.unregister().await;
    });
}

#[test]
fn a_device_unregistered_while_it_makes_a_channel_goes_when_that_was_put_or_failed() {
    static OWNER: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);
    SPDK.run(async |spdk| {
        for fails in [false, true] {
            let device = Made(move || {
                OWNER.lock().unwrap().take().unwrap()();
                match fails {
                    true => Err("on purpose".into()),
                    false => Ok(()),
                }
            });
            let device = io_device::register(&spdk, "self", device).unwrap();
            let share = device.share();
            *OWNER.lock().unwrap() = Some(Box::new(move || drop(device)));
            let ch = share.channel();
            assert_eq!(ch.is_err(), fails);
            assert!(matches!(
                share.channel(),
                Err(DeviceChannelError::Unregistered { .. })
            ));
            drop(ch);
            // The harness waits until the device is gone.
        }
    });
}

#[test]
fn t13_panics_in_the_destructors_of_contexts_and_devices_are_contained() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("on purpose");
        }
    }
    SPDK.run(async |spdk| {
        let before = spdk_safe::contained_panics();
        let bomb = Bomb;
        let device = Made(move || {
            let _bomb = &bomb;
            Ok(Bomb)
        });
        let device = io_device::register(&spdk, "bomb", device).unwrap();
        drop(device.channel().unwrap());
        device.unregister().await;
        assert_eq!(spdk_safe::contained_panics(), before + 2);
    });
}

/// Gets another channel of its device when it is dropped for the first time.
struct Again;

type Place<T> = Mutex<Option<T>>;
static AGAIN: Place<SharedIoDevice<Phoenix>> = Mutex::new(None);
thread_local!(static RISEN: RefCell<Option<DeviceChannel<Phoenix>>> = const { RefCell::new(None) });

struct Phoenix;

impl IoDevice for Phoenix {
    type Channel = Again;

    fn create_channel(&self) -> Result<Again, Box<dyn Error + Send + Sync>> {
        Ok(Again)
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        if let Some(share) = AGAIN.lock().unwrap().take() {
            RISEN.set(Some(share.channel().unwrap()));
        }
    }
}

#[test]
fn a_context_may_get_another_channel_of_its_device_when_it_is_dropped() {
    SPDK.run(async |spdk| {
        let device = io_device::register(&spdk, "again", Phoenix).unwrap();
        *AGAIN.lock().unwrap() = Some(device.share());
        drop(device.channel().unwrap());
        while RISEN.with_borrow(Option::is_none) {
            yield_now().await;
        }
        let visited = device.for_each_channel(|_| Ok::<(), Infallible>(()));
        assert_eq!(visited.await, Ok(1));
        RISEN.take();
        device.unregister().await;
    });
}

/// Runs `f` as code that runs on this OS thread while no SPDK thread is current.
fn on_no_thread<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: only changes which SPDK thread is current on this OS thread, and is undone below.
    let thread = unsafe { spdk_sys::spdk_get_thread() };
    // SAFETY: as above.
    unsafe { spdk_sys::spdk_set_thread(std::ptr::null_mut()) };
    let value = f();
    // SAFETY: as above.
    unsafe { spdk_sys::spdk_set_thread(thread) };
    value
}

#[test]
fn t4_a_channel_used_where_its_thread_is_not_current_is_a_clean_error() {
    SPDK.run(async |spdk| {
        let (device, _log) = probe(&spdk);
        let (ch, share, thread) = (device.channel().unwrap(), device.share(), TestThread::new());
        on_no_thread(|| {
            let error = ch.context().err().unwrap();
            assert!(
                matches!(error, DeviceChannelError::Thread(ThreadError::NoThread)),
                "{error}"
            );
            let error = share.channel().unwrap_err();
            assert!(
                matches!(error, DeviceChannelError::Thread(ThreadError::NoThread)),
                "{error}"
            );
            let error = io_device::register(&spdk, "no", Made(|| Ok(()))).unwrap_err();
            assert_eq!(error, IoDeviceError::Thread(ThreadError::NoThread));
        });
        let (smuggled, context) = (Smuggled(ch), Smuggled(spdk.clone()));
        let ch = thread
            .run(move || {
                let (ch, spdk) = (smuggled.take(), context.take());
                let error = ch.context().err().unwrap();
                assert!(
                    matches!(error, DeviceChannelError::Thread(ThreadError::WrongThread)),
                    "{error}"
                );
                let error = io_device::register(&spdk, "no", Made(|| Ok(()))).unwrap_err();
                assert_eq!(error, IoDeviceError::Thread(ThreadError::NotAppThread));
                Smuggled(ch)
            })
            .await
            .take();
        assert!(ch.context().is_ok());
        let error = io_device::register(&spdk, "a\0b", Made(|| Ok(()))).unwrap_err();
        assert!(matches!(error, IoDeviceError::Name { .. }));
        drop(ch);
        device.unregister().await;
        thread.exit().await;
    });
}

#[test]
fn t5_many_channels_dropped_on_the_wrong_thread_go_home_in_few_messages() {
    SPDK.run(async |spdk| {
        // Twice as many as a thread's ring has room for.
        const MANY: usize = 130_000;
        let (device, log) = probe(&spdk);
        let (theirs, thread) = (device.share(), TestThread::new());
        let all: Vec<_> = thread
            .run(move || Smuggled((0..MANY).map(|_| theirs.channel().unwrap()).collect()))
            .await
            .take();
        on_no_thread(|| drop(all));
        device.unregister().await;
        assert_eq!(log.counts(), (1, 1, 1));
        thread.exit().await;
    });
}

#[test]
fn t5_the_owner_dropped_on_a_plain_os_thread_unregisters() {
    SPDK.run(async |spdk| {
        let (device, log) = probe(&spdk);
        let share = device.share();
        std::thread::spawn(move || {
            drop(device);
            assert!(share.channel().is_err());
        })
        .join()
        .unwrap();
        while log.counts().2 == 0 {
            yield_now().await;
        }
    });
}

#[test]
fn for_each_channel_sees_each_channel_on_its_thread_in_the_order_of_the_threads() {
    SPDK.run(async |spdk| {
        let (device, _log) = probe(&spdk);
        let threads = [(); 3].map(|()| TestThread::new());
        let ch = device.channel().unwrap();
        let mut kept = Vec::new();
        for thread in &threads[..2] {
            let theirs = device.share();
            kept.push(
                thread
                    .run(move || Smuggled(theirs.channel().unwrap()))
                    .await
                    .take(),
            );
        }
        let mut seen = Vec::new();
        let (send, result) = mpsc::channel();
        let visited = device
            .for_each_channel(move |context| {
                assert_eq!(context.thread, here());
                // No lock: one after the other.
                seen.push(here());
                send.send(seen.clone()).unwrap();
                Ok::<(), Infallible>(())
            })
            .await;
        assert_eq!(visited, Ok(3));
        assert_eq!(
            result.try_iter().last(),
            Some(vec![here(), threads[0].id, threads[1].id])
        );
        drop((ch, kept));
        device.unregister().await;
        for thread in threads {
            thread.exit().await;
        }
    });
}

#[test]
fn for_each_channel_stops_on_an_error_a_panic_or_when_its_future_is_dropped() {
    SPDK.run(async |spdk| {
        let (device, _log) = probe(&spdk);
        let thread = TestThread::new();
        let theirs = device.share();
        let away = thread
            .run(move || Smuggled(theirs.channel().unwrap()))
            .await
            .take();
        let ch = device.channel().unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = |answer: fn() -> Result<(), u8>| {
            let calls = Arc::clone(&calls);
            move |_: &ProbeContext| {
                calls.fetch_add(1, Ordering::SeqCst);
                answer()
            }
        };
        let stopped = device.for_each_channel(counted(|| Err(7))).await;
        assert_eq!(stopped, Err(ForEachError::Stopped(7)));
        assert_eq!(calls.swap(0, Ordering::SeqCst), 1);

        let before = spdk_safe::contained_panics();
        let panicked = device
            .for_each_channel(counted(|| panic!("on purpose")))
            .await;
        assert!(
            matches!(panicked, Err(ForEachError::Panicked { .. })),
            "{panicked:?}"
        );
        assert_eq!(calls.swap(0, Ordering::SeqCst), 1);
        assert_eq!(spdk_safe::contained_panics(), before + 1);

        drop(device.for_each_channel(counted(|| Ok(()))));
        let mut half = Box::pin(device.for_each_channel(counted(|| Ok(()))));
        while calls.load(Ordering::SeqCst) == 0 {
            assert!(poll(half.as_mut()).is_pending());
            yield_now().await;
        }
        drop(half);
        // A visit that is begun later comes after it.
        assert_eq!(
            device.for_each_channel(|_| Ok::<(), Infallible>(())).await,
            Ok(2)
        );
        assert_eq!(
            calls.load(Ordering::SeqCst),
            1,
            "the second channel was left out"
        );
        assert_eq!(Arc::strong_count(&calls), 1, "the closures are gone");
        std::mem::forget(device.for_each_channel(counted(|| Ok(()))));
        drop((ch, away));
        device.unregister().await;
        thread.exit().await;
    });
}

#[test]
fn a_visitor_may_put_its_channel_get_others_visit_again_and_unregister() {
    thread_local!(static KEPT: RefCell<Option<DeviceChannel<Probe>>> = const { RefCell::new(None) });
    SPDK.run(async |spdk| {
        let (device, log) = probe(&spdk);
        let (other, other_log) = probe(&spdk);
        let thread = TestThread::new();
        let theirs = device.share();
        let away = thread
            .run(move || Smuggled(theirs.channel().unwrap()))
            .await
            .take();
        KEPT.set(Some(device.channel().unwrap()));
        let (share, other_share) = (device.share(), other.share());
        let inner = Arc::new(Mutex::new(None));
        let (place, mut owner) = (Arc::clone(&inner), Some(device));
        let app_thread = here();
        let visited = share
            .clone()
            .for_each_channel(move |_| {
                if here() == app_thread {
                    drop(KEPT.take());
                    drop(share.channel().unwrap());
                    *place.lock().unwrap() =
                        Some(share.for_each_channel(|_| Ok::<(), Infallible>(())));
                    drop(owner.take());
                }
                drop(other_share.channel().unwrap());
                Ok::<(), Infallible>(())
            })
            .await;
        assert_eq!(
            visited,
            Ok(2),
            "the device stays until its last channel is gone"
        );
        let second = inner.lock().unwrap().take().unwrap();
        // The first channel may have gone meanwhile.
        assert!(matches!(second.await, Ok(1 | 2)));
        assert_eq!(log.counts().2, 0);
        drop(away);
        while log.counts() != (2, 2, 1) {
            yield_now().await;
        }
        other.unregister().await;
        assert_eq!(other_log.counts(), (2, 2, 1));
        thread.exit().await;
    });
}

#[test]
fn t7_a_hundred_thousand_visits_at_once_are_few_messages() {
    SPDK.run(async |spdk| {
        let (device, _log) = probe(&spdk);
        let ch = device.channel().unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let visits: Vec<_> = (0..100_000)
            .map(|_| {
                let calls = Arc::clone(&calls);
                device.for_each_channel(move |_| {
                    calls.fetch_add(1, Ordering::SeqCst);
                    Ok::<(), Infallible>(())
                })
            })
            .collect();
        for visit in visits {
            assert_eq!(visit.await, Ok(1));
        }
        assert_eq!(calls.load(Ordering::SeqCst), 100_000);
        drop(ch);
        device.unregister().await;
    });
}

#[test]
fn visits_go_on_although_their_channels_and_threads_go() {
    SPDK.run(async |spdk| {
        let (device, log) = probe(&spdk);
        for turn in 0..20 {
            let threads = [(); 2].map(|()| TestThread::new());
            let mut kept = Vec::new();
            for thread in &threads {
                let theirs = device.share();
                kept.push(
                    thread
                        .run(move || Smuggled(theirs.channel().unwrap()))
                        .await
                        .take(),
                );
            }
            let visits: Vec<_> = (0..10)
                .map(|_| device.for_each_channel(|_| Ok::<(), Infallible>(())))
                .collect();
            for _ in 0..turn % 5 {
                yield_now().await;
            }
            drop(kept);
            for thread in threads {
                thread.exit().await;
            }
            for visit in visits {
                assert!(visit.await.unwrap() <= 2);
            }
        }
        device.unregister().await;
        assert_eq!(log.counts(), (40, 40, 1));
    });
}

/// Says which test a child process is to run.
const CHILD: &str = "SPDK_SAFE_TEST_CHILD";

/// Runs `test` in a process of its own: it starts an app of its own.
fn in_process(name: &str, test: impl FnOnce()) {
    if std::env::var(CHILD).as_deref() == Ok(name) {
        return test();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, name)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{said}", output.status);
    assert!(said.contains("1 passed"), "the child ran no test:\n{said}");
}

fn two_cores() -> Option<spdk_safe::app::Builder> {
    let cores = std::thread::available_parallelism().unwrap().get();
    if cores < 2 {
        println!("skipped: needs two cores, this machine has {cores}");
        return None;
    }
    let app = App::builder("io-device")
        .no_huge()
        .no_pci()
        .share_cores()
        .memory(Mib(512))
        .pools(Pools::small())
        .log_level(LogLevel::Warn)
        .cores(Cores::of([0, 1]));
    Some(app)
}

#[test]
fn the_end_of_the_app_takes_devices_that_were_forgotten_with_channels_on_several_threads() {
    thread_local!(static KEPT: RefCell<Vec<DeviceChannel<Probe>>> = const { RefCell::new(Vec::new()) });
    let name =
        "the_end_of_the_app_takes_devices_that_were_forgotten_with_channels_on_several_threads";
    in_process(name, || {
        let Some(app) = two_cores() else { return };
        let (log, late) = app
            .run(async |spdk| {
                let (device, log) = probe(&spdk);
                // One on the app's OS thread, one on another; they are never told to exit.
                for core in [0, 1] {
                    let (thread, theirs) = (TestThread::on(core), device.share());
                    thread
                        .run(move || {
                            // Kept where it is dropped after SPDK's end, or never.
                            KEPT.with_borrow_mut(|kept| kept.push(theirs.channel().unwrap()));
                            std::mem::forget(theirs.channel().unwrap());
                        })
                        .await;
                }
                let late = (device.channel().unwrap(), device.share());
                std::mem::forget(device.channel().unwrap());
                std::mem::forget(device);
                (log, late)
            })
            .unwrap();
        assert_eq!(log.counts(), (3, 3, 1));
        let (ch, share) = late;
        assert!(ch.context().is_err());
        assert!(share.channel().is_err());
        drop((ch, share));
    });
}

#[test]
fn a_channel_that_is_leaked_on_a_thread_of_others_does_not_keep_the_app_from_ending() {
    let name = "a_channel_that_is_leaked_on_a_thread_of_others_does_not_keep_the_app_from_ending";
    in_process(name, || {
        let app = App::builder("io-device")
            .no_huge()
            .no_pci()
            .share_cores()
            .memory(Mib(512))
            .pools(Pools::small());
        let log = app.run(async |spdk| {
            let (device, log) = probe(&spdk);
            let (thread, theirs) = (TestThread::new(), device.share());
            let leaked = thread.run(move || Smuggled(theirs.channel().unwrap()));
            let leaked = leaked.await.take();
            // SPDK forces it out after five seconds (T-10).
            thread.exit().await;
            let visited = device.for_each_channel(|_| Ok::<(), Infallible>(()));
            assert_eq!(visited.await, Ok(0));
            drop(leaked);
            let mut unregister = pin!(device.unregister());
            for _ in 0..10 {
                assert!(poll(unregister.as_mut()).is_pending());
                yield_now().await;
            }
            log
        });
        assert_eq!(log.unwrap().counts(), (1, 0, 0), "they leak");
    });
}

#[test]
fn channels_on_two_os_threads_come_and_go_while_they_are_visited_and_the_device_goes() {
    let name = "channels_on_two_os_threads_come_and_go_while_they_are_visited_and_the_device_goes";
    in_process(name, || {
        let Some(app) = two_cores() else { return };
        app.run(async |spdk| {
            let threads = [0, 1, 1].map(TestThread::on);
            for turn in 0..200 {
                let (device, log) = probe(&spdk);
                let done = Arc::new(AtomicUsize::new(0));
                for thread in &threads {
                    let (theirs, done) = (device.share(), Arc::clone(&done));
                    thread.send(move || {
                        for _ in 0..20 {
                            if let Ok(ch) = theirs.channel() {
                                let context = ch.context().unwrap();
                                context.value.set(context.value.get() + 1);
                            }
                        }
                        done.fetch_add(1, Ordering::SeqCst);
                    });
                }
                let visits: Vec<_> = (0..5)
                    .map(|_| {
                        device.for_each_channel(|context| {
                            assert_eq!(context.thread, here());
                            context.value.set(context.value.get() + 1);
                            Ok::<(), Infallible>(())
                        })
                    })
                    .collect();
                for _ in 0..turn % 7 {
                    yield_now().await;
                }
                device.unregister().await;
                for visit in visits {
                    visit.await.unwrap();
                }
                while done.load(Ordering::SeqCst) != threads.len() {
                    yield_now().await;
                }
                let (made, dropped, device) = log.counts();
                assert_eq!((made, device), (dropped, 1));
            }
            for thread in threads {
                thread.exit().await;
            }
        })
        .unwrap();
    });
}

#[test]
fn t7_a_loop_that_gets_and_drops_channels_fills_no_ring() {
    SPDK.run(async |spdk| {
        let log = Arc::new(Log::default());
        let device = io_device::register(&spdk, "loop", Probe(Arc::clone(&log))).unwrap();
        for _ in 0..70_000 {
            drop(device.channel().unwrap());
        }
        device.unregister().await;
        assert_eq!(log.counts(), (1, 1, 1));
    });
}

#[test]
fn t7_devices_that_come_and_go_fill_no_ring() {
    SPDK.run(async |spdk| {
        let log = Arc::new(Log::default());
        let make = || io_device::register(&spdk, "many", Probe(Arc::clone(&log))).unwrap();
        let all: Vec<_> = (0..20_000).map(|_| make()).collect();
        drop(all);
        while log.counts().2 != 20_000 {
            yield_now().await;
        }
    });
}

#[test]
fn an_unregistration_keeps_one_waker_and_none_when_its_future_is_dropped() {
    SPDK.run(async |spdk| {
        let log = Arc::new(Log::default());
        let device = io_device::register(&spdk, "wakers", Probe(Arc::clone(&log))).unwrap();
        let channel = device.channel().unwrap();
        let mut gone = pin!(Some(device.unregister()));
        let polled_with = |future: &mut UnregisterIoDevice<_>| {
            let flag = Arc::new(NoWake);
            let waker = Waker::from(Arc::clone(&flag));
            let polled = pin!(future).poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
            flag
        };
        let flags: Vec<_> = (0..100)
            .map(|_| polled_with(gone.as_mut().get_mut().as_mut().unwrap()))
            .collect();
        let kept = || flags.iter().filter(|flag| Arc::strong_count(flag) > 1);
        assert_eq!(kept().count(), 1);
        gone.set(None);
        assert_eq!(kept().count(), 0);
        drop(channel);
        while log.counts().2 != 1 {
            yield_now().await;
        }
    });
}

struct NoWake;

impl std::task::Wake for NoWake {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn t7_devices_left_to_the_end_of_the_app_go_with_it() {
    in_process("t7_devices_left_to_the_end_of_the_app_go_with_it", || {
        let log = Arc::new(Log::default());
        App::builder("io-device")
            .no_huge()
            .no_pci()
            .share_cores()
            .memory(Mib(512))
            .pools(Pools::small())
            .run(async |spdk| {
                for _ in 0..20_000 {
                    let device = Probe(Arc::clone(&log));
                    std::mem::forget(io_device::register(&spdk, "left", device).unwrap());
                }
            })
            .unwrap();
        assert_eq!(log.counts().2, 20_000);
    });
}
