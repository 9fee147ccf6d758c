//! What the order of messages could break of an array, with schedules that seeds choose, and pools as small as may be.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::future::{join, join_all};
use spdk_bdevs::ramdisk::{self, Action, Fault, Ramdisk};
use spdk_raid::raid1::state::ArrayState;
use spdk_raid::raid1::{MODULE, Options, Raid1};
use spdk_safe::app::{Pools, yield_now};
use spdk_safe::prelude::*;
use spdk_safe::test::{Case, SeededHarness};

/// So few `spdk_bdev_io`s that each thread has some of its own, and not many more are left.
const POOLS: Pools = Pools {
    bdev_ios: 255,
    bdev_io_cache: 16,
    ..Pools::small()
};

static SPDK: SeededHarness = SeededHarness::new(&[&MODULE, &ramdisk::MODULE]).pools(POOLS);

const BLOCKS: u64 = 256;

async fn disk(spdk: &Spdk, name: &str) -> Ramdisk {
    let disk = Ramdisk::builder(name).blocks(Blocks(BLOCKS));
    disk.create(spdk).await.unwrap()
}

/// An array `md` over `d0`, `d1`, ..., with one place more.
async fn array(case: &Case, count: usize) -> (Raid1, Vec<Ramdisk>) {
    let mut options = Options::default();
    options.window = Bytes(32 * 512);
    options.io_timeout = None;
    let (mut builder, mut disks) = (Raid1::builder("md").options(options), Vec::new());
    for at in 0..count {
        let name = format!("d{at}");
        disks.push(disk(&case.spdk, &name).await);
        builder = builder.base(name);
    }
    let md = builder.missing().create(&case.spdk).await.unwrap();
    (md, disks)
}

/// The thread's channel; none while I/O has all `spdk_bdev_io`s that it would keep for itself.
async fn channel(shared: &SharedDesc<ReadWrite>) -> IoChannel<ReadWrite> {
    loop {
        match shared.channel() {
            Ok(ch) => return ch,
            // SPDK's log has a line for each time.
            Err(_) => {
                for _ in 0..100 {
                    spdk_exec::yield_now().await;
                }
            }
        }
    }
}

async fn write(ch: &IoChannel<ReadWrite>, lba: u64, blocks: u64, byte: u8) -> Result<(), IoError> {
    let Ok(mut buf) = ch.alloc(Blocks(blocks)) else {
        panic!("no memory for a buffer");
    };
    buf.fill(byte);
    ch.write(Lba(lba), buf).await.0
}

async fn contents(spdk: &Spdk, name: &str) -> Vec<u8> {
    let desc = BdevDesc::open(spdk, name).read_only().unwrap();
    let ch = desc.channel().unwrap();
    let mut all = Vec::new();
    for lba in (0..BLOCKS).step_by(32) {
        let part = ch.read_blocks(Lba(lba), Blocks(32)).await.unwrap();
        all.extend(part.chunks(512).map(|block| block[0]));
    }
    drop(ch);
    desc.close().await;
    all
}

/// Waits until nothing is under way.
async fn calm(md: &Raid1) {
    loop {
        let info = md.info();
        if info.dirty_ranges == 0 && info.processes.is_empty() {
            return;
        }
        yield_now().await;
    }
}

/// Deletes all; legs in sync are equal. What they have.
async fn end(case: &Case, md: Raid1, disks: Vec<Ramdisk>) -> Vec<u8> {
    calm(&md).await;
    let bases = md.info().base_bdevs_list;
    md.delete().await;
    let mut first: Option<(String, Vec<u8>)> = None;
    for base in bases {
        let (true, Some(name)) = (base.state.to_string() == "in sync", base.name) else {
            continue;
        };
        let now = contents(&case.spdk, &name).await;
        match &first {
            Some((one, all)) => {
                let differs = (0..all.len()).find(|&at| all[at] != now[at]);
                assert_eq!(differs, None, "{one} and {name}");
            }
            None => first = Some((name, now)),
        }
    }
    for disk in disks.iter().filter(|disk| !disk.is_removed()) {
        disk.delete().await.unwrap();
    }
    first.unwrap().1
}

