//! What the order of messages could break of a pass-through, with schedules that seeds choose.

use spdk_bdevs::passthru::{MODULE, Passthru, Status};
use spdk_safe::app::yield_now;
use spdk_safe::prelude::*;
use spdk_safe::test::{Case, SeededHarness};

static SPDK: SeededHarness = SeededHarness::new(&[&MODULE]).auto_examine();

/// Writes on every thread until an I/O fails, while `change` happens.
async fn under_load(case: &Case, change: impl AsyncFnOnce(&Spdk)) {
    let disk = MallocBdev::builder("m").blocks(64);
    disk.create(&case.spdk).await.unwrap();
    let pt = Passthru::builder("pt", "m");
    pt.create(&case.spdk).await.unwrap();
    let desc = BdevDesc::open(&case.spdk, "pt").read_write().unwrap();
    let loads: Vec<_> = case
        .threads
        .iter()
        .map(|thread| {
            let shared = desc.share();
            thread.run(async move || {
                // Gone already, if it was quick.
                let Ok(ch) = shared.channel() else {
                    return;
                };
                drop(shared);
                for turn in 0.. {
                    let Ok(buf) = ch.alloc(Blocks(1)) else {
                        return;
                    };
                    if ch.write(Lba(turn % 64), buf).await.0.is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    for _ in 0..20 {
        yield_now().await;
    }
    change(&case.spdk).await;
    for load in loads {
        load.await.unwrap();
    }
    desc.close().await;
}

#[test]
fn d8_bases_that_go_and_come_under_load() {
    SPDK.run(0..100, 2, async |case: Case| {
        under_load(&case, async |spdk| {
            MallocBdev::delete(spdk, "m").await.unwrap();
        })
        .await;
        let disk = MallocBdev::builder("m").blocks(64);
        disk.create(&case.spdk).await.unwrap();
        while Passthru::list()[0].status != Status::Registered {
            yield_now().await;
        }
        Passthru::delete(&case.spdk, "pt").await.unwrap();
        MallocBdev::delete(&case.spdk, "m").await.unwrap();
    });
}

#[test]
fn m9_deletion_under_load_and_with_the_base() {
    SPDK.run(0..100, 2, async |case: Case| {
        under_load(&case, async |spdk| {
            let both =
                futures::future::join(Passthru::delete(spdk, "pt"), MallocBdev::delete(spdk, "m"));
            let (pt, base) = both.await;
            pt.unwrap();
            base.unwrap();
        })
        .await;
        assert_eq!(Passthru::list(), []);
    });
}

#[test]
fn t11_a_thread_exits_with_channels_and_io_of_it() {
    SPDK.run(0..100, 2, async |mut case: Case| {
        let disk = MallocBdev::builder("m").blocks(64);
        disk.create(&case.spdk).await.unwrap();
        let pt = Passthru::builder("pt", "m");
        pt.create(&case.spdk).await.unwrap();
        let desc = BdevDesc::open(&case.spdk, "pt").read_write().unwrap();
        for at in 0..3 {
            let thread = Thread::builder(format!("short{at}"));
            let thread = thread.create(&case.spdk).await.unwrap();
            let shared = desc.share();
            // Dropped where it is, with what it has in flight, when the thread exits.
            let task = thread.handle().spawn(move || async move {
                let ch = shared.channel().unwrap();
                loop {
                    let writes = (0..4).map(|lba| ch.write(Lba(lba), ch.alloc(Blocks(1)).unwrap()));
                    futures::future::join_all(writes).await;
                }
            });
            drop(task.await.unwrap());
            for _ in 0..case.random.below(30) {
                yield_now().await;
            }
            thread.exit().await;
        }
        desc.close().await;
        Passthru::delete(&case.spdk, "pt").await.unwrap();
        MallocBdev::delete(&case.spdk, "m").await.unwrap();
    });
}
