//! No memory at each point where an array submits I/O to a leg: that is nobody's fault, nothing is lost, and it goes on
//! when there is some again.

use std::rc::Rc;

use futures_util::FutureExt;
use spdk_bdevs::ramdisk::{Action, Fault, Ramdisk};
use spdk_safe::prelude::*;

use super::SPDK;
use super::common::{Begun, Md, WINDOW, begin, disk, fail, hold, options};

/// How often a leg has no memory, one time after the other.
const TIMES: u64 = 3;

fn none(io: IoType) -> Fault {
    Fault::new(Action::NoMemory).io(io).times(TIMES)
}

fn short(blocks: u64) -> Fault {
    Fault::new(Action::Short(Blocks(blocks))).io(IoType::Write)
}

/// Where an array submits I/O to a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// A read.
    Read,
    /// A read that another leg could not do.
    ReadElsewhere,
    /// What goes to all legs.
    All(IoType),
    /// The part of it that a leg gets which is being filled.
    Part(IoType),
    /// A repair reads, and writes.
    RepairRead,
    RepairWrite,
    /// A rebuild reads, writes, and flushes in the end.
    RebuildRead,
    RebuildWrite,
    RebuildFlush,
    /// A resync reads, and writes.
    ResyncRead,
    ResyncWrite,
    /// A scrub reads, and writes.
    ScrubRead,
    ScrubWrite,
}

/// All of them.
const POINTS: [Point; 19] = [
    Point::Read,
    Point::ReadElsewhere,
    Point::All(IoType::Write),
    Point::All(IoType::WriteZeroes),
    Point::All(IoType::Unmap),
    Point::All(IoType::Flush),
    Point::All(IoType::Reset),
    Point::Part(IoType::Write),
    Point::Part(IoType::WriteZeroes),
    Point::Part(IoType::Unmap),
    Point::RepairRead,
    Point::RepairWrite,
    Point::RebuildRead,
    Point::RebuildWrite,
    Point::RebuildFlush,
    Point::ResyncRead,
    Point::ResyncWrite,
    Point::ScrubRead,
    Point::ScrubWrite,
];

async fn send(ch: &IoChannel<ReadWrite>, io: IoType, lba: u64, blocks: u64) -> Result<(), IoError> {
    let (at, count) = (Lba(lba), Blocks(blocks));
    match io {
        IoType::Write => super::common::write(ch, lba, blocks, 9).await,
        IoType::WriteZeroes => ch.write_zeroes(at, count).await,
        IoType::Unmap => ch.unmap(at, count).await,
        IoType::Reset => ch.reset().await,
        _ => ch.flush(at, count).await,
    }
}

/// What `send` leaves.
fn sent(io: IoType) -> u8 {
    match io {
        IoType::Write => 9,
        IoType::WriteZeroes | IoType::Unmap => 0,
        _ => 1,
    }
}

