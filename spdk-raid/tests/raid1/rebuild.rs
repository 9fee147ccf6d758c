//! A leg is filled while the array is used, and things go wrong meanwhile.

use std::rc::Rc;

use futures_util::future::{join, join_all};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use spdk_bdevs::ramdisk::{Action, Fault, Ramdisk};
use spdk_raid::raid1::state::{ArrayState, FaultReason, LegState};
use spdk_raid::raid1::{Options, Raid1};
use spdk_safe::prelude::*;

use super::SPDK;
use super::common::{BLOCKS, Md, WINDOW, disk, fail, hold, options};

/// Two legs in sync with data, and a third one whose rebuild stands still: the copy of the window at block 512 waits for
/// the first leg. Let go of that, and the second one is read. Blocks below 512 are filled.
async fn stopped(spdk: &Spdk, name: &str) -> (Md, Ramdisk) {
    let mut t = Md::of(spdk, name, 2, 1, |builder| builder).await;
    for window in 0..BLOCKS / WINDOW {
        t.write(window * WINDOW, WINDOW, window as u8 + 1)
            .await
            .unwrap();
    }
    t.disks[0].set_faults([hold(IoType::Read).range(Lba(512), Blocks(1))]);
    let target = t.add().await;
    t.until("stopped", |t| t.disks[0].held() == 1).await;
    let front = LegState::Rebuilding { front: Lba(512) };
    assert_eq!(t.state(2), front);
    (t, target)
}

#[test]
fn raid_process_a_rebuild_copies_every_block_and_says_how_far_it_is() {
    SPDK.run(async |spdk| {
        let (t, _) = stopped(&spdk, "process").await;
        let info = t.md.info();
        assert_eq!(info.state, ArrayState::Rebuilding);
        assert_eq!(info.processes.len(), 1);
        let process = &info.processes[0];
        assert_eq!(
            (process.kind, process.target.as_deref()),
            ("rebuild", Some("process2"))
        );
        assert_eq!(
            (process.progress.blocks, process.progress.percent),
            (512, 50)
        );
        // Nobody reads from it above.
        assert_eq!(t.read(1000, 8).await.unwrap(), [8; 8]);
        t.disks[0].let_go();
        t.until("filled", |t| t.in_sync() == 3).await;
        assert_eq!(t.md.info().state, ArrayState::Optimal);
        t.end().await;
    });
}

#[test]
fn reads_below_the_front_use_the_target_and_above_it_never() {
    SPDK.run(async |spdk| {
        let (t, target) = stopped(&spdk, "front").await;
        let slow = Fault::new(Action::DelayPolls(1)).io(IoType::Read).always();
        target.set_faults([slow]);
        for (lba, is_used) in [
            (0, true),
            (508, true),
            (509, false),
            (512, false),
            (900, false),
        ] {
            let before = target.injected();
            // As many as there are legs, at once.
            let reads = join_all((0..3).map(|_| t.read(lba, 4))).await;
            for read in reads {
                let expected = [lba, lba + 1, lba + 2, lba + 3];
                assert_eq!(read.unwrap(), expected.map(|lba| (lba / WINDOW) as u8 + 1));
            }
            assert_eq!(target.injected() > before, is_used, "{lba}");
        }
        t.disks[0].let_go();
        t.until("filled", |t| t.in_sync() == 3).await;
        t.end().await;
    });
}

