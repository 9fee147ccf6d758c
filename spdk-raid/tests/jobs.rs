//! What arrays do by themselves: rebuilds and scrubs, and who holds them up.

#![forbid(unsafe_code)]

use std::rc::Rc;

use spdk_bdevs::ramdisk::{self, Action, Fault, Ramdisk};
use spdk_raid::raid1::state::{ArrayState, FaultReason, LegState};
use spdk_raid::raid1::{ChangeError, MODULE, Options, Process, Progress, Raid1, ReadPolicy};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static SPDK: Harness = Harness::new(&[&MODULE, &ramdisk::MODULE]);

const BLOCKS: u64 = 1024;
/// Blocks of a window.
const WINDOW: u64 = 8;

fn options() -> Options {
    let mut options = Options::default();
    options.window = Bytes(WINDOW * 512);
    options
}

/// One window, and then none for an hour.
fn slow() -> Options {
    let mut options = options();
    options.max_bandwidth = Some(Bytes(1));
    options
}

/// Ramdisks `name0`, `name1`, ..., and an array over them.
async fn array(spdk: &Spdk, name: &str, count: usize, options: Options) -> (Raid1, Vec<Ramdisk>) {
    let mut disks = Vec::new();
    let mut builder = Raid1::builder(name).options(options);
    for at in 0..count {
        disks.push(disk(spdk, &format!("{name}{at}")).await);
        builder = builder.base(format!("{name}{at}"));
    }
    (builder.create(spdk).await.unwrap(), disks)
}

/// As [`array`], with the place of the last one free, and data on the others.
async fn degraded(
    spdk: &Spdk,
    name: &str,
    count: usize,
    options: Options,
) -> (Raid1, Vec<Ramdisk>) {
    let (md, disks) = array(spdk, name, count, options).await;
    md.remove(&format!("{name}{}", count - 1)).await.unwrap();
    let desc = BdevDesc::open(spdk, name).read_write().unwrap();
    let ch = desc.channel().unwrap();
    for lba in (0..BLOCKS).step_by(64) {
        write(&ch, lba, 64, (lba / 64 + 1) as u8).await.unwrap();
    }
    drop(ch);
    desc.close().await;
    (md, disks)
}

async fn disk(spdk: &Spdk, name: &str) -> Ramdisk {
    let disk = Ramdisk::builder(name).blocks(Blocks(BLOCKS));
    disk.create(spdk).await.unwrap()
}

/// Deletes the array, and looks that all disks are equal.
async fn equal_in_the_end(spdk: &Spdk, md: Raid1, disks: Vec<Ramdisk>) {
    md.delete().await;
    let first = contents(spdk, disks[0].name()).await;
    for disk in &disks[1..] {
        assert!(
            first == contents(spdk, disk.name()).await,
            "{:?}",
            disk.name()
        );
    }
    for disk in disks {
        disk.delete().await.unwrap();
    }
}

async fn delete(array: Raid1, disks: Vec<Ramdisk>) {
    array.delete().await;
    for disk in disks {
        disk.delete().await.unwrap();
    }
}

