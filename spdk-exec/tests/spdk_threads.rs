//! Executors on several SPDK threads, on one OS thread and on two. One test, since DPDK initialises once per process.

use std::cell::Cell;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use spdk_exec::spdk::{Attached, attach};
use spdk_exec::{RemoteSpawner, sleep, yield_now};
use spdk_safe::app::{App, Cores, LogLevel, Pools};
use spdk_safe::error::{JoinError, ThreadError};
use spdk_safe::thread::*;
use spdk_safe::units::Mib;

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
        .run(async |spdk| {
            let own = attach().unwrap();
            // With `spdk_safe::thread::Spawner` imported too.
            assert_eq!(own.spawn(async { 7 }).await.unwrap(), 7);
            // On the app's OS thread, and on another one.
            for core in [0, 1] {
                let builder = Thread::builder("test").core(core).spawner(attach);
                let thread = builder.create(&spdk).await.unwrap();
                let remote = thread.call(|| attach().unwrap().remote()).await.unwrap();
                tasks_of_the_thread_run_on_its_executor(&thread).await;
                remote_tasks_run_at_home(&own, &remote, thread.id().get()).await;
                wakes_cross(&own, &remote).await;
                tasks_that_are_alive_when_the_thread_ends_are_dropped_at_home(thread, remote).await;
            }
            let moves = Thread::builder("moves").migratable(Cores::of([0, 1]));
            let moves = moves.create(&spdk).await.unwrap();
            let refused = moves.call(|| attach().err()).await.unwrap();
            assert_eq!(refused, Some(ThreadError::Migratable));
            moves.exit().await;
        });
    outcome.unwrap();
}

async fn tasks_of_the_thread_run_on_its_executor(thread: &Thread) {
    let tasks = || attach().unwrap().stats().unwrap().spawned;
    let before = thread.call(tasks).await.unwrap();
    let task = thread.spawn(|| async {
        // Its timers are those of the executor.
        sleep(Duration::from_millis(1)).await;
        spawn_local(async { current_id() }).unwrap().await.unwrap()
    });
    assert_eq!(task.await.unwrap().await, Ok(Some(thread.id())));
    assert_eq!(thread.call(tasks).await, Ok(before + 2));
    let task = thread.spawn(|| async { panic!("on purpose") });
    let panicked = task.await.unwrap().await;
    assert!(matches!(panicked, Err(JoinError::Panicked { .. })));
    let task = thread.spawn(std::future::pending::<()>).await.unwrap();
    task.abort();
    assert!(matches!(task.await, Err(JoinError::Aborted { .. })));
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
    thread: Thread,
    remote: RemoteSpawner,
) {
    let (dropped_on, id) = (Arc::new(AtomicU64::new(0)), thread.id().get());
    let witness = Witness(Arc::clone(&dropped_on));
    let task = remote
        .spawn(move || async move {
            let _witness = witness;
            std::future::pending::<()>().await;
        })
        .unwrap();
    let other = thread.spawn(std::future::pending::<()>).await.unwrap();
    // A handle that is kept, and one that is forgotten.
    let keep = || {
        std::mem::forget(attach().unwrap());
        let kept = attach().unwrap();
        spdk_safe::thread::at_exit(move || drop(kept)).unwrap();
    };
    thread.call(keep).await.unwrap();
    thread.exit().await;
    assert_eq!(dropped_on.load(Ordering::SeqCst), id, "on its own thread");
    assert!(task.await.is_err());
    assert!(matches!(other.await, Err(JoinError::Exited { .. })));
    assert!(!remote.is_open());
}