#[test]
fn two_legs_fail_different_writes_on_two_threads_and_nothing_acknowledged_is_lost() {
    SPDK.run(0..150, 2, async |case: Case| {
        let (md, disks) = array(&case, 2).await;
        let desc = BdevDesc::open(&case.spdk, "md").read_write().unwrap();
        let bad = |lba| {
            [Fault::new(Action::Fail)
                .io(IoType::Write)
                .range(Lba(lba), Blocks(1))]
        };
        disks[0].set_faults(bad(0));
        disks[1].set_faults(bad(64));
        let writes = case.threads.iter().enumerate().map(|(at, thread)| {
            let shared = desc.share();
            thread.run(async move || {
                let ch = channel(&shared).await;
                drop(shared);
                write(&ch, at as u64 * 64, 8, 7).await.is_ok()
            })
        });
        let done: Vec<bool> = join_all(writes)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert!(
            done[0] != done[1],
            "one of the two is on no leg that stays: {done:?}"
        );
        assert_eq!(md.info().num_base_bdevs_operational, 1);
        desc.close().await;
        let all = end(&case, md, disks).await;
        for (at, done) in done.into_iter().enumerate() {
            assert!(!done || all[at * 64..at * 64 + 8] == [7; 8]);
        }
    });
}

/// How many requests jobs had to carry out, in all cases of this process.
static RESCUED: AtomicU64 = AtomicU64::new(0);

/// 200 requests at once, which take 600 `spdk_bdev_io`s, at least; there are 255.
async fn more_than_there_is_memory_for(ch: &IoChannel<ReadWrite>, is_over: &AtomicBool) {
    let mut round = 0;
    while round < 4 || !is_over.load(Ordering::Relaxed) {
        let writes = (0..200).map(async |at| {
            let lba = (at + round) % BLOCKS;
            // Requests that overlap bring the same.
            match lba % 3 {
                0 => write(ch, lba, 1, 7).await,
                1 => ch.unmap(Lba(lba), Blocks(1)).await,
                _ => ch.write_zeroes(Lba(lba), Blocks(1)).await,
            }
        });
        for done in join_all(writes).await {
            done.unwrap();
        }
        round += 1;
    }
}

#[test]
fn s10_a_pool_that_parked_requests_have_emptied_stops_neither_a_rebuild_nor_them() {
    SPDK.run(0..4, 2, async |case: Case| {
        let (md, mut disks) = array(&case, 2).await;
        let desc = BdevDesc::open(&case.spdk, "md").read_write().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let loads: Vec<_> = case
            .threads
            .iter()
            .map(|thread| {
                let (shared, is_over) = (desc.share(), Arc::clone(&is_over));
                thread.run(async move || {
                    let ch = channel(&shared).await;
                    drop(shared);
                    more_than_there_is_memory_for(&ch, &is_over).await;
                })
            })
            .collect();
        disks.push(disk(&case.spdk, "d2").await);
        md.add("d2").await.unwrap();
        while md.info().state == ArrayState::Rebuilding {
            yield_now().await;
        }
        is_over.store(true, Ordering::Relaxed);
        for load in loads {
            load.await.unwrap();
        }
        let info = md.info();
        RESCUED.fetch_add(info.counters.rescued, Ordering::Relaxed);
        assert_eq!(
            (info.state, info.counters.faults),
            (ArrayState::Optimal, 0),
            "{info:#?}"
        );
        desc.close().await;
        end(&case, md, disks).await;
    });
    let rescued = RESCUED.load(Ordering::Relaxed);
    assert!(rescued != 0, "no request was short of memory");
}

