//! Writes that legs fail, and who is told before they are acknowledged.

use std::sync::{Arc, Mutex};

use spdk_bdevs::ramdisk::{Action, Fault};
use spdk_raid::raid1::ReadPolicy;
use spdk_raid::raid1::persist::{PersistError, Persistence, Record, Recorded};
use spdk_raid::raid1::state::{ArrayState, FaultReason, LegState};
use spdk_safe::prelude::*;

use super::SPDK;
use super::common::{BLOCKS, Md, WINDOW, fail, hold};

#[test]
fn s3_a_leg_that_fails_a_write_is_faulted_before_the_write_succeeds() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "s3-", 2).await;
        t.write(0, 8, 1).await.unwrap();
        t.disks[0].set_faults([fail(IoType::Write)]);
        t.write(0, 8, 2).await.unwrap();
        assert!(t.is_faulted(0, FaultReason::Io));
        assert_eq!(t.md.info().state, ArrayState::Degraded);
        for _ in 0..4 {
            assert_eq!(t.read(0, 8).await.unwrap(), [2; 8]);
        }
        t.end().await;
    });
}

/// What changes data or makes it durable.
const CHANGES: [IoType; 4] = [
    IoType::Write,
    IoType::WriteZeroes,
    IoType::Unmap,
    IoType::Flush,
];

async fn change(t: &Md, io: IoType, lba: u64) -> Result<(), IoError> {
    match io {
        IoType::Write => t.write(lba, 8, 7).await,
        IoType::WriteZeroes => t.ch.write_zeroes(Lba(lba), Blocks(8)).await,
        IoType::Unmap => t.ch.unmap(Lba(lba), Blocks(8)).await,
        _ => t.ch.flush(Lba(lba), Blocks(8)).await,
    }
}

#[test]
fn raid1_ut_write_error_legs_that_fail_are_faulted_if_another_one_does_it() {
    SPDK.run(async |spdk| {
        for io in CHANGES {
            for count in [2, 3, 4] {
                // The first one fails; then all but the first.
                for bad in [0..1, 1..count] {
                    let t = Md::new(&spdk, "we", count).await;
                    for disk in &t.disks[bad.clone()] {
                        disk.set_faults([fail(io)]);
                    }
                    change(&t, io, 0).await.unwrap();
                    for at in 0..count {
                        let is_faulted = t.is_faulted(at, FaultReason::Io);
                        assert_eq!(is_faulted, bad.contains(&at), "{io:?}, {count}, {at}");
                    }
                    t.end().await;
                }
            }
        }
    });
}

#[test]
fn r93_s5_raid1_ut_write_error_what_all_legs_fail_fails_and_the_array_stays() {
    SPDK.run(async |spdk| {
        for io in CHANGES {
            // All of them would be read.
            let turns = ReadPolicy::RoundRobin;
            let t = Md::of(&spdk, "r93-", 3, 0, |builder| builder.read_policy(turns)).await;
            t.write(0, 8, 1).await.unwrap();
            // Each has done another part of it.
            for (at, disk) in t.disks.iter().enumerate() {
                disk.set_faults([Fault::new(Action::Short(Blocks(at as u64 + 1))).io(io)]);
            }
            change(&t, io, 0).await.unwrap_err();
            assert_eq!(t.md.info().state, ArrayState::Optimal, "{io:?}");
            // Whatever it is: it is the same each time.
            let first = t.read(0, 8).await.unwrap();
            for _ in 0..6 {
                assert_eq!(t.read(0, 8).await.unwrap(), first, "{io:?}");
            }
            t.until_calm().await;
            assert_eq!(t.read(0, 8).await.unwrap(), first, "{io:?}");
            let resynced = u64::from(io != IoType::Flush);
            assert_eq!(t.md.info().counters.resynced, resynced, "{io:?}");
            t.end().await;
        }
    });
}

#[test]
fn a_range_that_can_not_be_made_equal_yet_is_when_its_legs_work_again() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "later", 2).await;
        t.write(0, 8, 1).await.unwrap();
        t.disks[0].set_faults([fail(IoType::Write), fail(IoType::Read).times(7)]);
        t.disks[1].set_faults([Fault::new(Action::Short(Blocks(4))).io(IoType::Write)]);
        t.write(0, 8, 2).await.unwrap_err();
        t.until_calm().await;
        assert_eq!(t.in_sync(), 2);
        t.end().await;
    });
}