/// Has the legs `bad` be without memory at `point`, of an array of three, and takes it there. How many I/Os were not as
/// they should be apart from those that had no memory.
async fn come_to(t: &mut Md, point: Point, bad: &[usize]) -> u64 {
    let set = |at: usize, faults: Vec<Fault>| t.disks[at].set_faults(faults);
    match point {
        Point::Read => {
            set(0, vec![none(IoType::Read)]);
            assert_eq!(t.read(0, 8).await.unwrap(), [1; 8]);
            0
        }
        Point::ReadElsewhere => {
            set(0, vec![fail(IoType::Read)]);
            set(1, vec![none(IoType::Read)]);
            assert_eq!(t.read(0, 8).await.unwrap(), [1; 8]);
            1
        }
        Point::All(io) => {
            for &at in bad {
                set(at, vec![none(io)]);
            }
            send(&t.ch, io, 0, 8).await.unwrap();
            assert_eq!(t.read(0, 8).await.unwrap(), [sent(io); 8]);
            0
        }
        Point::Part(io) => {
            // One window is filled, and then there is a pause.
            let mut slow = options();
            slow.max_bandwidth = Some(Bytes(1));
            t.md.set_options(slow).await.unwrap();
            t.md.remove("nm2").await.unwrap();
            t.add_again("nm2").await;
            t.until("at the first window", |t| {
                let jobs = t.md.info().processes;
                jobs.first()
                    .is_some_and(|job| job.progress.blocks == WINDOW)
            })
            .await;
            t.disks[2].set_faults([none(io)]);
            send(&t.ch, io, WINDOW - 4, 8).await.unwrap();
            // So much that the rest of the rebuild has it right for sure.
            let leg = t.leg(2).await;
            assert_eq!(leg[WINDOW as usize - 4..][..4], [sent(io); 4]);
            t.md.set_options(options()).await.unwrap();
            0
        }
        Point::RepairRead => {
            set(0, vec![fail(IoType::Read)]);
            // The first one is the user's.
            set(1, vec![none(IoType::Read).after(1)]);
            assert_eq!(t.read(0, 8).await.unwrap(), [1; 8]);
            t.until("repaired", |t| t.md.info().counters.repaired == 1)
                .await;
            1
        }
        Point::RepairWrite => {
            set(0, vec![fail(IoType::Read), none(IoType::Write)]);
            assert_eq!(t.read(0, 8).await.unwrap(), [1; 8]);
            t.until("repaired", |t| t.md.info().counters.repaired == 1)
                .await;
            1
        }
        Point::RebuildRead | Point::RebuildWrite | Point::RebuildFlush => {
            t.md.remove("nm2").await.unwrap();
            match point {
                Point::RebuildRead => t.disks[0].set_faults([none(IoType::Read).after(2)]),
                Point::RebuildWrite => t.disks[2].set_faults([none(IoType::Write).after(2)]),
                _ => t.disks[2].set_faults([none(IoType::Flush)]),
            }
            t.add_again("nm2").await;
            0
        }
        Point::ResyncRead | Point::ResyncWrite => {
            let (first, second) = match point {
                Point::ResyncRead => (vec![short(1), none(IoType::Read)], vec![short(2)]),
                _ => (vec![short(1)], vec![short(2), none(IoType::Write).after(1)]),
            };
            set(0, first);
            set(1, second);
            set(2, vec![short(3)]);
            t.write(0, 8, 9).await.unwrap_err();
            t.until("resynced", |t| t.md.info().counters.resynced == 1)
                .await;
            3
        }
        Point::ScrubRead | Point::ScrubWrite => {
            let corrupt = Fault::new(Action::Corrupt).io(IoType::Write);
            set(
                1,
                match point {
                    Point::ScrubRead => vec![corrupt, none(IoType::Read)],
                    _ => vec![corrupt, none(IoType::Write).after(1)],
                },
            );
            t.write(0, 8, 1).await.unwrap();
            t.md.scrub(true).await.unwrap();
            t.until_calm().await;
            assert_eq!(t.md.info().counters.mismatches, 1);
            1
        }
    }
}

#[test]
fn s6_b5_16_5_a_leg_without_memory_at_each_point_is_no_fault_and_nothing_is_lost() {
    SPDK.run(async |spdk| {
        for point in POINTS {
            let mut t = Md::new(&spdk, "nm", 3).await;
            let all: &[&[usize]] = match point {
                Point::All(_) => &[&[0], &[1], &[2], &[0, 1], &[1, 2], &[0, 1, 2]],
                _ => &[&[0]],
            };
            for &bad in all {
                t.write(0, 64, 1).await.unwrap();
                let injected = |t: &Md| t.disks.iter().map(Ramdisk::injected).sum::<u64>();
                let before = injected(&t);
                let others = come_to(&mut t, point, bad).await;
                t.until("in sync", |t| t.in_sync() == 3).await;
                t.until_calm().await;
                let expected = others + TIMES * bad.len() as u64;
                assert_eq!(
                    injected(&t) - before,
                    expected,
                    "it was not there: {point:?}"
                );
                assert_eq!(t.md.info().counters.faults, 0, "{point:?}, {bad:?}");
            }
            t.end().await;
        }
    });
}

/// All of the thread's memory for I/O, in somebody's hands.
struct Drought {
    sink: Ramdisk,
    desc: BdevDesc<ReadWrite>,
    ch: IoChannel<ReadWrite>,
}

impl Drought {
    /// Leaves `left` `spdk_bdev_io`s, and none for other threads.
    async fn begin(spdk: &Spdk, left: usize) -> Self {
        let spare = disk(spdk, "spare").await;
        spare.set_faults([hold(IoType::Flush).always()]);
        let spare_desc = BdevDesc::open(spdk, "spare").read_write().unwrap();
        let spare_ch = spare_desc.channel().unwrap();
        let sink = disk(spdk, "sink").await;
        sink.set_faults([hold(IoType::Flush).always()]);
        let desc = BdevDesc::open(spdk, "sink").read_write().unwrap();
        let ch = desc.channel().unwrap();
        for _ in 0..left {
            // It goes on when nobody waits for it.
            assert!(spare_ch.flush(Lba(0), Blocks(1)).now_or_never().is_none());
        }
        assert_eq!(spare.held(), left);
        loop {
            let before = sink.held();
            assert!(ch.flush(Lba(0), Blocks(1)).now_or_never().is_none());
            if sink.held() == before {
                break;
            }
        }
        spare.let_go();
        while spare.held() != 0 {
            spdk_safe::app::yield_now().await;
        }
        drop(spare_ch);
        spare_desc.close().await;
        spare.delete().await.unwrap();
        Self { sink, desc, ch }
    }

    async fn end(self) {
        self.sink.set_faults([]);
        self.sink.let_go();
        while self.sink.held() != 0 {
            spdk_safe::app::yield_now().await;
        }
        drop(self.ch);
        self.desc.close().await;
        self.sink.delete().await.unwrap();
    }
}