#[test]
fn writes_on_both_sides_of_a_window_go_on_and_those_that_touch_it_wait() {
    SPDK.run(async |spdk| {
        let (t, _) = stopped(&spdk, "sides").await;
        t.write(0, 512, 20).await.unwrap();
        t.write(512 + WINDOW, 256, 21).await.unwrap();
        let over = t.begin_write(500, 24, 22);
        let zeroes = {
            let ch = Rc::clone(&t.ch);
            super::common::begin(async move { ch.write_zeroes(Lba(600), Blocks(200)).await })
        };
        let unmap = {
            let ch = Rc::clone(&t.ch);
            super::common::begin(async move { ch.unmap(Lba(540), Blocks(1)).await })
        };
        t.until("parked", |t| t.md.info().counters.parked == 3)
            .await;
        // Neither reads nor flushes wait.
        assert_eq!(t.read(600, 1).await.unwrap(), [5]);
        t.ch.flush(Lba(0), Blocks(BLOCKS)).await.unwrap();
        assert!(!over.is_done() && !zeroes.is_done() && !unmap.is_done());
        t.disks[0].let_go();
        over.end().await.unwrap();
        zeroes.end().await.unwrap();
        unmap.end().await.unwrap();
        t.until("filled", |t| t.in_sync() == 3).await;
        let mut expected = vec![20; 500];
        expected.extend([22; 24]);
        assert_eq!(t.read(0, 524).await.unwrap(), expected);
        assert_eq!(t.leg(2).await[540], 0);
        t.end().await;
    });
}

#[test]
fn raid_io_split_writes_of_every_kind_cross_a_front_that_moves_block_by_block() {
    SPDK.run(async |spdk| {
        let one = |mut options: Options| {
            options.window = Bytes(512);
            options
        };
        let mut t = Md::of(&spdk, "split", 2, 1, |builder| {
            builder.options(one(options()))
        })
        .await;
        t.write(0, BLOCKS, 1).await.unwrap();
        let target = disk(&spdk, "split2").await;
        // So that it takes a while.
        target.set_faults([Fault::new(Action::DelayPolls(3)).io(IoType::Write).always()]);
        t.md.add("split2").await.unwrap();
        t.disks.push(target);
        let mut random = SmallRng::seed_from_u64(1);
        let mut copy = vec![1; BLOCKS as usize];
        let mut turn = 0_u8;
        while t.in_sync() < 3 {
            turn = turn.wrapping_add(1);
            let blocks = random.random_range(1..=64);
            let lba = match (t.state(2), random.random_bool(0.8)) {
                // Where the front is about to be.
                (LegState::Rebuilding { front }, true) => {
                    front.0.saturating_sub(random.random_range(0..blocks))
                }
                _ => random.random_range(0..BLOCKS),
            };
            let blocks = blocks.min(BLOCKS - lba);
            if blocks == 0 {
                continue;
            }
            let part = &mut copy[lba as usize..(lba + blocks) as usize];
            match turn % 3 {
                0 => {
                    t.ch.write_zeroes(Lba(lba), Blocks(blocks)).await.unwrap();
                    part.fill(0);
                }
                1 => {
                    t.ch.unmap(Lba(lba), Blocks(blocks)).await.unwrap();
                    part.fill(0);
                }
                _ => {
                    super::common::write_each(&t.ch, lba, blocks, turn)
                        .await
                        .unwrap();
                    for (at, block) in part.iter_mut().enumerate() {
                        *block = turn.wrapping_add(at as u8);
                    }
                }
            }
        }
        for at in 0..3 {
            assert!(t.leg(at).await == copy, "leg {at}");
        }
        t.end().await;
    });
}

/// Each kind of change, below and above the front.
const CHANGES: [(IoType, u64); 8] = [
    (IoType::Write, 0),
    (IoType::Write, 900),
    (IoType::WriteZeroes, 0),
    (IoType::WriteZeroes, 900),
    (IoType::Unmap, 0),
    (IoType::Unmap, 900),
    (IoType::Flush, 0),
    (IoType::Flush, 900),
];

async fn change(t: &Md, io: IoType, lba: u64) -> Result<(), IoError> {
    match io {
        IoType::Write => t.write(lba, 8, 30).await,
        IoType::WriteZeroes => t.ch.write_zeroes(Lba(lba), Blocks(8)).await,
        IoType::Unmap => t.ch.unmap(Lba(lba), Blocks(8)).await,
        _ => t.ch.flush(Lba(lba), Blocks(8)).await,
    }
}

