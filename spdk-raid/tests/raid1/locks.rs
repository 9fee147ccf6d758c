//! Range locks, and requests that outlive what is published.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::join_all;
use spdk_bdevs::ramdisk::{Action, Fault};
use spdk_raid::raid1::Raid1;
use spdk_raid::raid1::state::{FaultReason, LegState};
use spdk_safe::bdev::{DelayBdev, Latency};
use spdk_safe::prelude::*;

use super::SPDK;
use super::common::{BLOCKS, Md, WINDOW, begin, disk, fail, hold, options, write};

#[test]
fn a_request_outlives_a_hundred_thousand_changes() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "old", 2).await;
        t.disks[0].set_faults([hold(IoType::Read)]);
        let held = t.begin_read(0, 8);
        t.until("held", |t| t.disks[0].held() == 1).await;
        for _ in 0..100_000 {
            t.md.set_options(t.md.options()).await.unwrap();
        }
        t.disks[0].let_go();
        held.end().await.unwrap();
        t.end().await;
    });
}

#[test]
fn r96_m43_a_thread_whose_first_channel_is_made_during_a_window_waits_too() {
    SPDK.run(async |spdk| {
        let mut t = Md::of(&spdk, "r96-", 2, 1, |builder| builder).await;
        t.write(0, BLOCKS, 1).await.unwrap();
        t.disks[0].set_faults([hold(IoType::Read).range(Lba(512), Blocks(1))]);
        t.add().await;
        t.until("stopped", |t| t.disks[0].held() == 1).await;
        let thread = Thread::builder("r96").create(&spdk).await.unwrap();
        let shared = t.desc.share();
        let task = thread.handle().spawn(move || async move {
            let ch = shared.channel().unwrap();
            drop(shared);
            let buf = ch.read_blocks(Lba(512), Blocks(1)).await.unwrap();
            assert_eq!(buf[0], 1);
            write(&ch, 512, 8, 2).await.unwrap();
        });
        let task = task.await.unwrap();
        t.until("parked", |t| t.md.info().counters.parked == 1)
            .await;
        t.disks[0].let_go();
        task.await.unwrap();
        thread.exit().await;
        t.until("filled", |t| t.in_sync() == 3).await;
        t.end().await;
    });
}

#[test]
fn a_reset_aborts_what_is_parked() {
    SPDK.run(async |spdk| {
        let mut t = Md::of(&spdk, "reset", 2, 1, |builder| builder).await;
        t.write(0, BLOCKS, 1).await.unwrap();
        t.disks[0].set_faults([hold(IoType::Read).range(Lba(512), Blocks(1))]);
        t.add().await;
        t.until("stopped", |t| t.disks[0].held() == 1).await;
        t.disks[1].set_faults([hold(IoType::Write)]);
        let held = t.begin_write(0, 8, 2);
        let parked = t.begin_write(512, 8, 2);
        t.until("parked", |t| {
            t.md.info().counters.parked == 1 && t.disks[1].held() == 1
        })
        .await;
        // The copy under way is aborted as well, and the other leg is read.
        t.ch.reset().await.unwrap();
        held.end().await.unwrap_err();
        parked.end().await.unwrap_err();
        t.until("filled", |t| t.in_sync() == 3).await;
        t.until_calm().await;
        assert_eq!(t.md.info().counters.faults, 0);
        t.end().await;
    });
}

#[test]
fn a_reset_aborts_what_is_parked_though_the_lock_stays() {
    SPDK.run(async |spdk| {
        let mut t = Md::of(&spdk, "stays", 2, 1, |builder| builder).await;
        t.write(0, BLOCKS, 1).await.unwrap();
        // The RESET of the leg takes a while, and so does the read for the window.
        t.disks[0].set_faults([
            hold(IoType::Read).range(Lba(512), Blocks(1)),
            Fault::new(Action::DelayPolls(2000)).io(IoType::Reset),
        ]);
        t.add().await;
        t.until("stopped", |t| t.disks[0].held() == 1).await;
        let parked = t.begin_write(512, 8, 2);
        t.until("parked", |t| t.md.info().counters.parked == 1)
            .await;
        let reset = {
            let ch = std::rc::Rc::clone(&t.ch);
            begin(async move { ch.reset().await })
        };
        parked.end().await.unwrap_err();
        assert!(!reset.is_done());
        reset.end().await.unwrap();
        t.until("filled", |t| t.in_sync() == 3).await;
        t.end().await;
    });
}

