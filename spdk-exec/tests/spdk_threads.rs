//! Executors on several SPDK threads, on one OS thread and on two. One test, since DPDK initialises once per process.

use std::cell::{Cell, RefCell};
use std::ffi::{CString, c_void};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;

use spdk_exec::spdk::{Attached, attach};
use spdk_exec::{RemoteSpawner, yield_now};
use spdk_safe::app::{App, Cores, LogLevel, Pools};
use spdk_safe::thread::current_id;
use spdk_safe::units::Mib;

thread_local! {
    /// The handle of each SPDK thread on this OS thread, kept until the thread ends or the test drops it.
    static HANDLES: RefCell<Vec<(NonZeroU64, Attached)>> = const { RefCell::new(Vec::new()) };
}

/// An SPDK thread made for the test. (`spdk-safe` has no threads of its own yet.)
struct TestThread {
    raw: *mut spdk_sys::spdk_thread,
    id: u64,
}

impl TestThread {
    fn new(name: &str, core: u32) -> Self {
        let name = CString::new(name).unwrap();
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

    /// Runs `job` on the thread, and waits for its result while the app goes on.
    async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        unsafe extern "C" fn call(ctx: *mut c_void) {
            // SAFETY: `run` made the pointer so, and each message is delivered once.
            let job = unsafe { Box::from_raw(ctx.cast::<Box<dyn FnOnce()>>()) };
            job();
        }
        let (send, result) = mpsc::channel();
        let job: Box<dyn FnOnce()> = Box::new(move || send.send(job()).unwrap());
        // SAFETY: the thread has not exited.
        let rc = unsafe {
            spdk_sys::spdk_thread_send_msg(
                self.raw,
                Some(call),
                Box::into_raw(Box::new(job)).cast(),
            )
        };
        assert_eq!(rc, 0);
        loop {
            if let Ok(value) = result.try_recv() {
                return value;
            }
            spdk_safe::app::yield_now().await;
        }
    }

    /// Attaches an executor, and gives the half of it that travels.
    async fn attach(&self) -> RemoteSpawner {
        self.run(|| {
            let handle = attach().unwrap();
            let remote = handle.remote();
            HANDLES.with_borrow_mut(|list| list.push((current_id().unwrap(), handle)));
            remote
        })
        .await
    }

    /// Tells the thread to exit, and waits until it is gone.
    async fn exit(self) {
        self.run(|| {
            // SAFETY: reads a thread-local.
            let own = unsafe { spdk_sys::spdk_get_thread() };
            // SAFETY: on the thread itself, as SPDK wants it.
            unsafe { spdk_sys::spdk_thread_exit(own) }
        })
        .await;
        let is_there = || {
            // SAFETY: only looks the id up. The reactor destroys the thread when it has exited.
            !unsafe { spdk_sys::spdk_thread_get_by_id(self.id) }.is_null()
        };
        while is_there() {
            spdk_safe::app::yield_now().await;
        }
    }
}

/// Says where it was dropped.
struct Witness(Arc<AtomicU64>);

impl Drop for Witness {
    fn drop(&mut self) {
        self.0.store(
            current_id().map_or(u64::MAX, NonZeroU64::get),
            Ordering::SeqCst,
        );
    }
}

#[test]
fn executors_on_several_spdk_threads() {
    let cores = std::thread::available_parallelism().unwrap().get();
    if cores < 2 {
        println!("skipped: needs two cores, this machine has {cores}");
        return;
    }
    let outcome = App::builder("spdk-threads")
        .no_huge()
        .no_pci()
        .share_cores()
        .memory(Mib(512))
        .pools(Pools::small())
        .log_level(LogLevel::Warn)
        .cores(Cores::of([0, 1]))
        .run(async |_spdk| {
            let own = attach().unwrap();
            // On the app's OS thread, and on another one.
            for core in [0, 1] {
                let thread = TestThread::new("test", core);
                let remote = thread.attach().await;
                remote_tasks_run_at_home(&own, &remote, thread.id).await;
                wakes_cross(&own, &remote).await;
                tasks_that_are_alive_when_the_thread_ends_are_dropped_at_home(thread, remote).await;
            }
        });
    outcome.unwrap();
}

async fn remote_tasks_run_at_home(own: &Attached, remote: &RemoteSpawner, id: u64) {
    for _ in 0..100 {
        let task = remote
            .spawn(|| async {
                // A future that need not be `Send`, made at home.
                let local = std::rc::Rc::new(Cell::new(0));
                yield_now().await;
                local.set(1);
                current_id().unwrap().get() + local.get() - 1
            })
            .unwrap();
        let found = own.spawn(task).await.unwrap().unwrap();
        assert_eq!(found, id);
    }
}

/// Two tasks on two threads, each woken by the other, in turn.
async fn wakes_cross(own: &Attached, remote: &RemoteSpawner) {
    const TURNS: usize = 1000;
    struct Ball {
        at: AtomicUsize,
        wakers: [std::sync::Mutex<Option<std::task::Waker>>; 2],
    }
    async fn play(ball: Arc<Ball>, me: usize) {
        std::future::poll_fn(|cx| {
            loop {
                *ball.wakers[me].lock().unwrap() = Some(cx.waker().clone());
                let at = ball.at.load(Ordering::SeqCst);
                if at >= TURNS {
                    return std::task::Poll::Ready(());
                }
                if at % 2 != me {
                    return std::task::Poll::Pending;
                }
                ball.at.store(at + 1, Ordering::SeqCst);
                if let Some(waker) = ball.wakers[1 - me].lock().unwrap().take() {
                    waker.wake();
                }
            }
        })
        .await;
    }
    let ball = Arc::new(Ball {
        at: AtomicUsize::new(0),
        wakers: Default::default(),
    });
    let theirs = Arc::clone(&ball);
    let there = remote.spawn(move || play(theirs, 1)).unwrap();
    own.spawn(play(Arc::clone(&ball), 0)).await.unwrap();
    there.await.unwrap();
    assert_eq!(ball.at.load(Ordering::SeqCst), TURNS);
}

async fn tasks_that_are_alive_when_the_thread_ends_are_dropped_at_home(
    thread: TestThread,
    remote: RemoteSpawner,
) {
    let (dropped_on, id) = (Arc::new(AtomicU64::new(0)), thread.id);
    let witness = Witness(Arc::clone(&dropped_on));
    let task = remote
        .spawn(move || async move {
            let _witness = witness;
            std::future::pending::<()>().await;
        })
        .unwrap();
    if spdk_sys::VERSION < (23, 1, 0) {
        println!(
            "SPDK {:?} does not say that a thread was told to exit: detached by hand first",
            spdk_sys::VERSION
        );
        thread.run(|| HANDLES.with_borrow_mut(Vec::clear)).await;
    }
    thread.exit().await;
    assert_eq!(dropped_on.load(Ordering::SeqCst), id, "on its own thread");
    assert!(task.await.is_err());
    assert!(!remote.is_open());
}