#[test]
fn r90_a_change_that_the_target_fails_ends_the_rebuild_and_nothing_else() {
    SPDK.run(async |spdk| {
        for (io, lba) in CHANGES {
            let (t, target) = stopped(&spdk, "r90-").await;
            target.set_faults([fail(io)]);
            change(&t, io, lba).await.unwrap();
            // Above the front it is not asked, but for a flush.
            let is_asked = lba == 0 || io == IoType::Flush;
            assert_eq!(t.is_faulted(2, FaultReason::Io), is_asked, "{io:?}, {lba}");
            target.set_faults([]);
            t.disks[0].let_go();
            t.until_calm().await;
            assert_eq!(t.in_sync(), if is_asked { 2 } else { 3 }, "{io:?}, {lba}");
            t.end().await;
        }
    });
}

#[test]
fn r90_a_change_that_a_source_fails_faults_it_and_the_rebuild_goes_on() {
    SPDK.run(async |spdk| {
        for (io, lba) in CHANGES {
            let (t, _) = stopped(&spdk, "r90s").await;
            t.disks[1].set_faults([fail(io)]);
            change(&t, io, lba).await.unwrap();
            assert!(t.is_faulted(1, FaultReason::Io), "{io:?}, {lba}");
            // The window is locked, so what the second one has there is still right.
            t.disks[0].let_go();
            t.until("filled", |t| t.in_sync() == 2).await;
            assert_eq!(t.state(2), LegState::InSync, "{io:?}, {lba}");
            t.end().await;
        }
    });
}

#[test]
fn r90_a_change_that_the_only_source_fails_fails_and_the_legs_are_equal_afterwards() {
    SPDK.run(async |spdk| {
        for (io, lba) in CHANGES {
            let mut t = Md::of(&spdk, "r90o", 1, 1, |builder| builder).await;
            t.write(0, BLOCKS, 1).await.unwrap();
            let target = disk(&spdk, "r90o1").await;
            target.set_faults([hold(IoType::Write).range(Lba(512), Blocks(1))]);
            t.md.add("r90o1").await.unwrap();
            t.disks.push(target);
            t.until("stopped", |t| t.disks[1].held() == 1).await;
            t.disks[0].set_faults([fail(io)]);
            change(&t, io, lba).await.unwrap_err();
            assert_eq!(t.in_sync(), 1);
            // The copy is aborted, and so is the rebuild; another one is not.
            t.disks[1].let_go();
            t.until_calm().await;
            assert!(t.is_faulted(1, FaultReason::Io), "{io:?}, {lba}");
            t.add_again("r90o1").await;
            t.until("filled", |t| t.in_sync() == 2).await;
            t.end().await;
        }
    });
}

#[test]
fn what_a_leg_refuses_below_the_front_is_made_equal_on_the_target_too() {
    SPDK.run(async |spdk| {
        let (t, _) = stopped(&spdk, "refuse").await;
        // A reservation conflict. The others have written it.
        let refuse = Fault::new(Action::Nvme { sct: 0, sc: 0x83 });
        let read = hold(IoType::Read).range(Lba(512), Blocks(1));
        t.disks[0].set_faults([read.after(1), refuse.io(IoType::Write)]);
        t.write(0, 8, 30).await.unwrap_err();
        t.until("equal", |t| t.md.info().dirty_ranges == 0).await;
        assert_eq!(t.leg(2).await[..8], [1; 8]);
        t.disks[0].let_go();
        t.until("filled", |t| t.in_sync() == 3).await;
        assert_eq!(t.read(0, 8).await.unwrap(), [1; 8]);
        t.end().await;
    });
}