#[test]
fn s8_a_reset_that_aborts_the_copy_of_a_window_faults_no_leg() {
    SPDK.run(async |spdk| {
        let mut t = Md::of(&spdk, "copy", 2, 1, |builder| builder).await;
        t.write(0, BLOCKS, 1).await.unwrap();
        let new = super::common::disk(&spdk, "copy2").await;
        new.set_faults([hold(IoType::Write).range(Lba(512), Blocks(1))]);
        t.md.add("copy2").await.unwrap();
        t.disks.push(new);
        t.until("held", |t| t.disks[2].held() == 1).await;
        t.ch.reset().await.unwrap();
        t.until("filled", |t| t.in_sync() == 3).await;
        assert_eq!(t.md.info().counters.faults, 0);
        t.end().await;
    });
}

#[test]
fn a_lock_waits_for_writes_that_began_before() {
    SPDK.run(async |spdk| {
        let mut t = Md::of(&spdk, "before", 2, 1, |builder| builder).await;
        t.write(0, BLOCKS, 1).await.unwrap();
        // One leg has it, the one that is copied from has not.
        let slow = Fault::new(Action::DelayPolls(1000)).io(IoType::Write);
        t.disks[0].set_faults([slow]);
        let write = t.begin_write(0, 8, 2);
        t.until("held", |t| t.disks[0].held() == 1).await;
        t.add().await;
        let window = LegState::Rebuilding { front: Lba(0) };
        while !write.is_done() {
            assert_eq!(t.state(2), window);
            spdk_safe::app::yield_now().await;
        }
        write.end().await.unwrap();
        t.until("filled", |t| t.in_sync() == 3).await;
        t.end().await;
    });
}

#[test]
fn a_lock_waits_for_one_that_overlaps() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "overlap", 3).await;
        t.write(0, 8, 1).await.unwrap();
        t.disks[0].set_faults([fail(IoType::Read)]);
        // The first read is the user's, the second one the repair's, which takes a while.
        let slow = Fault::new(Action::DelayPolls(3000)).io(IoType::Read);
        t.disks[1].set_faults([slow.after(1)]);
        t.read(0, 8).await.unwrap();
        t.until("held", |t| t.disks[1].held() == 1).await;
        t.md.scrub(false).await.unwrap();
        while t.disks[1].held() == 1 {
            assert_eq!(t.md.info().processes[0].progress.blocks, 0);
            spdk_safe::app::yield_now().await;
        }
        t.until_calm().await;
        t.end().await;
    });
}

#[test]
fn a_part_that_differs_again_while_another_is_made_equal_is_made_equal_again() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "part", 2).await;
        t.write(0, BLOCKS, 1).await.unwrap();
        let short = |blocks| Fault::new(Action::Short(Blocks(blocks))).io(IoType::Write);
        // Two windows. The first one is equal again, and the second one takes a while.
        t.disks[0].set_faults([
            short(9),
            Fault::new(Action::DelayPolls(500))
                .io(IoType::Read)
                .range(Lba(WINDOW), Blocks(1)),
            short(6).after(1),
        ]);
        t.disks[1].set_faults([short(5), short(3).range(Lba(0), Blocks(1)).after(2)]);
        t.write(0, 2 * WINDOW, 2).await.unwrap_err();
        t.until("at the second window", |t| t.disks[0].held() == 1)
            .await;
        t.write(0, 8, 3).await.unwrap_err();
        assert_eq!(t.disks[0].held(), 1);
        t.until_calm().await;
        assert_eq!(t.in_sync(), 2);
        t.end().await;
    });
}

#[test]
fn a_range_that_differs_again_while_it_is_made_equal_is_made_equal_again() {
    SPDK.run(async |spdk| {
        for round in 0..20 {
            let t = Md::new(&spdk, "again", 2).await;
            t.write(0, 8, 1).await.unwrap();
            let short = |blocks| Fault::new(Action::Short(Blocks(blocks))).io(IoType::Write);
            // The first write fails, then the resync's write is slow, then the write that waits for it fails.
            t.disks[0].set_faults([fail(IoType::Write), short(6).after(1)]);
            t.disks[1].set_faults([
                short(2),
                Fault::new(Action::DelayPolls(100 + round))
                    .io(IoType::Write)
                    .after(1),
                short(3).after(2),
            ]);
            t.write(0, 8, 2).await.unwrap_err();
            t.until("held", |t| t.disks[1].held() == 1).await;
            let again = t.begin_write(0, 8, 3);
            t.until("parked", |t| t.md.info().counters.parked == 1)
                .await;
            again.end().await.unwrap_err();
            t.until_calm().await;
            assert_eq!(t.in_sync(), 2);
            t.end().await;
        }
    });
}