#[test]
fn s10_of_a_mirror_of_mirrors() {
    SPDK.run(0..4, 2, async |case: Case| {
        let mut disks = Vec::new();
        for at in 0..5 {
            disks.push(disk(&case.spdk, &format!("d{at}")).await);
        }
        let mut options = Options::default();
        options.window = Bytes(32 * 512);
        options.io_timeout = None;
        let below = |name: &str, one: &str, two: &str| {
            let builder = Raid1::builder(name).base(one).base(two);
            builder.options(options.clone())
        };
        let left = below("left", "d0", "d1").create(&case.spdk).await.unwrap();
        let right = below("right", "d2", "d3").create(&case.spdk).await.unwrap();
        let top = Raid1::builder("top").base("left").base("right").missing();
        let top = top
            .options(options.clone())
            .create(&case.spdk)
            .await
            .unwrap();
        let desc = BdevDesc::open(&case.spdk, "top").read_write().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let loads: Vec<_> = case
            .threads
            .iter()
            .map(|thread| {
                let (shared, is_over) = (desc.share(), Arc::clone(&is_over));
                thread.run(async move || {
                    let ch = channel(&shared).await;
                    drop(shared);
                    more_than_there_is_memory_for(&ch, &is_over).await;
                })
            })
            .collect();
        top.add("d4").await.unwrap();
        while top.info().state == ArrayState::Rebuilding {
            yield_now().await;
        }
        is_over.store(true, Ordering::Relaxed);
        for load in loads {
            load.await.unwrap();
        }
        assert_eq!(top.info().state, ArrayState::Optimal);
        desc.close().await;
        for md in [top, left, right] {
            md.delete().await;
        }
        for disk in disks {
            disk.delete().await.unwrap();
        }
    });
}

/// Writes on every thread, each in a part of its own, until `change` is over. Every write succeeds, and in the end each
/// leg has what was acknowledged last.
async fn under_load(
    case: &Case,
    count: usize,
    change: impl AsyncFnOnce(&Case, &Raid1, &mut Vec<Ramdisk>),
) {
    let (md, mut disks) = array(case, count).await;
    let desc = BdevDesc::open(&case.spdk, "md").read_write().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let loads: Vec<_> = case
        .threads
        .iter()
        .enumerate()
        .map(|(at, thread)| {
            let (shared, stop) = (desc.share(), Arc::clone(&stop));
            let mut random = spdk_safe::test::Random::new(case.seed ^ at as u64);
            thread.run(async move || {
                let ch = channel(&shared).await;
                drop(shared);
                let mut copy = vec![0_u8; 64];
                let mut turn = 0_u8;
                while !stop.load(Ordering::Relaxed) {
                    turn = turn.wrapping_add(1);
                    let lba = random.below(60);
                    let blocks = 1 + random.below(64 - lba);
                    let at = Lba((at * 64 + lba) as u64);
                    let part = &mut copy[lba..lba + blocks];
                    match random.below(4) {
                        0 => {
                            ch.write_zeroes(at, Blocks(blocks as u64)).await.unwrap();
                            part.fill(0);
                        }
                        1 => {
                            let read = ch.read_blocks(at, Blocks(blocks as u64)).await.unwrap();
                            let read: Vec<u8> = read.chunks(512).map(|block| block[0]).collect();
                            assert_eq!(read, part);
                        }
                        2 => ch.flush(at, Blocks(blocks as u64)).await.unwrap(),
                        _ => {
                            write(&ch, at.0, blocks as u64, turn).await.unwrap();
                            part.fill(turn);
                        }
                    }
                }
                copy
            })
        })
        .collect();
    change(case, &md, &mut disks).await;
    stop.store(true, Ordering::Relaxed);
    let mut copy = Vec::new();
    for load in loads {
        copy.extend(load.await.unwrap());
    }
    desc.close().await;
    let all = end(case, md, disks).await;
    assert!(
        all[..copy.len()] == copy,
        "what was acknowledged is not there"
    );
}

