//! The same I/O under executors that know nothing of SPDK (design rule 12).

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::executor::LocalPool;
use futures::task::LocalSpawnExt;
use spdk_safe::app::yield_now;
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static SPDK: Harness = Harness::new(&[]);

const WORKERS: u64 = 16;

/// Writes and reads back a place of its own, again and again.
async fn worker(ch: Rc<IoChannel<ReadWrite>>, place: u64, done: Rc<Cell<u64>>) {
    let mut buf = ch.alloc(Blocks(2)).unwrap();
    for round in 0..50_u8 {
        let mark = (place as u8).wrapping_mul(31) ^ round;
        buf.fill(mark);
        let (result, back) = ch.write(Lba(place * 2), buf).await;
        result.unwrap();
        let (result, mut back) = ch.read(Lba(place * 2), back).await;
        result.unwrap();
        assert!(
            back.iter().all(|byte| *byte == mark),
            "worker {place}, round {round}"
        );
        back.fill(0);
        buf = back;
    }
    done.set(done.get() + 1);
}

/// A disk, with `WORKERS` workers that `run` drives to their end.
async fn with_workers(
    spdk: &Spdk,
    name: &str,
    run: impl AsyncFnOnce(Vec<std::pin::Pin<Box<dyn Future<Output = ()>>>>),
) {
    MallocBdev::builder(name)
        .blocks(WORKERS * 2)
        .create(spdk)
        .await
        .unwrap();
    let desc = BdevDesc::open(spdk, name).read_write().unwrap();
    let ch = Rc::new(desc.channel().unwrap());
    let done = Rc::new(Cell::new(0));
    let workers = (0..WORKERS)
        .map(|place| Box::pin(worker(Rc::clone(&ch), place, Rc::clone(&done))) as _)
        .collect();
    run(workers).await;
    assert_eq!(done.get(), WORKERS);
    drop(ch);
    desc.close().await;
    MallocBdev::delete(spdk, name).await.unwrap();
}

#[test]
fn io_runs_under_the_local_pool_of_futures() {
    SPDK.run(async |spdk| {
        with_workers(&spdk, "local-pool", async |workers| {
            let mut pool = LocalPool::new();
            let left = Rc::new(Cell::new(workers.len()));
            for worker in workers {
                let left = Rc::clone(&left);
                let task = async move {
                    worker.await;
                    left.set(left.get() - 1);
                };
                pool.spawner().spawn_local(task).unwrap();
            }
            while left.get() != 0 {
                pool.run_until_stalled();
                yield_now().await;
            }
        })
        .await;
    });
}

#[test]
fn io_runs_under_async_executor() {
    SPDK.run(async |spdk| {
        with_workers(&spdk, "async-executor", async |workers| {
            let executor = async_executor::LocalExecutor::new();
            let tasks: Vec<_> = workers
                .into_iter()
                .map(|worker| executor.spawn(worker))
                .collect();
            executor
                .run(async {
                    for task in tasks {
                        task.await;
                    }
                })
                .await;
        })
        .await;
    });
}

#[test]
fn io_runs_under_a_loop_that_polls_without_being_woken() {
    SPDK.run(async |spdk| {
        with_workers(&spdk, "busy-loop", async |mut workers| {
            while !workers.is_empty() {
                workers.retain_mut(|worker| {
                    let mut context = Context::from_waker(std::task::Waker::noop());
                    pin!(worker).poll(&mut context) == Poll::Pending
                });
                yield_now().await;
            }
        })
        .await;
    });
}