#[test]
fn a_thread_exits_while_a_write_that_a_leg_failed_is_being_settled() {
    SPDK.run(async |spdk| {
        for turns in 0..12 {
            let t = Md::new(&spdk, "exit", 3).await;
            t.write(0, 64, 1).await.unwrap();
            t.disks[0].set_faults([fail(IoType::Write).times(4)]);
            let thread = Thread::builder("exit").create(&spdk).await.unwrap();
            let shared = t.desc.share();
            let task = thread.handle().spawn(move || async move {
                let ch = shared.channel().unwrap();
                drop(shared);
                let writes = (0..4).map(|at| write(&ch, at * 8, 8, 2));
                let _ = join_all(writes).await;
            });
            drop(task.await.unwrap());
            for _ in 0..turns {
                spdk_safe::app::yield_now().await;
            }
            thread.exit().await;
            // What had begun is settled one way or the other: legs in sync are equal.
            t.until_calm().await;
            if t.disks[0].injected() != 0 {
                assert!(t.is_faulted(0, FaultReason::Io));
            }
            t.end().await;
        }
    });
}

#[test]
fn a_thread_exits_while_a_write_that_all_legs_failed_is_being_settled() {
    SPDK.run(async |spdk| {
        for turns in 0..12 {
            let t = Md::new(&spdk, "exits", 2).await;
            t.write(0, 64, 1).await.unwrap();
            for (at, disk) in t.disks.iter().enumerate() {
                let short = Action::Short(Blocks(at as u64 + 1));
                disk.set_faults([Fault::new(short).io(IoType::Write).times(4)]);
            }
            let thread = Thread::builder("exits").create(&spdk).await.unwrap();
            let shared = t.desc.share();
            let task = thread.handle().spawn(move || async move {
                let ch = shared.channel().unwrap();
                drop(shared);
                let writes = (0..4).map(|at| write(&ch, at * 8, 8, 2));
                let _ = join_all(writes).await;
            });
            drop(task.await.unwrap());
            for _ in 0..turns {
                spdk_safe::app::yield_now().await;
            }
            thread.exit().await;
            // It looks whether they are equal.
            assert_eq!(t.in_sync(), 2);
            t.end().await;
        }
    });
}

#[test]
fn a_lock_waits_for_what_a_thread_that_exits_has_in_flight() {
    SPDK.run(async |spdk| {
        // A leg which goes on while its thread exits, and does the writes of others at once.
        let disks = vec![disk(&spdk, "leaves0").await, disk(&spdk, "below").await];
        let slow = DelayBdev::builder("slow", "below");
        slow.create(&spdk).await.unwrap();
        let set = |latency| {
            for which in [Latency::AverageWrite, Latency::P99Write] {
                DelayBdev::set_latency(&spdk, "slow", which, latency).unwrap();
            }
        };
        let builder = Raid1::builder("leaves").options(options());
        let builder = builder.base("leaves0").base("slow").missing();
        let mut t = Md::over(&spdk, builder, "leaves", disks).await;
        t.write(0, BLOCKS, 1).await.unwrap();
        let thread = Thread::builder("leaves").create(&spdk).await.unwrap();
        let shared = t.desc.share();
        let has_begun = Arc::new(AtomicBool::new(false));
        let begun = Arc::clone(&has_begun);
        let takes = Duration::from_secs(1);
        set(takes);
        let start = Instant::now();
        let task = thread.handle().spawn(move || async move {
            let ch = shared.channel().unwrap();
            drop(shared);
            let write = write(&ch, 0, 8, 2);
            let mut write = std::pin::pin!(write);
            assert!((&mut write).now_or_never().is_none());
            begun.store(true, Ordering::Relaxed);
            let _ = write.await;
        });
        drop(task.await.unwrap());
        t.until("under way", |_| has_begun.load(Ordering::Relaxed))
            .await;
        let exit = begin(async move {
            thread.exit().await;
            Ok(())
        });
        for _ in 0..1000 {
            spdk_safe::app::yield_now().await;
        }
        // It has no lane any more, but what it wrote is still under way.
        t.add().await;
        while !exit.is_done() {
            let locks = t.md.info().counters.locks;
            // It can't have ended earlier.
            assert!(locks == 0 || start.elapsed() >= takes);
            spdk_safe::app::yield_now().await;
        }
        exit.end().await.unwrap();
        set(Duration::ZERO);
        t.until("filled", |t| t.in_sync() == 3).await;
        assert_eq!(t.leg(2).await[..8], [2; 8]);
        let Md {
            md,
            disks,
            desc,
            ch,
            ..
        } = t;
        drop(ch);
        desc.close().await;
        md.delete().await;
        DelayBdev::delete(&spdk, "slow").await.unwrap();
        for disk in disks {
            disk.delete().await.unwrap();
        }
    });
}