#[test]
fn more_dirty_ranges_than_are_kept_are_joined_and_made_equal() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "dirty", 2).await;
        // Nothing is made equal as long as the first one can't be read.
        t.disks[0].set_faults([fail(IoType::Write).times(200), hold(IoType::Read).always()]);
        t.disks[1].set_faults([Fault::new(Action::Short(Blocks(1)))
            .io(IoType::Write)
            .times(200)]);
        for at in 0..200 {
            t.write(at * 5, 3, 2).await.unwrap_err();
            assert!(t.md.info().dirty_ranges <= 64);
        }
        assert_eq!(t.in_sync(), 2);
        for disk in &t.disks {
            disk.set_faults([]);
            disk.let_go();
        }
        t.until_calm().await;
        t.end().await;
    });
}

#[test]
fn s6_a_leg_that_has_no_memory_is_waited_for_and_not_faulted() {
    SPDK.run(async |spdk| {
        let mut t = Md::of(&spdk, "s6-", 2, 1, |builder| builder).await;
        let none = |io| Fault::new(Action::NoMemory).io(io).times(3);
        for io in CHANGES {
            t.disks[1].set_faults([none(io)]);
            // It comes again when something else ends.
            let (one, two) = (change(&t, io, 0), change(&t, io, 64));
            let (one, two) = futures_util::future::join(one, two).await;
            one.and(two).unwrap();
        }
        t.disks[0].set_faults([none(IoType::Read)]);
        let (one, two) = futures_util::future::join(t.read(0, 8), t.read(64, 8)).await;
        assert_eq!((one.unwrap(), two.unwrap()), (vec![0; 8], vec![0; 8]));
        let new = t.add().await;
        new.set_faults([none(IoType::Write)]);
        t.until("filled", |t| t.in_sync() == 3).await;
        assert_eq!(t.md.info().counters.faults, 0);
        t.end().await;
    });
}

#[test]
fn s7_a_flush_is_acknowledged_when_every_leg_has_flushed() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "s7-", 3).await;
        for disk in &t.disks[..2] {
            disk.set_faults([Fault::new(Action::DelayPolls(1)).io(IoType::Flush).always()]);
        }
        t.disks[2].set_faults([hold(IoType::Flush)]);
        let ch = std::rc::Rc::clone(&t.ch);
        let flush = super::common::begin(async move { ch.flush(Lba(0), Blocks(8)).await });
        t.until("flushed by two", |t| {
            t.disks.iter().all(|disk| disk.injected() == 1)
                && t.disks[..2].iter().all(|disk| disk.held() == 0)
        })
        .await;
        // A read behind it has come back: the flush would have, too.
        t.read(0, 8).await.unwrap();
        assert!(!flush.is_done());
        t.disks[2].let_go();
        flush.end().await.unwrap();
        assert!(t.is_faulted(2, FaultReason::Io), "it was aborted there");
        t.end().await;
    });
}

#[test]
fn s8_what_is_not_a_legs_fault_faults_none() {
    SPDK.run(async |spdk| {
        // Miscompare, invalid opcode, reservation conflict, invalid field.
        for (sct, sc) in [(2, 0x85), (0, 0x01), (0, 0x83), (0, 0x02)] {
            let t = Md::new(&spdk, "s8-", 2).await;
            t.write(0, 8, 1).await.unwrap();
            let status = Fault::new(Action::Nvme { sct, sc });
            t.disks[0].set_faults([status.clone().io(IoType::Write)]);
            t.write(0, 8, 2).await.unwrap_err();
            t.disks[0].set_faults([status.io(IoType::Read)]);
            assert_eq!(t.in_sync(), 2);
            t.until_calm().await;
            assert_eq!(t.md.info().counters.faults, 0);
            t.end().await;
        }
    });
}

