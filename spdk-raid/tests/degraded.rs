//! Arrays whose legs fail, go and come, over ramdisks.

#![forbid(unsafe_code)]

use std::rc::Rc;

use spdk_bdevs::ramdisk::{self, Action, Fault, Ramdisk};
use spdk_raid::raid1::state::{ArrayState, FaultReason, LegState};
use spdk_raid::raid1::{ChangeError, MODULE, Raid1};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static SPDK: Harness = Harness::new(&[&MODULE, &ramdisk::MODULE]);

const BLOCKS: u64 = 1024;

/// Ramdisks `name0`, `name1`, ..., and an array over them.
async fn array(spdk: &Spdk, name: &str, count: usize) -> (Raid1, Vec<Ramdisk>) {
    let mut disks = Vec::new();
    let mut builder = Raid1::builder(name);
    for at in 0..count {
        disks.push(disk(spdk, &format!("{name}{at}")).await);
        builder = builder.base(format!("{name}{at}"));
    }
    (builder.create(spdk).await.unwrap(), disks)
}

async fn disk(spdk: &Spdk, name: &str) -> Ramdisk {
    let disk = Ramdisk::builder(name).blocks(Blocks(BLOCKS));
    disk.create(spdk).await.unwrap()
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
    for _ in 0..2000 {
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
fn s3_a_leg_that_fails_a_write_is_faulted_before_the_write_succeeds() {
    SPDK.run(async |spdk| {
        let (md, disks) = array(&spdk, "s3-", 2).await;
        let desc = BdevDesc::open(&spdk, "s3-").read_write().unwrap();
        let ch = desc.channel().unwrap();
        write(&ch, 0, 8, 1).await.unwrap();
        disks[0].set_faults([Fault::new(Action::Fail).io(IoType::Write)]);
        write(&ch, 0, 8, 2).await.unwrap();
        let reason = FaultReason::Io;
        assert_eq!(state(&md, 0), LegState::Faulted { reason });
        assert_eq!(md.info().state, ArrayState::Degraded);
        for _ in 0..4 {
            assert_eq!(read(&ch, 0, 8).await.unwrap(), [2; 8]);
        }
        drop(ch);
        desc.close().await;
        delete(md, disks).await;
    });
}

#[test]
fn s4_a_read_error_on_the_last_good_leg_fails_that_read_and_nothing_else() {
    SPDK.run(async |spdk| {
        let (md, disks) = array(&spdk, "s4-", 2).await;
        md.remove("s4-1").await.unwrap();
        let desc = BdevDesc::open(&spdk, "s4-").read_write().unwrap();
        let ch = desc.channel().unwrap();
        write(&ch, 0, 8, 1).await.unwrap();
        disks[0].set_faults([Fault::new(Action::Fail).io(IoType::Read)]);
        read(&ch, 0, 8).await.unwrap_err();
        assert_eq!(read(&ch, 0, 8).await.unwrap(), [1; 8]);
        assert_eq!(md.info().state, ArrayState::Degraded);
        let last = md.remove("s4-0").await.unwrap_err();
        assert!(matches!(last, ChangeError::Last { .. }), "{last}");
        drop(ch);
        desc.close().await;
        delete(md, disks).await;
    });
}

#[test]
fn s5_a_write_that_every_leg_fails_fails_and_the_legs_are_made_equal() {
    SPDK.run(async |spdk| {
        let (md, disks) = array(&spdk, "s5-", 3).await;
        let desc = BdevDesc::open(&spdk, "s5-").read_write().unwrap();
        let ch = desc.channel().unwrap();
        write(&ch, 0, 8, 1).await.unwrap();
        // Each has written another part of it.
        for (at, disk) in disks.iter().enumerate() {
            disk.set_faults([Fault::new(Action::Short(Blocks(at as u64 + 1))).io(IoType::Write)]);
        }
        write(&ch, 0, 8, 2).await.unwrap_err();
        assert_eq!(md.info().state, ArrayState::Optimal);
        let first = read(&ch, 0, 8).await.unwrap();
        for _ in 0..6 {
            assert_eq!(read(&ch, 0, 8).await.unwrap(), first);
        }
        until(&md, |md| md.info().dirty_ranges == 0).await;
        assert_eq!(md.info().counters.resynced, 1);
        assert_eq!(read(&ch, 0, 8).await.unwrap(), first);
        drop(ch);
        desc.close().await;
        md.delete().await;
        let one = contents(&spdk, "s5-0").await;
        assert!(one == contents(&spdk, "s5-1").await && one == contents(&spdk, "s5-2").await);
        for disk in disks {
            disk.delete().await.unwrap();
        }
    });
}

#[test]
fn a_read_that_a_leg_fails_is_answered_by_another_and_the_leg_is_repaired() {
    SPDK.run(async |spdk| {
        let (md, disks) = array(&spdk, "rr-", 2).await;
        let desc = BdevDesc::open(&spdk, "rr-").read_write().unwrap();
        let ch = desc.channel().unwrap();
        write(&ch, 0, 8, 1).await.unwrap();
        disks[0].set_faults([Fault::new(Action::Fail).io(IoType::Read)]);
        assert_eq!(read(&ch, 0, 8).await.unwrap(), [1; 8]);
        until(&md, |md| md.info().counters.repaired == 1).await;
        assert_eq!(md.info().state, ArrayState::Optimal);
        // If that fails the leg is faulted.
        disks[0].set_faults([
            Fault::new(Action::Fail).io(IoType::Read),
            Fault::new(Action::Fail).io(IoType::Write),
        ]);
        assert_eq!(read(&ch, 0, 8).await.unwrap(), [1; 8]);
        until(&md, |md| md.info().state == ArrayState::Degraded).await;
        assert_eq!(read(&ch, 0, 8).await.unwrap(), [1; 8]);
        drop(ch);
        desc.close().await;
        delete(md, disks).await;
    });
}

#[test]
fn a_leg_that_is_pulled_out_under_load_fails_no_io_and_another_takes_its_place() {
    SPDK.run(async |spdk| {
        let (md, mut disks) = array(&spdk, "hot", 2).await;
        let desc = BdevDesc::open(&spdk, "hot").read_write().unwrap();
        let ch = Rc::new(desc.channel().unwrap());
        let executor = spdk_exec::spdk::attach().unwrap();
        let load = (0..8_u64).map(|lane| {
            let ch = Rc::clone(&ch);
            executor.spawn(async move {
                for round in 0..200_u64 {
                    let lba = lane * 128 + round % 120;
                    write(&ch, lba, 8, round as u8).await.unwrap();
                    assert_eq!(read(&ch, lba, 8).await.unwrap(), [round as u8; 8]);
                }
            })
        });
        let load: Vec<_> = load.collect();
        let pulled = disks.remove(1);
        pulled.remove();
        pulled.gone().await;
        until(&md, |md| md.info().state == ArrayState::Degraded).await;
        let new = disk(&spdk, "hot-new").await;
        md.add("hot-new").await.unwrap();
        disks.push(new);
        for lane in load {
            lane.await.unwrap();
        }
        until(&md, |md| md.info().state == ArrayState::Optimal).await;
        drop(ch);
        desc.close().await;
        md.delete().await;
        assert!(contents(&spdk, "hot0").await == contents(&spdk, "hot-new").await);
        for disk in disks {
            disk.delete().await.unwrap();
        }
    });
}

#[test]
fn a_scrub_finds_what_differs_and_makes_it_equal() {
    SPDK.run(async |spdk| {
        let (md, disks) = array(&spdk, "scrub", 2).await;
        let desc = BdevDesc::open(&spdk, "scrub").read_write().unwrap();
        let ch = desc.channel().unwrap();
        disks[1].set_faults([Fault::new(Action::Corrupt).io(IoType::Write)]);
        write(&ch, 7, 1, 1).await.unwrap();
        for (repair, found) in [(false, 1), (true, 1), (true, 0)] {
            md.reset_counters();
            md.scrub(repair).await.unwrap();
            until(&md, |md| md.info().processes.is_empty()).await;
            assert_eq!(md.info().counters.mismatches, found);
        }
        drop(ch);
        desc.close().await;
        delete(md, disks).await;
    });
}