#[test]
fn a_lock_that_is_not_given_for_long_lets_those_go_that_wait_for_it() {
    SPDK.run(async |spdk| {
        let mut t = Md::of(&spdk, "patience", 2, 1, |builder| builder).await;
        t.write(0, BLOCKS, 1).await.unwrap();
        t.disks[0].set_faults([hold(IoType::Read)]);
        // An older request that does not end: no lock is given.
        let old = t.begin_read(0, 8);
        t.until("held", |t| t.disks[0].held() == 1).await;
        t.add().await;
        let mut done = 0;
        while t.md.info().counters.lock_retries < 2 {
            // Into the first window.
            t.write(done % 100, 8, done as u8).await.unwrap();
            done += 1;
        }
        assert_eq!(t.in_sync(), 2);
        t.disks[0].let_go();
        old.end().await.unwrap();
        t.until("filled", |t| t.in_sync() == 3).await;
        t.end().await;
    });
}

#[test]
fn a_base_is_free_though_a_job_that_waits_has_used_it() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "free", 3).await;
        t.write(0, 8, 1).await.unwrap();
        // A resync that does not get on: it is tried less and less often.
        t.disks[0].set_faults([fail(IoType::Write), fail(IoType::Read).always()]);
        for disk in &t.disks[1..] {
            disk.set_faults([Fault::new(Action::Short(Blocks(3))).io(IoType::Write)]);
        }
        t.write(0, 8, 2).await.unwrap_err();
        t.until("tried", |t| t.disks[0].injected() > 4).await;
        t.md.remove("free2").await.unwrap();
        assert_eq!(t.md.info().dirty_ranges, 1);
        t.disks[0].set_faults([]);
        t.until_calm().await;
        t.end().await;
    });
}

#[test]
fn a_hot_removal_is_answered_while_a_rebuild_of_another_leg_stands_still() {
    SPDK.run(async |spdk| {
        let mut t = Md::of(&spdk, "still", 3, 1, |builder| builder).await;
        t.write(0, BLOCKS, 1).await.unwrap();
        t.disks[0].set_faults([hold(IoType::Read).range(Lba(512), Blocks(1))]);
        t.add().await;
        t.until("stopped", |t| t.disks[0].held() == 1).await;
        t.disks[2].remove();
        let gone = t.disks[2].clone();
        let gone = begin(async move {
            gone.gone().await;
            Ok(())
        });
        gone.end().await.unwrap();
        t.disks[0].let_go();
        t.until("filled", |t| t.in_sync() == 3).await;
        t.end().await;
    });
}

#[test]
fn t11_a_thread_exits_with_a_request_that_is_parked() {
    SPDK.run(async |spdk| {
        let mut t = Md::of(&spdk, "t11-", 2, 1, |builder| builder).await;
        t.write(0, BLOCKS, 1).await.unwrap();
        t.disks[0].set_faults([hold(IoType::Read).range(Lba(512), Blocks(1))]);
        t.add().await;
        t.until("stopped", |t| t.disks[0].held() == 1).await;
        let thread = Thread::builder("t11").create(&spdk).await.unwrap();
        let shared = t.desc.share();
        let task = thread.handle().spawn(move || async move {
            let ch = shared.channel().unwrap();
            drop(shared);
            let _ = write(&ch, 512, 8, 2).await;
        });
        drop(task.await.unwrap());
        t.until("parked", |t| t.md.info().counters.parked == 1)
            .await;
        // The window is still locked.
        thread.exit().await;
        t.disks[0].let_go();
        t.until("filled", |t| t.in_sync() == 3).await;
        t.end().await;
    });
}