#[test]
fn s8_what_a_users_reset_aborts_faults_no_leg() {
    SPDK.run(async |spdk| {
        // Only one leg is not done with the write when the RESET comes: the other one has it.
        for at in 0..2 {
            let t = Md::new(&spdk, "s8r-", 2).await;
            t.write(0, 8, 1).await.unwrap();
            t.disks[at].set_faults([hold(IoType::Write)]);
            let write = t.begin_write(0, 8, 2);
            t.until("held", |t| t.disks[at].held() == 1).await;
            t.ch.reset().await.unwrap();
            write.end().await.unwrap_err();
            t.until_calm().await;
            assert_eq!((t.in_sync(), t.md.info().counters.faults), (2, 0));
            t.end().await;
        }
        // Reads go to the first one, and are not tried again.
        let t = Md::new(&spdk, "s8r-", 2).await;
        t.disks[0].set_faults([hold(IoType::Read)]);
        let read = t.begin_read(0, 8);
        t.until("held", |t| t.disks[0].held() == 1).await;
        t.ch.reset().await.unwrap();
        read.end().await.unwrap_err();
        t.until_calm().await;
        let counts = t.md.info().counters;
        assert_eq!((counts.faults, counts.repaired), (0, 0));
        t.end().await;
    });
}

#[test]
fn a_leg_that_aborts_by_itself_is_at_fault() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "abort", 2).await;
        t.disks[0].set_faults([Fault::new(Action::Abort).io(IoType::Write)]);
        t.write(0, 8, 1).await.unwrap();
        assert!(t.is_faulted(0, FaultReason::Io));
        t.end().await;
    });
}

/// Answers when it is told to.
#[derive(Default)]
struct Late {
    state: Mutex<LateState>,
}

#[derive(Default)]
struct LateState {
    is_late: bool,
    fails: bool,
    records: Vec<Record>,
    waiting: Vec<futures_channel::oneshot::Sender<()>>,
}

impl Late {
    fn set(&self, is_late: bool, fails: bool) {
        let waiting = {
            let mut state = self.state.lock().unwrap();
            (state.is_late, state.fails) = (is_late, fails);
            std::mem::take(&mut state.waiting)
        };
        for waiting in waiting {
            let _ = waiting.send(());
        }
    }

    fn is_asked(&self) -> bool {
        !self.state.lock().unwrap().waiting.is_empty()
    }

    fn versions(&self) -> Vec<u64> {
        let state = self.state.lock().unwrap();
        state.records.iter().map(|record| record.version).collect()
    }
}

impl Persistence for Late {
    fn record<'a>(&'a self, record: &'a Record) -> Recorded<'a> {
        let waits = {
            let mut state = self.state.lock().unwrap();
            state.records.push(record.clone());
            state.is_late.then(|| {
                let (send, wait) = futures_channel::oneshot::channel();
                state.waiting.push(send);
                wait
            })
        };
        Box::pin(async move {
            if let Some(waits) = waits {
                let _ = waits.await;
            }
            match self.state.lock().unwrap().fails {
                true => Err(PersistError {
                    array: record.name.clone(),
                    why: "it is full".into(),
                }),
                false => Ok(()),
            }
        })
    }
}

#[test]
fn r97_r32_nothing_is_acknowledged_before_it_is_kept_which_leg_is_without_it() {
    SPDK.run(async |spdk| {
        let late = Arc::new(Late::default());
        let keeper = Arc::clone(&late);
        let t = Md::of(&spdk, "late", 2, 0, |builder| builder.persistence(keeper)).await;
        late.set(true, false);
        t.disks[0].set_faults([fail(IoType::Write)]);
        let first = t.begin_write(0, 8, 1);
        t.until("asked", |_| late.is_asked()).await;
        // It is not kept that the first leg is out: what is acknowledged now must be on it.
        let second = t.write(8, 8, 2).await;
        second.unwrap();
        assert!(!first.is_done());
        late.set(false, false);
        first.end().await.unwrap();
        assert!(t.is_faulted(0, FaultReason::Io));
        assert_eq!(t.leg(0).await[..16], [[0; 8], [2; 8]].concat());
        let versions = late.versions();
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        t.end().await;
    });
}

#[test]
fn r91_a_state_that_can_not_be_kept_fails_the_request_and_hangs_nothing() {
    SPDK.run(async |spdk| {
        let late = Arc::new(Late::default());
        let keeper = Arc::clone(&late);
        let t = Md::of(&spdk, "r91-", 3, 0, |builder| builder.persistence(keeper)).await;
        late.set(false, true);
        t.disks[0].set_faults([fail(IoType::Write)]);
        t.write(0, 8, 1).await.unwrap_err();
        assert!(t.is_faulted(0, FaultReason::Io));
        // The others go on, and so does the array's end.
        t.write(8, 8, 2).await.unwrap();
        assert_eq!(t.read(8, 8).await.unwrap(), [2; 8]);
        late.set(false, false);
        t.disks[1].set_faults([fail(IoType::Write)]);
        t.write(0, 8, 3).await.unwrap();
        assert_eq!(t.read(0, 8).await.unwrap(), [3; 8]);
        t.end().await;
    });
}