/// Waits until `is` says so.
async fn until(array: &Raid1, is: impl Fn(&Raid1) -> bool) {
    let executor = spdk_exec::spdk::attach().unwrap();
    for _ in 0..4000 {
        if is(array) {
            return;
        }
        executor.sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("never: {:#?}", array.info());
}

fn state(array: &Raid1, at: usize) -> LegState {
    array.info().base_bdevs_list[at].state
}

/// How far the first job is.
fn progress(array: &Raid1) -> Progress {
    array.info().processes[0].progress
}

fn rebuild(base: &str) -> Process {
    Process::Rebuild(base.into())
}

async fn write(ch: &IoChannel<ReadWrite>, lba: u64, blocks: u64, byte: u8) -> Result<(), IoError> {
    let mut buf = ch.alloc(Blocks(blocks)).unwrap();
    buf.fill(byte);
    ch.write(Lba(lba), buf).await.0
}

/// The first byte of each block.
async fn read(ch: &IoChannel<ReadWrite>, lba: u64, blocks: u64) -> Result<Vec<u8>, IoError> {
    let buf = ch.read_blocks(Lba(lba), Blocks(blocks)).await?;
    Ok(buf.chunks(512).map(|block| block[0]).collect())
}

/// All of a bdev's contents.
async fn contents(spdk: &Spdk, name: &str) -> Vec<u8> {
    let desc = BdevDesc::open(spdk, name).read_only().unwrap();
    let ch = desc.channel().unwrap();
    let buf = ch.read_blocks(Lba(0), desc.num_blocks()).await.unwrap();
    drop(ch);
    desc.close().await;
    buf.to_vec()
}

#[test]
fn a_rebuild_moves_no_more_than_it_may_and_that_can_be_changed_under_way() {
    SPDK.run(async |spdk| {
        let (md, disks) = degraded(&spdk, "bw", 2, slow()).await;
        md.add("bw1").await.unwrap();
        until(&md, |md| progress(md).blocks == WINDOW).await;
        // It waits for the next 4096 bytes to be paid for.
        let seen = progress(&md);
        assert_eq!((seen.blocks, seen.percent), (WINDOW, 0));
        assert_eq!(md.info().state, ArrayState::Rebuilding);
        md.set_options(options()).await.unwrap();
        until(&md, |md| md.info().state == ArrayState::Optimal).await;
        assert!(md.info().processes.is_empty());
        equal_in_the_end(&spdk, md, disks).await;
    });
}

#[test]
fn a_rebuild_that_is_paused_stands_still_while_io_goes_on_and_is_resumed() {
    SPDK.run(async |spdk| {
        let (md, disks) = degraded(&spdk, "pause", 2, slow()).await;
        let desc = BdevDesc::open(&spdk, "pause").read_write().unwrap();
        let ch = desc.channel().unwrap();
        md.add("pause1").await.unwrap();
        until(&md, |md| progress(md).blocks == WINDOW).await;
        md.pause(&rebuild("pause1")).unwrap();
        md.set_options(options()).await.unwrap();
        assert!(md.info().processes[0].is_paused);
        // Below its front, at it, and above.
        for round in 0..20 {
            for lba in [0, WINDOW - 4, WINDOW, 512, BLOCKS - 8] {
                write(&ch, lba, 8, round).await.unwrap();
                assert_eq!(read(&ch, lba, 8).await.unwrap(), [round; 8]);
            }
        }
        until(&md, |md| progress(md).rate_mib_per_sec.is_none()).await;
        let seen = progress(&md);
        assert_eq!((seen.blocks, seen.seconds_left), (WINDOW, None));
        md.resume(&rebuild("pause1")).unwrap();
        until(&md, |md| md.info().state == ArrayState::Optimal).await;
        let over = md.resume(&rebuild("pause1"));
        assert_eq!(over, Err(ChangeError::NoJob));
        drop(ch);
        desc.close().await;
        equal_in_the_end(&spdk, md, disks).await;
    });
}

#[test]
fn a_rebuild_that_is_aborted_lets_go_of_its_base_which_can_be_added_again() {
    SPDK.run(async |spdk| {
        let (md, disks) = degraded(&spdk, "abort", 2, slow()).await;
        for pause in [false, true] {
            md.add("abort1").await.unwrap();
            if pause {
                md.pause(&rebuild("abort1")).unwrap();
            }
            md.abort(&rebuild("abort1")).await.unwrap();
            let reason = FaultReason::Asked;
            assert_eq!(state(&md, 1), LegState::Faulted { reason });
            assert!(md.info().processes.is_empty());
            let again = md.abort(&rebuild("abort1")).await;
            assert_eq!(again, Err(ChangeError::NoJob));
            // Nobody has it.
            let desc = BdevDesc::open(&spdk, "abort1").read_write().unwrap();
            let desc = desc.claim(&MODULE).map_err(|(error, _)| error).unwrap();
            desc.close().await;
        }
        md.set_options(options()).await.unwrap();
        md.add("abort1").await.unwrap();
        until(&md, |md| md.info().state == ArrayState::Optimal).await;
        let done = md.abort(&rebuild("abort1")).await;
        assert_eq!(done, Err(ChangeError::NoJob));
        assert_eq!(md.info().state, ArrayState::Optimal);
        equal_in_the_end(&spdk, md, disks).await;
    });
}

#[test]
fn a_paused_rebuild_ends_when_its_base_goes_is_taken_away_or_the_array_is_deleted() {
    SPDK.run(async |spdk| {
        let (md, mut disks) = degraded(&spdk, "pgone", 2, slow()).await;
        md.add("pgone1").await.unwrap();
        md.pause(&rebuild("pgone1")).unwrap();
        md.remove("pgone1").await.unwrap();
        until(&md, |md| md.info().processes.is_empty()).await;

        md.add("pgone1").await.unwrap();
        md.pause(&rebuild("pgone1")).unwrap();
        let pulled = disks.pop().unwrap();
        pulled.remove();
        pulled.gone().await;
        until(&md, |md| md.info().processes.is_empty()).await;
        let reason = FaultReason::Gone;
        assert_eq!(state(&md, 1), LegState::Faulted { reason });

        disks.push(disk(&spdk, "pgone1").await);
        md.add("pgone1").await.unwrap();
        md.pause(&rebuild("pgone1")).unwrap();
        delete(md, disks).await;
    });
}

#[test]
fn a_base_is_free_though_a_rebuild_that_is_paused_has_read_it() {
    SPDK.run(async |spdk| {
        let (md, disks) = degraded(&spdk, "pfree", 3, slow()).await;
        md.add("pfree2").await.unwrap();
        until(&md, |md| progress(md).blocks == WINDOW).await;
        md.pause(&rebuild("pfree2")).unwrap();
        // Done when nobody has it any more.
        md.remove("pfree0").await.unwrap();
        assert!(md.info().processes[0].is_paused);
        disks[0].delete().await.unwrap();
        md.resume(&rebuild("pfree2")).unwrap();
        md.set_options(options()).await.unwrap();
        until(&md, |md| md.info().processes.is_empty()).await;
        assert_eq!(state(&md, 2), LegState::InSync);
        equal_in_the_end(&spdk, md, disks[1..].to_vec()).await;
    });
}

#[test]
fn a_scrub_is_paused_resumed_and_aborted() {
    SPDK.run(async |spdk| {
        let (md, disks) = array(&spdk, "sp", 2, slow()).await;
        assert_eq!(md.pause(&Process::Scrub), Err(ChangeError::NoJob));
        md.scrub(false).await.unwrap();
        until(&md, |md| progress(md).blocks == WINDOW).await;
        md.pause(&Process::Scrub).unwrap();
        md.set_options(options()).await.unwrap();
        until(&md, |md| progress(md).rate_mib_per_sec.is_none()).await;
        assert_eq!(progress(&md).blocks, WINDOW);
        assert_eq!(md.scrub(false).await, Err(ChangeError::Scrubbing));
        md.abort(&Process::Scrub).await.unwrap();
        assert!(md.info().processes.is_empty());
        assert_eq!(md.info().state, ArrayState::Optimal);

        md.set_options(slow()).await.unwrap();
        md.scrub(false).await.unwrap();
        md.pause(&Process::Scrub).unwrap();
        md.set_options(options()).await.unwrap();
        md.resume(&Process::Scrub).unwrap();
        until(&md, |md| md.info().processes.is_empty()).await;
        equal_in_the_end(&spdk, md, disks).await;
    });
}

#[test]
fn several_arrays_are_rebuilt_at_once() {
    SPDK.run(async |spdk| {
        let mut all = Vec::new();
        for name in ["once-a", "once-b", "once-c"] {
            let (md, disks) = degraded(&spdk, name, 2, slow()).await;
            md.add(&format!("{name}1")).await.unwrap();
            all.push((md, disks));
        }
        for (md, _) in &all {
            until(md, |md| progress(md).blocks == WINDOW).await;
        }
        let rebuilding = |md: &Raid1| md.info().state == ArrayState::Rebuilding;
        assert!(all.iter().all(|(md, _)| rebuilding(md)));
        // The last one is done first.
        for (md, _) in all.iter().rev() {
            md.set_options(options()).await.unwrap();
            until(md, |md| md.info().state == ArrayState::Optimal).await;
        }
        for (md, disks) in all {
            equal_in_the_end(&spdk, md, disks).await;
        }
    });
}

#[test]
fn a_window_that_is_copied_holds_up_writes_to_itself_and_nothing_else() {
    SPDK.run(async |spdk| {
        let (md, disks) = degraded(&spdk, "stall", 3, options()).await;
        let desc = BdevDesc::open(&spdk, "stall").read_write().unwrap();
        let ch = Rc::new(desc.channel().unwrap());
        // The copy of one window does not end.
        let hold = Fault::new(Action::Hold).io(IoType::Read);
        disks[0].set_faults([hold.range(Lba(512), Blocks(1))]);
        md.add("stall2").await.unwrap();
        until(&md, |_| disks[0].held() == 1).await;
        assert_eq!(progress(&md).blocks, 512);
        for lba in [0, 504, 520, BLOCKS - 8] {
            write(&ch, lba, 8, 77).await.unwrap();
        }
        for lba in (0..BLOCKS).step_by(8) {
            read(&ch, lba, 8).await.unwrap();
        }
        assert_eq!(md.info().counters.parked, 0);
        let executor = spdk_exec::spdk::attach().unwrap();
        let parked = executor.spawn({
            let ch = Rc::clone(&ch);
            async move { write(&ch, 516, 8, 78).await }
        });
        until(&md, |md| md.info().counters.parked == 1).await;
        assert_eq!(progress(&md).blocks, 512);
        disks[0].let_go();
        parked.await.unwrap().unwrap();
        assert_eq!(read(&ch, 516, 8).await.unwrap(), [78; 8]);
        until(&md, |md| md.info().state == ArrayState::Optimal).await;
        drop(ch);
        desc.close().await;
        equal_in_the_end(&spdk, md, disks).await;
    });
}

fn medium_error(io: IoType, lba: u64) -> Fault {
    let fault = Fault::new(Action::Nvme { sct: 2, sc: 0x81 });
    fault.io(io).range(Lba(lba), Blocks(1))
}

#[test]
fn a_source_that_can_not_be_read_is_repaired_from_another_and_the_rebuild_goes_on() {
    SPDK.run(async |spdk| {
        let (md, disks) = degraded(&spdk, "src", 3, options()).await;
        // No one has all of the window at 96.
        disks[0].set_faults([
            medium_error(IoType::Read, 100).always(),
            medium_error(IoType::Read, 701),
        ]);
        disks[1].set_faults([medium_error(IoType::Read, 103).always()]);
        md.add("src2").await.unwrap();
        until(&md, |md| md.info().state == ArrayState::Optimal).await;
        until(&md, |md| md.info().counters.repaired >= 2).await;
        assert_eq!(md.info().counters.not_repaired, 0);
        for disk in &disks {
            disk.set_faults([]);
        }
        equal_in_the_end(&spdk, md, disks).await;
    });
}

#[test]
fn a_block_that_no_source_can_read_fails_the_rebuild_and_nothing_else() {
    SPDK.run(async |spdk| {
        let (md, disks) = degraded(&spdk, "nosrc", 2, options()).await;
        disks[0].set_faults([medium_error(IoType::Read, 100).always()]);
        md.add("nosrc1").await.unwrap();
        until(&md, |md| md.info().processes.is_empty()).await;
        let reason = FaultReason::Rebuild;
        assert_eq!(state(&md, 1), LegState::Faulted { reason });
        assert_eq!(md.info().state, ArrayState::Degraded);
        let desc = BdevDesc::open(&spdk, "nosrc").read_write().unwrap();
        let ch = desc.channel().unwrap();
        read(&ch, 100, 1).await.unwrap_err();
        assert_eq!(read(&ch, 101, 8).await.unwrap(), [2; 8]);
        // What is written is there again.
        disks[0].set_faults([]);
        write(&ch, 100, 1, 9).await.unwrap();
        drop(ch);
        desc.close().await;
        md.add("nosrc1").await.unwrap();
        until(&md, |md| md.info().state == ArrayState::Optimal).await;
        equal_in_the_end(&spdk, md, disks).await;
    });
}

#[test]
fn a_target_that_can_not_be_written_or_goes_is_faulted_with_that_reason() {
    SPDK.run(async |spdk| {
        let (md, mut disks) = degraded(&spdk, "tgt", 2, options()).await;
        disks[1].set_faults([medium_error(IoType::Write, 200)]);
        md.add("tgt1").await.unwrap();
        until(&md, |md| md.info().processes.is_empty()).await;
        let reason = FaultReason::Io;
        assert_eq!(state(&md, 1), LegState::Faulted { reason });

        let gone = Fault::new(Action::Remove).io(IoType::Write);
        disks[1].set_faults([gone.range(Lba(200), Blocks(1))]);
        md.add("tgt1").await.unwrap();
        disks.pop().unwrap().gone().await;
        until(&md, |md| md.info().processes.is_empty()).await;
        // Whichever was seen first: that it failed, or that it is gone.
        let LegState::Faulted { reason } = state(&md, 1) else {
            panic!("{:?}", md.info());
        };
        assert!(matches!(reason, FaultReason::Io | FaultReason::Gone));
        assert_eq!(md.info().state, ArrayState::Degraded);

        disks.push(disk(&spdk, "tgt1").await);
        md.add("tgt1").await.unwrap();
        until(&md, |md| md.info().state == ArrayState::Optimal).await;
        equal_in_the_end(&spdk, md, disks).await;
    });
}

#[test]
fn a_range_that_is_to_be_repaired_already_is_not_repaired_twice() {
    SPDK.run(async |spdk| {
        let mut primary = options();
        primary.read_policy = ReadPolicy::Primary;
        let (md, disks) = array(&spdk, "twice", 3, primary).await;
        let desc = BdevDesc::open(&spdk, "twice").read_write().unwrap();
        let ch = desc.channel().unwrap();
        write(&ch, 0, 16, 1).await.unwrap();
        disks[0].set_faults([medium_error(IoType::Read, 4).times(3)]);
        // The first read is answered by it, the repair waits for it.
        let hold = Fault::new(Action::Hold).io(IoType::Read).after(1);
        disks[1].set_faults([hold]);
        read(&ch, 0, 8).await.unwrap();
        until(&md, |_| disks[1].held() == 1).await;
        for _ in 0..2 {
            assert_eq!(read(&ch, 2, 4).await.unwrap(), [1; 4]);
        }
        // One of them, and nobody knows yet that another leg could not be read.
        assert_eq!(md.info().repairs, 1);
        disks[1].let_go();
        until(&md, |md| {
            md.info().repairs == 0 && md.info().counters.repaired >= 2
        })
        .await;
        let counts = md.info().counters;
        // The range, and what held it up.
        assert_eq!((counts.repaired, counts.not_repaired), (2, 0));
        drop(ch);
        desc.close().await;
        delete(md, disks).await;
    });
}

#[test]
fn a_scrub_goes_on_where_blocks_can_not_be_read() {
    SPDK.run(async |spdk| {
        let (md, disks) = array(&spdk, "unread", 2, options()).await;
        let desc = BdevDesc::open(&spdk, "unread").read_write().unwrap();
        let ch = desc.channel().unwrap();
        write(&ch, 0, 512, 1).await.unwrap();
        drop(ch);
        desc.close().await;
        // Another block of the same window differs.
        let desc = BdevDesc::open(&spdk, "unread").read_write().unwrap();
        let ch = desc.channel().unwrap();
        disks[1].set_faults([Fault::new(Action::Corrupt).io(IoType::Write)]);
        write(&ch, 98, 1, 1).await.unwrap();
        drop(ch);
        desc.close().await;
        for disk in &disks {
            disk.set_faults([medium_error(IoType::Read, 100).always()]);
        }
        md.scrub(true).await.unwrap();
        until(&md, |md| md.info().processes.is_empty()).await;
        let counts = md.info().counters;
        assert_eq!((counts.unreadable, counts.mismatches), (1, 1));
        assert_eq!(md.info().state, ArrayState::Optimal);
        // One of them can: the other is written.
        for disk in &disks {
            disk.set_faults([]);
        }
        disks[0].set_faults([medium_error(IoType::Read, 100).always()]);
        disks[1].set_faults([Fault::new(Action::Corrupt).io(IoType::Write)]);
        md.reset_counters();
        md.scrub(true).await.unwrap();
        until(&md, |md| md.info().processes.is_empty()).await;
        assert_eq!(md.info().counters.unreadable, 0);
        assert_eq!(md.info().state, ArrayState::Optimal);
        for disk in &disks {
            disk.set_faults([]);
        }
        equal_in_the_end(&spdk, md, disks).await;
    });
}

#[test]
fn an_array_that_begins_behind_the_first_blocks_of_its_bases_leaves_those_alone() {
    SPDK.run(async |spdk| {
        const OFFSET: u64 = 40;
        let mut disks = Vec::new();
        let mut builder = Raid1::builder("off").options(options());
        for at in 0..2 {
            let disk = disk(&spdk, &format!("off{at}")).await;
            let desc = BdevDesc::open(&spdk, disk.name()).read_write().unwrap();
            let ch = desc.channel().unwrap();
            write(&ch, 0, OFFSET, 0xaa).await.unwrap();
            drop(ch);
            desc.close().await;
            builder = builder.base(disk.name());
            disks.push(disk);
        }
        let md = builder.data_offset(Blocks(OFFSET)).create(&spdk).await;
        let md = md.unwrap();
        assert_eq!(md.num_blocks(), Blocks(BLOCKS - OFFSET));
        let base = &md.info().base_bdevs_list[1];
        assert_eq!(
            (base.data_offset, base.data_size),
            (OFFSET, BLOCKS - OFFSET)
        );
        let desc = BdevDesc::open(&spdk, "off").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let end = md.num_blocks().0;
        write(&ch, 0, 8, 1).await.unwrap();
        write(&ch, end - 8, 8, 2).await.unwrap();
        ch.unmap(Lba(8), Blocks(8)).await.unwrap();
        ch.write_zeroes(Lba(16), Blocks(8)).await.unwrap();
        ch.flush(Lba(0), Blocks(end)).await.unwrap();
        assert_eq!(read(&ch, 0, 8).await.unwrap(), [1; 8]);
        // It is repaired where it is.
        disks[0].set_faults([medium_error(IoType::Read, OFFSET)]);
        assert_eq!(read(&ch, 0, 8).await.unwrap(), [1; 8]);
        until(&md, |md| md.info().counters.repaired == 1).await;

        md.remove("off1").await.unwrap();
        write(&ch, 100, 8, 3).await.unwrap();
        md.add("off1").await.unwrap();
        until(&md, |md| md.info().state == ArrayState::Optimal).await;
        md.scrub(false).await.unwrap();
        until(&md, |md| md.info().processes.is_empty()).await;
        assert_eq!(md.info().counters.mismatches, 0);
        for disk in &disks {
            disk.resize(Blocks(BLOCKS + 64)).unwrap();
        }
        until(&md, |md| md.num_blocks().0 == end + 64).await;
        write(&ch, end + 56, 8, 4).await.unwrap();
        assert_eq!(read(&ch, end + 56, 8).await.unwrap(), [4; 8]);
        drop(ch);
        desc.close().await;
        until(&md, |md| md.info().dirty_ranges == 0).await;
        let all = contents(&spdk, "off0").await;
        let first: Vec<_> = all.chunks(512).map(|block| block[0]).collect();
        assert_eq!(first[..OFFSET as usize], [0xaa; OFFSET as usize]);
        assert_eq!(
            first[OFFSET as usize..][..24],
            [[1; 8], [0; 8], [0; 8]].concat()
        );
        assert_eq!(first[OFFSET as usize + 100], 3);
        assert_eq!(first[first.len() - 8..], [4; 8]);
        equal_in_the_end(&spdk, md, disks).await;
    });
}

#[test]
fn bases_that_are_not_taken_as_equal_are_made_so_from_the_first_which_alone_is_read_meanwhile() {
    SPDK.run(async |spdk| {
        let mut options = slow();
        options.read_policy = ReadPolicy::RoundRobin;
        let mut disks = Vec::new();
        let mut builder = Raid1::builder("init").options(options).resync();
        for at in 0..3 {
            let disk = disk(&spdk, &format!("init{at}")).await;
            let desc = BdevDesc::open(&spdk, disk.name()).read_write().unwrap();
            let ch = desc.channel().unwrap();
            write(&ch, 0, BLOCKS, at + 1).await.unwrap();
            drop(ch);
            desc.close().await;
            builder = builder.base(disk.name());
            disks.push(disk);
        }
        let md = builder.create(&spdk).await.unwrap();
        let desc = BdevDesc::open(&spdk, "init").read_write().unwrap();
        let ch = desc.channel().unwrap();
        for _ in 0..6 {
            assert_eq!(read(&ch, 0, 16).await.unwrap(), [1; 16]);
        }
        until(&md, |md| {
            !md.info().processes.is_empty() && progress(md).blocks == WINDOW
        })
        .await;
        assert_eq!(md.info().processes[0].kind, "resync");
        assert_eq!(md.info().dirty_ranges, 1);
        md.pause(&Process::Resync).unwrap();
        write(&ch, 500, 8, 9).await.unwrap();
        assert_eq!(read(&ch, 500, 8).await.unwrap(), [9; 8]);
        md.resume(&Process::Resync).unwrap();
        md.set_options(self::options()).await.unwrap();
        until(&md, |md| md.info().processes.is_empty()).await;
        assert_eq!(md.info().dirty_ranges, 0);
        assert_eq!(md.info().state, ArrayState::Optimal);
        drop(ch);
        desc.close().await;
        equal_in_the_end(&spdk, md, disks).await;
    });
}

#[test]
fn the_oldest_io_of_a_leg_is_seen_a_slow_leg_is_counted_and_a_time_out_counts_at_once() {
    SPDK.run(async |spdk| {
        let mut patient = options();
        patient.io_timeout = None;
        patient.slow_io = None;
        let (md, disks) = array(&spdk, "old", 2, patient.clone()).await;
        let desc = BdevDesc::open(&spdk, "old").read_write().unwrap();
        let ch = Rc::new(desc.channel().unwrap());
        disks[1].set_faults([Fault::new(Action::Hold).io(IoType::Write)]);
        let executor = spdk_exec::spdk::attach().unwrap();
        let held = executor.spawn({
            let ch = Rc::clone(&ch);
            async move { write(&ch, 0, 8, 1).await }
        });
        let oldest = |md: &Raid1, at: usize| md.info().base_bdevs_list[at].oldest_io_ms;
        until(&md, |md| oldest(md, 1).is_some_and(|age| age >= 1000)).await;
        assert_eq!(oldest(&md, 0), None);
        let counts = md.info().counters;
        assert_eq!((counts.slow, counts.timeouts), (0, 0));

        patient.slow_io = Some(std::time::Duration::from_secs(1));
        md.set_options(patient.clone()).await.unwrap();
        until(&md, |md| md.info().counters.slow == 1).await;
        assert_eq!(md.info().counters.timeouts, 0);

        patient.io_timeout = Some(std::time::Duration::from_secs(2));
        md.set_options(patient).await.unwrap();
        held.await.unwrap().unwrap();
        let reason = FaultReason::TimedOut;
        assert_eq!(state(&md, 1), LegState::Faulted { reason });
        assert_eq!(md.info().counters.slow, 1);
        assert_eq!(oldest(&md, 1), None);
        drop(ch);
        desc.close().await;
        delete(md, disks).await;
    });
}

#[test]
fn what_spdk_counts_of_each_base_is_told() {
    SPDK.run(async |spdk| {
        let (md, disks) = array(&spdk, "stats", 2, options()).await;
        let desc = BdevDesc::open(&spdk, "stats").read_write().unwrap();
        let ch = desc.channel().unwrap();
        for _ in 0..3 {
            write(&ch, 0, 8, 1).await.unwrap();
        }
        for _ in 0..5 {
            read(&ch, 0, 8).await.unwrap();
        }
        let stats = md.base_stats().await.unwrap();
        let names: Vec<_> = stats.iter().map(|base| base.name.as_str()).collect();
        assert_eq!(names, ["stats0", "stats1"]);
        let writes: Vec<_> = stats.iter().map(|base| base.writes).collect();
        assert_eq!(writes, [3, 3]);
        let reads: u64 = stats.iter().map(|base| base.reads).sum();
        assert_eq!(reads, 5);
        assert!(
            stats
                .iter()
                .all(|base| base.stats.write.mean_latency().is_some())
        );
        drop(ch);
        desc.close().await;
        delete(md, disks).await;
    });
}

#[test]
fn a_source_that_is_pulled_out_in_mid_rebuild_leaves_it_to_another() {
    SPDK.run(async |spdk| {
        let (md, mut disks) = degraded(&spdk, "pull", 3, options()).await;
        let gone = Fault::new(Action::Remove).io(IoType::Read);
        disks[0].set_faults([gone.range(Lba(512), Blocks(1))]);
        md.add("pull2").await.unwrap();
        disks.remove(0).gone().await;
        until(&md, |md| md.info().processes.is_empty()).await;
        assert!(matches!(state(&md, 0), LegState::Faulted { .. }));
        assert_eq!(state(&md, 2), LegState::InSync);
        assert_eq!(md.info().state, ArrayState::Degraded);
        equal_in_the_end(&spdk, md, disks).await;
    });
}

#[test]
fn the_only_source_that_is_pulled_out_in_mid_rebuild_ends_the_array_and_frees_its_target() {
    SPDK.run(async |spdk| {
        let (md, mut disks) = degraded(&spdk, "only", 2, slow()).await;
        md.add("only1").await.unwrap();
        until(&md, |md| progress(md).blocks == WINDOW).await;
        disks[0].remove();
        disks.remove(0).gone().await;
        until(&md, |md| Raid1::find(md.name()).is_none()).await;
        assert_eq!(md.abort(&rebuild("only1")).await, Err(ChangeError::Ending));
        let desc = BdevDesc::open(&spdk, "only1").read_write().unwrap();
        let desc = desc.claim(&MODULE).map_err(|(error, _)| error).unwrap();
        desc.close().await;
        disks[0].delete().await.unwrap();
    });
}

/// Fills a leg, with `share` percent for the job, under reads that never stop; how many there were.
async fn reads_beside_a_rebuild(spdk: &Spdk, name: &str, share: u32) -> u64 {
    let mut options = options();
    options.share = share;
    let (md, disks) = degraded(spdk, name, 2, options).await;
    let desc = BdevDesc::open(spdk, name).read_only().unwrap();
    let ch = desc.channel().unwrap();
    let base = format!("{name}1");
    md.add(&base).await.unwrap();
    let mut reads = 0;
    while state(&md, 1) != LegState::InSync {
        ch.read_blocks(Lba(reads % BLOCKS), Blocks(1))
            .await
            .unwrap();
        reads += 1;
    }
    drop(ch);
    desc.close().await;
    equal_in_the_end(spdk, md, disks).await;
    reads
}

#[test]
fn a_rebuild_rests_while_users_have_io_and_ends_all_the_same() {
    SPDK.run(async |spdk| {
        let greedy = reads_beside_a_rebuild(&spdk, "greedy", 100).await;
        let modest = reads_beside_a_rebuild(&spdk, "modest", 5).await;
        println!(
            "{greedy} reads beside a rebuild that does not rest, {modest} beside one that does"
        );
        assert!(modest > 2 * greedy, "{modest} {greedy}");
    });
}

#[test]
fn a_scrub_rests_while_users_have_io_and_ends_all_the_same() {
    async fn reads_beside_a_scrub(spdk: &Spdk, name: &str, share: u32) -> u64 {
        let mut options = options();
        options.share = share;
        let (md, disks) = array(spdk, name, 2, options).await;
        let desc = BdevDesc::open(spdk, name).read_only().unwrap();
        let ch = desc.channel().unwrap();
        md.scrub(false).await.unwrap();
        let mut reads = 0;
        while !md.info().processes.is_empty() {
            // Many at once: one at a time may miss a window, which is short.
            let some = (0..16).map(|at| ch.read_blocks(Lba((reads + at) % BLOCKS), Blocks(1)));
            for read in futures_util::future::join_all(some).await {
                read.unwrap();
            }
            reads += 16;
        }
        drop(ch);
        desc.close().await;
        equal_in_the_end(spdk, md, disks).await;
        reads
    }
    SPDK.run(async |spdk| {
        let greedy = reads_beside_a_scrub(&spdk, "greedy", 100).await;
        let modest = reads_beside_a_scrub(&spdk, "modest", 5).await;
        println!("{greedy} reads beside a scrub that does not rest, {modest} beside one that does");
        assert!(modest > 2 * greedy, "{modest} {greedy}");
    });
}

#[test]
fn i5_a_share_is_one_to_a_hundred_percent() {
    SPDK.run(async |spdk| {
        let (md, disks) = array(&spdk, "share", 2, options()).await;
        for share in [0, 101] {
            let mut options = md.options();
            options.share = share;
            let error = md.set_options(options).await.unwrap_err();
            assert!(error.to_string().contains("1 to 100"), "{error}");
        }
        assert_eq!(md.options().share, 25);
        delete(md, disks).await;
    });
}