#[test]
fn b5_16_13_legs_are_added_taken_away_and_pulled_out_under_load() {
    SPDK.run(0..100, 3, async |case: Case| {
        under_load(&case, 2, async |case: &Case, md, disks| {
            disks.push(disk(&case.spdk, "d2").await);
            md.add("d2").await.unwrap();
            let mut random = spdk_safe::test::Random::new(case.seed);
            for _ in 0..random.below(200) {
                yield_now().await;
            }
            match random.below(4) {
                // The target, or a source, in mid-rebuild; or one that has failed a write.
                0 => disks[2].remove(),
                1 => disks[1].remove(),
                2 => md.remove("d0").await.unwrap(),
                _ => disks[1].set_faults([Fault::new(Action::Fail).io(IoType::Write)]),
            }
            calm(md).await;
            md.scrub(false).await.unwrap();
            calm(md).await;
            assert_eq!(md.info().counters.mismatches, 0);
        })
        .await;
    });
}

#[test]
fn r97_reads_that_fail_at_random_under_load_leave_all_legs_equal() {
    SPDK.run(0..60, 3, async |case: Case| {
        under_load(&case, 3, async |_: &Case, md, disks| {
            for disk in &disks[..2] {
                let bad = Fault::new(Action::Fail).io(IoType::Read).after(3).times(3);
                let late = Fault::new(Action::DelayPolls(3))
                    .io(IoType::Write)
                    .after(5)
                    .times(20);
                disk.set_faults([bad, late]);
            }
            while disks[0].injected() + disks[1].injected() < 30 {
                yield_now().await;
            }
            for disk in disks.iter() {
                disk.set_faults([]);
            }
            assert_eq!(md.info().num_base_bdevs_operational, 3);
        })
        .await;
    });
}

#[test]
fn r96_threads_get_their_first_channel_while_a_leg_is_faulted_and_ranges_are_locked() {
    SPDK.run(0..150, 4, async |case: Case| {
        let (md, mut disks) = array(&case, 2).await;
        let desc = BdevDesc::open(&case.spdk, "md").read_write().unwrap();
        let bad = Fault::new(Action::Fail).io(IoType::Write).after(2);
        disks[0].set_faults([bad]);
        let writes = case.threads.iter().enumerate().map(|(at, thread)| {
            let shared = desc.share();
            thread.run(async move || {
                for turn in 0..3 {
                    // The last one of a thread goes, so each of these is the first.
                    let ch = channel(&shared).await;
                    write(&ch, at as u64 * 64, 64, turn + 1).await.unwrap();
                    let read = ch
                        .read_blocks(Lba(at as u64 * 64), Blocks(64))
                        .await
                        .unwrap();
                    assert!(read.chunks(512).all(|block| block[0] == turn + 1));
                }
                drop(shared);
            })
        });
        let writes = join_all(writes);
        let add = async {
            disks.push(disk(&case.spdk, "d2").await);
            md.add("d2").await.unwrap();
        };
        let (writes, ()) = join(writes, add).await;
        for write in writes {
            write.unwrap();
        }
        desc.close().await;
        let all = end(&case, md, disks).await;
        assert!(all.iter().all(|&byte| byte == 3));
    });
}

#[test]
fn t11_threads_exit_with_requests_that_are_parked_held_or_being_settled() {
    SPDK.run(0..100, 1, async |mut case: Case| {
        let (md, mut disks) = array(&case, 2).await;
        let desc = BdevDesc::open(&case.spdk, "md").read_write().unwrap();
        let slow = Fault::new(Action::DelayPolls(5)).io(IoType::Write).always();
        disks[1].set_faults([slow]);
        disks.push(disk(&case.spdk, "d2").await);
        md.add("d2").await.unwrap();
        if case.random.one_in(2) {
            disks[0].set_faults([Fault::new(Action::Fail).io(IoType::Write).after(2)]);
        }
        for at in 0..3 {
            let thread = Thread::builder(format!("short{at}"));
            let thread = thread.create(&case.spdk).await.unwrap();
            let shared = desc.share();
            let task = thread.handle().spawn(move || async move {
                let ch = channel(&shared).await;
                loop {
                    join_all((0..8).map(|at| write(&ch, at * 32, 8, 9))).await;
                }
            });
            drop(task.await.unwrap());
            for _ in 0..case.random.below(60) {
                yield_now().await;
            }
            thread.exit().await;
        }
        desc.close().await;
        end(&case, md, disks).await;
    });
}