#[test]
fn functional_the_target_is_taken_away_in_mid_rebuild_and_comes_again() {
    SPDK.run(async |spdk| {
        let (mut t, _) = stopped(&spdk, "target").await;
        let parked = t.begin_write(512, 8, 40);
        t.until("parked", |t| t.md.info().counters.parked == 1)
            .await;
        // It is free when nothing of ours is on it any more.
        let removed = t.md.remove("target2");
        let let_go = async {
            t.until("missing", |t| t.state(2) == LegState::Missing)
                .await;
            t.disks[0].let_go();
        };
        join(removed, let_go).await.0.unwrap();
        parked.end().await.unwrap();
        t.until_calm().await;
        let gone = t.disks.pop().unwrap();
        gone.delete().await.unwrap();
        assert_eq!(t.in_sync(), 2);
        t.add().await;
        t.until("filled", |t| t.in_sync() == 3).await;
        assert_eq!(t.leg(2).await[512..520], [40; 8]);
        t.end().await;
    });
}

#[test]
fn functional_another_base_is_taken_away_in_mid_rebuild_which_goes_on() {
    SPDK.run(async |spdk| {
        let (t, _) = stopped(&spdk, "other").await;
        // Its bdev is free when the copy under way has ended.
        let removed = super::common::begin({
            let md = t.md.clone();
            async move {
                md.remove("other1").await.unwrap();
                Ok(())
            }
        });
        t.until("missing", |t| t.state(1) == LegState::Missing)
            .await;
        // The last one in sync can't go.
        t.md.remove("other0").await.unwrap_err();
        t.write(0, 8, 50).await.unwrap();
        t.disks[0].let_go();
        removed.end().await.unwrap();
        t.add_again("other1").await;
        t.until("filled", |t| t.in_sync() == 3).await;
        t.end().await;
    });
}

#[test]
fn a_source_is_pulled_out_while_it_is_read_for_a_window_that_is_locked() {
    SPDK.run(async |spdk| {
        let (t, _) = stopped(&spdk, "source").await;
        let parked = t.begin_write(512, 8, 60);
        t.until("parked", |t| t.md.info().counters.parked == 1)
            .await;
        t.disks[0].remove();
        t.disks[0].gone().await;
        parked.end().await.unwrap();
        t.until("filled", |t| t.in_sync() == 2).await;
        assert!(t.is_faulted(0, FaultReason::Gone));
        assert_eq!(
            t.leg(2).await[512..521],
            [60, 60, 60, 60, 60, 60, 60, 60, 5]
        );
        t.end().await;
    });
}

#[test]
fn the_target_is_pulled_out_while_its_window_is_locked() {
    SPDK.run(async |spdk| {
        let (t, target) = stopped(&spdk, "pulled").await;
        let parked = t.begin_write(512, 8, 61);
        t.until("parked", |t| t.md.info().counters.parked == 1)
            .await;
        target.remove();
        t.until("faulted", |t| t.is_faulted(2, FaultReason::Gone))
            .await;
        t.disks[0].let_go();
        parked.end().await.unwrap();
        target.gone().await;
        t.until_calm().await;
        assert_eq!(t.in_sync(), 2);
        t.end().await;
    });
}

#[test]
fn two_legs_are_filled_at_the_same_time() {
    SPDK.run(async |spdk| {
        let mut t = Md::of(&spdk, "both", 1, 2, |builder| builder).await;
        t.write(0, BLOCKS, 1).await.unwrap();
        let slow = Fault::new(Action::DelayPolls(50)).io(IoType::Read).always();
        t.disks[0].set_faults([slow]);
        t.add().await;
        t.add().await;
        assert_eq!(t.md.info().processes.len(), 2);
        while t.in_sync() < 3 {
            t.write(100, 200, 2).await.unwrap();
            t.read(0, 8).await.unwrap();
        }
        t.end().await;
    });
}

#[test]
fn a_target_that_has_no_memory_for_a_while_is_filled_nevertheless() {
    SPDK.run(async |spdk| {
        let mut t = Md::of(&spdk, "nomem", 1, 1, |builder| builder).await;
        t.write(0, BLOCKS, 1).await.unwrap();
        let new = disk(&spdk, "nomem1").await;
        new.set_faults([Fault::new(Action::NoMemory).times(20)]);
        t.md.add("nomem1").await.unwrap();
        t.disks.push(new);
        t.until("filled", |t| t.in_sync() == 2).await;
        assert_eq!(t.md.info().counters.faults, 0);
        t.end().await;
    });
}