#[test]
fn r91_b5_16_2_a_state_that_can_not_be_kept_holds_up_no_removal_no_rebuild_and_no_deletion() {
    SPDK.run(async |spdk| {
        let late = Arc::new(Late::default());
        let keeper = Arc::clone(&late);
        let t = Md::of(&spdk, "r91k", 3, 0, |builder| builder.persistence(keeper)).await;
        t.write(0, BLOCKS, 1).await.unwrap();
        late.set(false, true);
        t.md.remove("r91k2").await.unwrap();
        t.write(0, 8, 2).await.unwrap();
        t.add_again("r91k2").await;
        t.until("filled", |t| t.in_sync() == 3).await;
        assert_eq!(t.leg(2).await[..9], [2, 2, 2, 2, 2, 2, 2, 2, 1]);
        for disk in &t.disks {
            disk.resize(Blocks(2 * BLOCKS)).unwrap();
        }
        t.until("grown", |t| t.desc.num_blocks() == Blocks(2 * BLOCKS))
            .await;
        t.write(2 * BLOCKS - 8, 8, 3).await.unwrap();
        t.disks[1].remove();
        t.disks[1].gone().await;
        t.write(0, 8, 4).await.unwrap();
        assert!(late.versions().len() >= 3);
        t.end().await;
    });
}

#[test]
fn functional_errors_under_load_fail_no_io() {
    SPDK.run(async |spdk| {
        for count in 2..=4 {
            for io in [IoType::Read, IoType::Write] {
                let t = Md::new(&spdk, "load", count).await;
                t.write(0, BLOCKS, 0).await.unwrap();
                t.disks[0].set_faults([fail(io).after(5).times(20)]);
                let load = (0..8_u64).map(|lane| {
                    let ch = std::rc::Rc::clone(&t.ch);
                    super::common::begin(async move {
                        for round in 1..40_u8 {
                            let lba = lane * 128 + u64::from(round) % 120;
                            super::common::write(&ch, lba, 8, round).await?;
                            let read = super::common::read(&ch, lba, 8).await?;
                            assert_eq!(read, [round; 8]);
                        }
                        Ok(())
                    })
                });
                for lane in load.collect::<Vec<_>>() {
                    lane.end().await.unwrap();
                }
                t.until_calm().await;
                // One read that fails is repaired; one write that fails is too much.
                let left = if io == IoType::Read { count } else { count - 1 };
                assert_eq!(t.in_sync(), left, "{io:?}");
                assert!(t.disks[0].injected() > 0);
                t.end().await;
            }
        }
    });
}

#[test]
fn bdev_raid_ut_reset_io_each_leg_is_reset_once() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "once", 3).await;
        for disk in &t.disks {
            let seen = Fault::new(Action::DelayPolls(1)).io(IoType::Reset);
            disk.set_faults([seen.always()]);
        }
        t.ch.reset().await.unwrap();
        let resets = t.disks.iter().map(|disk| disk.injected());
        assert_eq!(resets.collect::<Vec<_>>(), [1; 3]);
        t.end().await;
    });
}

#[test]
fn r33_a_leg_that_goes_between_two_submissions_is_faulted_and_the_write_succeeds() {
    SPDK.run(async |spdk| {
        // The write itself pulls the leg out.
        for bad in [0, 1] {
            let t = Md::new(&spdk, "r33-", 2).await;
            t.disks[bad].set_faults([Fault::new(Action::Remove).io(IoType::Write)]);
            t.write(0, 8, 1).await.unwrap();
            assert!(matches!(t.state(bad), LegState::Faulted { .. }));
            assert_eq!(t.read(0, 8).await.unwrap(), [1; 8]);
            t.disks[bad].gone().await;
            t.end().await;
        }
    });
}