#[test]
fn a_leg_that_leaves_while_it_is_copied_leaves_no_range_that_changes_and_is_not_dirty() {
    SPDK.run(0..30, 1, async |case: Case| {
        let (md, disks) = array(&case, 2).await;
        let desc = BdevDesc::open(&case.spdk, "md").read_write().unwrap();
        let ch = desc.channel().unwrap();
        write(&ch, 0, 1, 7).await.unwrap();
        // Zeroes come to the second leg alone, and both fail them. What makes them equal again takes its time.
        let zeroes = |done| Fault::new(Action::Short(Blocks(done))).io(IoType::WriteZeroes);
        let late = Fault::new(Action::DelayPolls(400)).io(IoType::Write);
        disks[0].set_faults([zeroes(0)]);
        disks[1].set_faults([zeroes(1), late]);
        ch.write_zeroes(Lba(0), Blocks(1)).await.unwrap_err();
        assert_eq!(
            ch.read_blocks(Lba(0), Blocks(1)).await.unwrap()[..],
            [7; 512]
        );
        while disks[1].held() == 0 {
            yield_now().await;
        }
        // Waits until nobody copies from it.
        let removed = {
            let md = md.clone();
            spdk_safe::thread::spawn_local(async move { md.remove("d0").await }).unwrap()
        };
        while md.info().base_bdevs_list[0].uuid.is_some() {
            yield_now().await;
        }
        let mut settled = None;
        while disks[1].held() != 0 || md.info().dirty_ranges != 0 {
            let is_dirty = md.info().dirty_ranges != 0;
            let now = ch.read_blocks(Lba(0), Blocks(1)).await.unwrap()[0];
            if !is_dirty {
                settled.get_or_insert(now);
            }
            yield_now().await;
        }
        let last = ch.read_blocks(Lba(0), Blocks(1)).await.unwrap()[0];
        // It was copied to the end.
        assert_eq!((settled.unwrap_or(last), last), (7, 7));
        removed.await.unwrap().unwrap();
        drop(ch);
        desc.close().await;
        end(&case, md, disks).await;
    });
}

#[test]
fn m9_an_array_is_deleted_under_load_in_mid_rebuild_and_with_its_bases() {
    SPDK.run(0..100, 2, async |case: Case| {
        let (md, mut disks) = array(&case, 2).await;
        let desc = BdevDesc::open(&case.spdk, "md").read_write().unwrap();
        let loads: Vec<_> = case
            .threads
            .iter()
            .map(|thread| {
                let shared = desc.share();
                thread.run(async move || {
                    let Ok(ch) = shared.channel() else {
                        return;
                    };
                    drop(shared);
                    for turn in 0.. {
                        let Ok(buf) = ch.alloc(Blocks(1)) else {
                            return;
                        };
                        if ch.write(Lba(turn % BLOCKS), buf).await.0.is_err() {
                            return;
                        }
                    }
                })
            })
            .collect();
        disks.push(disk(&case.spdk, "d2").await);
        md.add("d2").await.unwrap();
        let mut random = spdk_safe::test::Random::new(case.seed);
        for _ in 0..random.below(100) {
            yield_now().await;
        }
        let deleted = md.clone().delete();
        let with_bases = random.one_in(2);
        let pulled = async {
            if with_bases {
                disks[0].remove();
                disks[1].remove();
            }
        };
        let closed = async {
            for load in loads {
                load.await.unwrap();
            }
            desc.close().await;
        };
        futures_util::future::join3(deleted, pulled, closed).await;
        assert!(Raid1::list().is_empty());
        for disk in disks {
            match disk.is_removed() {
                true => disk.gone().await,
                false => disk.delete().await.unwrap(),
            }
        }
    });
}