#[test]
fn a_target_that_can_not_be_written_is_faulted() {
    SPDK.run(async |spdk| {
        let mut t = Md::of(&spdk, "badtarget", 1, 1, |builder| builder).await;
        t.write(0, BLOCKS, 1).await.unwrap();
        let new = disk(&spdk, "badtarget1").await;
        new.set_faults([fail(IoType::Write).after(3)]);
        t.md.add("badtarget1").await.unwrap();
        t.disks.push(new);
        t.until("faulted", |t| t.is_faulted(1, FaultReason::Io))
            .await;
        // So is one that can't flush what it was filled with.
        t.disks[1].set_faults([fail(IoType::Flush)]);
        t.add_again("badtarget1").await;
        t.until("faulted", |t| t.is_faulted(1, FaultReason::Rebuild))
            .await;
        t.add_again("badtarget1").await;
        t.until("filled", |t| t.in_sync() == 2).await;
        t.end().await;
    });
}

#[test]
fn r94_a_rebuild_that_fails_when_all_is_copied_ends_and_lets_go_of_its_target() {
    SPDK.run(async |spdk| {
        let mut t = Md::of(&spdk, "r94-", 2, 1, |builder| builder).await;
        t.write(0, BLOCKS, 1).await.unwrap();
        let new = disk(&spdk, "r94-2").await;
        new.set_faults([fail(IoType::Flush)]);
        t.md.add("r94-2").await.unwrap();
        t.disks.push(new);
        t.until("faulted", |t| t.is_faulted(2, FaultReason::Rebuild))
            .await;
        t.until_calm().await;
        // I/O goes on, and the bdev is free.
        t.write(0, 8, 2).await.unwrap();
        assert_eq!(t.read(0, 8).await.unwrap(), [2; 8]);
        t.add_again("r94-2").await;
        t.until("filled", |t| t.in_sync() == 3).await;
        t.end().await;
    });
}

#[test]
fn the_array_is_deleted_in_mid_rebuild() {
    SPDK.run(async |spdk| {
        let (t, _) = stopped(&spdk, "delete").await;
        let Md {
            md,
            disks,
            desc,
            ch,
            ..
        } = t;
        drop(ch);
        desc.close().await;
        let deleted = md.delete();
        let let_go = async {
            // It waits for the copy, which waits for the leg.
            for _ in 0..100 {
                spdk_safe::app::yield_now().await;
            }
            disks[0].let_go();
        };
        futures_util::future::join(deleted, let_go).await;
        assert!(Raid1::find("delete").is_none());
        for disk in disks {
            disk.delete().await.unwrap();
        }
    });
}

#[test]
fn a_4k_array_is_filled_too() {
    SPDK.run(async |spdk| {
        for name in ["4k0", "4k1"] {
            let disk = Ramdisk::builder(name).blocks(Blocks(256)).block_size(4096);
            disk.create(&spdk).await.unwrap();
        }
        let builder = Raid1::builder("4k")
            .base("4k0")
            .missing()
            .options(options());
        let md = builder.create(&spdk).await.unwrap();
        assert_eq!((md.block_size(), md.num_blocks()), (4096, Blocks(256)));
        let desc = BdevDesc::open(&spdk, "4k").read_write().unwrap();
        let ch = desc.channel().unwrap();
        super::common::write(&ch, 3, 200, 7).await.unwrap();
        md.add("4k1").await.unwrap();
        let seen = || format!("{:#?}", md.info());
        super::common::until("filled", seen, || md.info().state == ArrayState::Optimal).await;
        drop(ch);
        desc.close().await;
        md.delete().await;
        let (one, two) = (
            super::common::contents(&spdk, "4k0").await,
            super::common::contents(&spdk, "4k1").await,
        );
        assert!(one == two && one[3 * 4096] == 7);
        for disk in Ramdisk::list() {
            disk.delete().await.unwrap();
        }
    });
}