#[test]
fn r33_a_write_at_each_moment_of_a_hot_removal_succeeds_without_the_leg_that_goes() {
    SPDK.run(async |spdk| {
        for bad in [0, 1] {
            for turns in 0..8 {
                let t = Md::new(&spdk, "moment", 2).await;
                t.disks[bad].remove();
                for _ in 0..turns {
                    spdk_safe::app::yield_now().await;
                }
                t.write(0, 8, 1).await.unwrap();
                assert_eq!(t.read(0, 8).await.unwrap(), [1; 8]);
                t.disks[bad].gone().await;
                assert_eq!(t.in_sync(), 1);
                t.end().await;
            }
        }
    });
}

#[test]
fn r97_r32_nothing_is_copied_from_a_leg_that_has_failed_a_write_which_is_not_settled() {
    SPDK.run(async |spdk| {
        let late = Arc::new(Late::default());
        let keeper = Arc::clone(&late);
        let mut t = Md::of(&spdk, "settle", 2, 1, |builder| builder.persistence(keeper)).await;
        t.write(0, BLOCKS, 1).await.unwrap();
        // The rebuild is at block 512 for a while.
        t.disks[0].set_faults([
            Fault::new(Action::DelayPolls(500))
                .io(IoType::Read)
                .range(Lba(512), Blocks(1)),
            fail(IoType::Write),
        ]);
        t.add().await;
        t.until("at the middle", |t| t.disks[0].held() == 1).await;
        late.set(true, false);
        let write = t.begin_write(700, 8, 2);
        t.until("asked", |_| late.is_asked()).await;
        // The window that was under way is copied, and the next one is not.
        let front = Lba(512 + WINDOW);
        t.until("there", |t| t.state(2) == LegState::Rebuilding { front })
            .await;
        for _ in 0..500 {
            spdk_safe::app::yield_now().await;
        }
        assert_eq!(t.state(2), LegState::Rebuilding { front });
        assert!(!write.is_done());
        late.set(false, false);
        write.end().await.unwrap();
        assert!(t.is_faulted(0, FaultReason::Io));
        t.until("filled", |t| t.state(2) == LegState::InSync).await;
        assert_eq!(t.leg(2).await[700..708], [2; 8]);
        t.end().await;
    });
}

#[test]
fn ranges_that_differ_are_forgotten_with_the_last_leg_but_one() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "forget", 2).await;
        t.write(0, 8, 1).await.unwrap();
        // It is not made equal as long as the first one can't be read.
        t.disks[0].set_faults([fail(IoType::Write), fail(IoType::Read).always()]);
        t.disks[1].set_faults([Fault::new(Action::Short(Blocks(3))).io(IoType::Write)]);
        t.write(0, 8, 2).await.unwrap_err();
        assert_eq!(t.md.info().dirty_ranges, 1);
        t.md.remove("forget1").await.unwrap();
        // The first one still can't be read.
        t.until_calm().await;
        t.end().await;
    });
}

#[test]
fn two_legs_that_fail_different_writes_at_the_same_time_lose_nothing_acknowledged() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "cross", 2).await;
        t.disks[0].set_faults([fail(IoType::Write).range(Lba(0), Blocks(1))]);
        t.disks[1].set_faults([fail(IoType::Write).range(Lba(64), Blocks(1))]);
        let (one, two) = (t.begin_write(0, 8, 1), t.begin_write(64, 8, 2));
        let (one, two) = (one.end().await, two.end().await);
        assert!(one.is_ok() != two.is_ok(), "{one:?}, {two:?}");
        assert_eq!(t.in_sync(), 1);
        if one.is_ok() {
            assert_eq!(t.read(0, 8).await.unwrap(), [1; 8]);
        } else {
            assert_eq!(t.read(64, 8).await.unwrap(), [2; 8]);
        }
        t.end().await;
    });
}

#[test]
fn functional_unmapped_ranges_read_as_zeroes_and_nothing_else_changes() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "unmap", 2).await;
        for lba in 0..32 {
            t.write(lba * 32, 32, lba as u8 + 1).await.unwrap();
        }
        let mut copy = t.read(0, 1024).await.unwrap();
        for (lba, blocks) in [(0, 128), (321, 456), (1000, 24)] {
            t.ch.unmap(Lba(lba), Blocks(blocks)).await.unwrap();
            copy[lba as usize..(lba + blocks) as usize].fill(0);
            for _ in 0..2 {
                assert!(t.read(0, 1024).await.unwrap() == copy, "{lba}, {blocks}");
            }
        }
        t.end().await;
    });
}