async fn turns(count: usize) {
    for _ in 0..count {
        spdk_safe::app::yield_now().await;
    }
}

fn begin_io(t: &Md, io: IoType) -> Begun {
    let ch = Rc::clone(&t.ch);
    begin(async move {
        match io {
            IoType::Read => {
                let read = super::common::read(&ch, 0, 8).await?;
                assert_eq!(read, [1; 8]);
                Ok(())
            }
            io => send(&ch, io, 0, 8).await,
        }
    })
}

#[test]
fn i7_b5_16_5_requests_wait_for_an_empty_pool_wherever_they_are() {
    SPDK.run(async |spdk| {
        let all = [
            IoType::Read,
            IoType::Write,
            IoType::WriteZeroes,
            IoType::Unmap,
            IoType::Flush,
            IoType::Reset,
        ];
        for io in all {
            // Its own; then one for a leg, and for two.
            let all = if io == IoType::Write { 1..=3 } else { 2..=2 };
            for left in all {
                let t = Md::new(&spdk, "dry", 3).await;
                t.write(0, 64, 1).await.unwrap();
                for disk in &t.disks {
                    let slow = Action::DelayPolls(100);
                    disk.set_faults([Fault::new(slow).io(io).always()]);
                }
                let drought = Drought::begin(&spdk, left).await;
                let begun = begin_io(&t, io);
                turns(10).await;
                let asked: usize = t.disks.iter().map(Ramdisk::held).sum();
                let most = if io == IoType::Read { 1 } else { 3 };
                assert_eq!(asked, most.min(left - 1), "{io:?}, {left} left");
                assert!(!begun.is_done());
                drought.end().await;
                begun.end().await.unwrap();
                for disk in &t.disks {
                    disk.set_faults([]);
                }
                assert_eq!(t.read(0, 8).await.unwrap(), [sent(io); 8]);
                assert_eq!((t.in_sync(), t.md.info().counters.faults), (3, 0));
                t.end().await;
            }
        }
    });
}

#[test]
fn i7_b5_16_5_what_follows_an_error_waits_for_an_empty_pool_too() {
    SPDK.run(async |spdk| {
        // The read that another leg tries, and the repair after it: a write waits already for what the first leg gives back.
        let t = Md::new(&spdk, "dryr", 2).await;
        t.write(0, 64, 1).await.unwrap();
        let drought = Drought::begin(&spdk, 3).await;
        t.disks[0].set_faults([
            fail(IoType::Read),
            Fault::new(Action::DelayPolls(20)).io(IoType::Read),
        ]);
        let read = begin_io(&t, IoType::Read);
        t.until("held", |t| t.disks[0].held() == 1).await;
        let write = t.begin_write(16, 8, 1);
        t.until("tried again", |t| t.md.info().counters.read_errors == 1)
            .await;
        turns(20).await;
        drought.end().await;
        read.end().await.unwrap();
        write.end().await.unwrap();
        t.until("repaired", |t| t.md.info().counters.repaired == 1)
            .await;
        assert_eq!(t.md.info().counters.faults, 0);
        t.end().await;
        // A resync.
        let t = Md::new(&spdk, "dryd", 2).await;
        t.write(0, 64, 1).await.unwrap();
        let drought = Drought::begin(&spdk, 3).await;
        t.disks[0].set_faults([short(1)]);
        t.disks[1].set_faults([short(2)]);
        let write = begin_io(&t, IoType::Write);
        turns(20).await;
        assert_eq!(t.md.info().dirty_ranges, 1);
        drought.end().await;
        write.end().await.unwrap_err();
        t.until("resynced", |t| t.md.info().counters.resynced == 1)
            .await;
        assert_eq!(t.md.info().counters.faults, 0);
        t.end().await;
    });
}

#[test]
fn r99_i7_b5_16_5_rebuilds_and_scrubs_wait_for_an_empty_pool_too() {
    SPDK.run(async |spdk| {
        let mut t = Md::of(&spdk, "dryj", 2, 1, |builder| builder).await;
        t.disks[1].set_faults([Fault::new(Action::Corrupt).io(IoType::Write)]);
        t.write(0, 64, 1).await.unwrap();
        let new = disk(&spdk, "dryj2").await;
        let drought = Drought::begin(&spdk, 0).await;
        t.md.scrub(true).await.unwrap();
        t.md.add("dryj2").await.unwrap();
        t.disks.push(new);
        turns(100).await;
        assert_eq!(t.in_sync(), 2, "there is no memory for it");
        drought.end().await;
        t.until("filled", |t| t.in_sync() == 3).await;
        t.until_calm().await;
        let counts = t.md.info().counters;
        assert_eq!((counts.faults, counts.mismatches), (0, 1));
        t.end().await;
    });
}
