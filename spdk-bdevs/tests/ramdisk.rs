//! The ramdisk alone: every type of I/O, every fault, and how it lets go of what waits.

use std::time::Duration;

use futures::future::join;
use spdk_bdevs::ramdisk::{Action, Fault, MODULE, Ramdisk};
use spdk_safe::app::yield_now;
use spdk_safe::prelude::*;
use spdk_safe::test::{Harness, Open};

static SPDK: Harness = Harness::new(&[&MODULE]);

/// A ramdisk, open for writing, for the length of `test`.
fn on_a_disk(
    blocks: u64,
    test: impl AsyncFnOnce(&Spdk, &Ramdisk, IoChannel<ReadWrite>) + Send + 'static,
) {
    SPDK.run(async move |spdk| {
        let disk = Ramdisk::builder("r").blocks(Blocks(blocks));
        let disk = disk.create(&spdk).await.unwrap();
        let desc = BdevDesc::open(&spdk, "r").read_write().unwrap();
        test(&spdk, &disk, desc.channel().unwrap()).await;
        desc.close().await;
        // It may have been removed.
        if disk.delete().await.is_err() {
            disk.gone().await;
        }
        assert!(Ramdisk::find("r").is_none());
        assert_eq!(disk.held(), 0);
    });
}

fn is_since(major: u32, minor: u32) -> bool {
    let (has_major, has_minor, _) = spdk_sys::VERSION;
    (has_major, has_minor) >= (major, minor)
}

async fn first_byte(ch: &IoChannel<ReadWrite>, lba: u64) -> u8 {
    let read = ch.read_blocks(Lba(lba), Blocks(1)).await.unwrap();
    assert!(read.iter().all(|&byte| byte == read[0]));
    read[0]
}

async fn put(ch: &IoChannel<ReadWrite>, lba: u64, blocks: usize, byte: u8) -> Result<(), IoError> {
    ch.write(Lba(lba), vec![byte; blocks * 512]).await.0
}

#[test]
fn every_type_of_io_does_what_it_says() {
    on_a_disk(1024, async |_, disk, ch| {
        assert_eq!(disk.memory(), Bytes(0));
        assert_eq!(first_byte(&ch, 0).await, 0);
        assert_eq!(disk.memory(), Bytes(0), "reading takes no memory");

        // Across a boundary of what it takes memory in.
        put(&ch, 120, 16, 7).await.unwrap();
        for (lba, byte) in [(119, 0), (120, 7), (135, 7), (136, 0)] {
            assert_eq!(first_byte(&ch, lba).await, byte, "at {lba}");
        }
        ch.write_zeroes(Lba(124), Blocks(8)).await.unwrap();
        for (lba, byte) in [(123, 7), (124, 0), (131, 0), (132, 7)] {
            assert_eq!(first_byte(&ch, lba).await, byte, "at {lba}");
        }
        ch.flush(Lba(0), Blocks(1024)).await.unwrap();
        ch.reset().await.unwrap();

        ch.compare(Lba(132), vec![7; 4 * 512]).await.0.unwrap();
        let mut other = vec![7; 4 * 512];
        other[4 * 512 - 1] = 8;
        let error = ch.compare(Lba(132), other).await.0.unwrap_err();
        assert!(error.is_miscompare(), "{error}");
        ch.compare(Lba(500), vec![0; 512]).await.0.unwrap();

        // Across the boundary, too.
        let both = ch.compare_and_write(Lba(124), vec![0; 8 * 512], vec![9; 8 * 512]);
        both.await.0.unwrap();
        assert_eq!(
            [first_byte(&ch, 124).await, first_byte(&ch, 131).await],
            [9, 9]
        );
        let both = ch.compare_and_write(Lba(124), vec![0; 8 * 512], vec![8; 8 * 512]);
        assert!(both.await.0.unwrap_err().is_miscompare());
        // In its last byte only.
        let mut other = vec![9; 8 * 512];
        other[8 * 512 - 1] = 0;
        let both = ch.compare_and_write(Lba(124), other, vec![8; 8 * 512]);
        assert!(both.await.0.unwrap_err().is_miscompare());
        assert_eq!(first_byte(&ch, 124).await, 9);

        let mut region = ch.zcopy(Lba(120), Blocks(2)).await.unwrap();
        let mut bytes = [0; 1024];
        region.copy_out(0, &mut bytes).unwrap();
        assert_eq!(bytes, [7; 1024]);
        region.copy_in(0, &[5; 512]).unwrap();
        region.commit().await.unwrap();
        assert_eq!(
            [first_byte(&ch, 120).await, first_byte(&ch, 121).await],
            [5, 7]
        );

        if is_since(23, 1) {
            ch.copy(Lba(900), Lba(120), Blocks(16)).await.unwrap();
            assert_eq!(
                [first_byte(&ch, 900).await, first_byte(&ch, 915).await],
                [5, 7]
            );
        } else {
            println!("left out: this SPDK has no copy");
        }
        if is_since(22, 9) {
            // 128 blocks are a piece: the first two are there, and the one of block 900.
            assert_eq!(ch.seek_data(Lba(3)).await.unwrap(), Some(Lba(3)));
            assert_eq!(ch.seek_hole(Lba(3)).await.unwrap(), Some(Lba(256)));
            assert_eq!(ch.seek_hole(Lba(300)).await.unwrap(), Some(Lba(300)));
            if is_since(23, 1) {
                assert_eq!(ch.seek_data(Lba(256)).await.unwrap(), Some(Lba(896)));
                assert_eq!(ch.seek_hole(Lba(900)).await.unwrap(), None);
            }
        } else {
            println!("left out: this SPDK has no seek");
        }

        let before = disk.memory();
        ch.unmap(Lba(128), Blocks(128)).await.unwrap();
        assert_eq!(
            disk.memory(),
            Bytes(before.0 - 64 * 1024),
            "a whole piece is given back"
        );
        assert_eq!(
            [first_byte(&ch, 127).await, first_byte(&ch, 128).await],
            [9, 0]
        );
        ch.unmap(Lba(120), Blocks(4)).await.unwrap();
        assert_eq!(
            [first_byte(&ch, 123).await, first_byte(&ch, 124).await],
            [0, 9]
        );
    });
}

#[test]
fn a_fault_befalls_the_io_that_it_names() {
    on_a_disk(64, async |_, disk, ch| {
        put(&ch, 0, 64, 1).await.unwrap();
        let fail = Fault::new(Action::Fail).io(IoType::Write);
        disk.set_faults([fail.range(Lba(8), Blocks(2)).after(1).times(2)]);
        // Not of the type; not of the range, at both its ends; the first; two; no more.
        assert_eq!(first_byte(&ch, 8).await, 1);
        put(&ch, 7, 1, 2).await.unwrap();
        put(&ch, 10, 1, 2).await.unwrap();
        put(&ch, 9, 4, 2).await.unwrap();
        for _ in 0..2 {
            put(&ch, 0, 9, 3).await.unwrap_err();
        }
        assert_eq!(first_byte(&ch, 8).await, 1, "what failed did nothing");
        put(&ch, 8, 1, 3).await.unwrap();
        assert_eq!(disk.injected(), 2);

        let nvme = Action::Nvme { sct: 2, sc: 0x81 };
        disk.set_faults([Fault::new(nvme), Fault::new(Action::Abort).after(1)]);
        let error = ch.read_blocks(Lba(0), Blocks(1)).await.unwrap_err();
        let status = error.status().unwrap().nvme;
        assert_eq!((status.sct, status.sc), (2, 0x81), "{error}");
        let error = ch.read_blocks(Lba(0), Blocks(1)).await.unwrap_err();
        assert!(error.is_aborted(), "{error}");
        assert_eq!(first_byte(&ch, 0).await, 1);

        // The first half is done.
        disk.set_faults([Fault::new(Action::Short(Blocks(2)))]);
        put(&ch, 20, 4, 4).await.unwrap_err();
        let now = [20, 21, 22].map(|lba| first_byte(&ch, lba));
        assert_eq!(futures::future::join_all(now).await, [4, 4, 1]);

        // A lie, once in a read and once in a write.
        disk.set_faults([Fault::new(Action::Corrupt)]);
        let read = ch.read_blocks(Lba(0), Blocks(1)).await.unwrap();
        assert_eq!(read[..2], [!1, 1]);
        assert_eq!(first_byte(&ch, 0).await, 1, "only that read");
        disk.set_faults([Fault::new(Action::Corrupt).io(IoType::Write)]);
        put(&ch, 0, 1, 6).await.unwrap();
        let read = ch.read_blocks(Lba(0), Blocks(1)).await.unwrap();
        assert_eq!(read[..2], [!6, 6]);
    });
}

#[test]
fn i7_what_has_no_memory_comes_again() {
    on_a_disk(64, async |_, disk, ch| {
        disk.set_faults([Fault::new(Action::NoMemory).times(3)]);
        put(&ch, 0, 1, 1).await.unwrap();
        assert_eq!(disk.injected(), 3);
        assert_eq!(first_byte(&ch, 0).await, 1);
    });
}

#[test]
fn what_waits_is_done_when_it_is_due() {
    on_a_disk(64, async |_, disk, ch| {
        disk.set_faults([Fault::new(Action::DelayPolls(5)).io(IoType::Write)]);
        let slow = put(&ch, 0, 1, 1);
        let reads = async {
            let mut zeroes = 0;
            while disk.held() == 0 {
                yield_now().await;
            }
            while disk.held() != 0 {
                zeroes += u32::from(first_byte(&ch, 0).await == 0);
            }
            zeroes
        };
        let (slow, zeroes) = join(slow, reads).await;
        slow.unwrap();
        assert_ne!(zeroes, 0, "nothing of it was done while it waited");
        assert_eq!(first_byte(&ch, 0).await, 1);

        let time = Duration::from_millis(1);
        disk.set_faults([Fault::new(Action::DelayFor(time)), Fault::new(Action::Fail)]);
        let begin = std::time::Instant::now();
        put(&ch, 0, 1, 2).await.unwrap_err();
        assert!(begin.elapsed() >= time);
        assert_eq!(first_byte(&ch, 0).await, 1);
    });
}

/// Writes that wait for ever, until `end` happens.
async fn held_until(
    disk: &Ramdisk,
    ch: &IoChannel<ReadWrite>,
    end: impl AsyncFnOnce(),
) -> Vec<Result<(), IoError>> {
    disk.set_faults([Fault::new(Action::Hold).io(IoType::Write).always()]);
    let writes = futures::future::join_all((0..4).map(|lba| put(ch, lba, 1, 1)));
    let end = async {
        while disk.held() < 4 {
            yield_now().await;
        }
        end().await;
    };
    join(writes, end).await.0
}

fn all_aborted(results: Vec<Result<(), IoError>>) {
    assert_eq!(results.len(), 4);
    for result in results {
        let error = result.unwrap_err();
        assert!(error.is_aborted(), "{error}");
    }
}

#[test]
fn a_reset_lets_go_of_what_waits() {
    on_a_disk(64, async |_, disk, ch| {
        all_aborted(held_until(disk, &ch, async || ch.reset().await.unwrap()).await);
        disk.set_faults([]);
        assert_eq!(first_byte(&ch, 0).await, 0);
        put(&ch, 0, 1, 1).await.unwrap();
    });
}

#[test]
fn d8_a_removal_lets_go_of_what_waits_and_fails_the_rest() {
    on_a_disk(64, async |_, disk, ch| {
        all_aborted(held_until(disk, &ch, async || disk.remove()).await);
        assert!(put(&ch, 0, 1, 1).await.is_err());
        assert!(ch.read_blocks(Lba(0), Blocks(1)).await.is_err());
        assert!(matches!(
            disk.delete().await,
            Err(BdevError::Deleting { .. })
        ));
        assert!(matches!(
            disk.resize(Blocks(9)),
            Err(BdevError::Deleting { .. })
        ));
    });
}

#[test]
fn d8_removed_by_the_plan() {
    on_a_disk(64, async |spdk, disk, ch| {
        disk.set_faults([Fault::new(Action::Remove).io(IoType::Read).after(1)]);
        assert_eq!(first_byte(&ch, 0).await, 0);
        put(&ch, 0, 1, 1).await.unwrap();
        assert!(ch.read_blocks(Lba(0), Blocks(1)).await.is_err());
        assert!(put(&ch, 0, 1, 1).await.is_err());
        drop(ch);
        let opened = BdevDesc::open(spdk, "r").read_only();
        assert!(opened.is_err(), "nobody can open it any more");
    });
}

#[test]
fn a_deletion_lets_go_of_what_waits() {
    SPDK.run(async |spdk| {
        let disk = Ramdisk::builder("r").blocks(Blocks(64));
        let disk = disk.create(&spdk).await.unwrap();
        let desc = BdevDesc::open(&spdk, "r").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let deleted = async {
            let disk = disk.clone();
            disk.delete().await.unwrap();
        };
        let user = async {
            let begun = async || {
                while !desc.is_removed() {
                    yield_now().await;
                }
            };
            all_aborted(held_until(&disk, &ch, begun).await);
            drop(ch);
            desc.close().await;
        };
        // The user first, so that its writes wait when the deletion begins.
        let deleted = async {
            while disk.held() < 4 {
                yield_now().await;
            }
            deleted.await;
        };
        join(user, deleted).await;
    });
}

#[test]
fn t11_the_end_of_a_thread_lets_go_of_what_waits() {
    SPDK.run(async |spdk| {
        let disk = Ramdisk::builder("r")
            .blocks(Blocks(64))
            .faults([Fault::new(Action::Hold).io(IoType::Write).always()]);
        let disk = disk.create(&spdk).await.unwrap();
        let desc = BdevDesc::open(&spdk, "r").read_write().unwrap();
        let thread = Thread::builder("short").create(&spdk).await.unwrap();
        let shared = desc.share();
        let task = thread.handle().spawn(move || async move {
            let ch = shared.channel().unwrap();
            futures::future::join_all((0..4).map(|lba| put(&ch, lba, 1, 1))).await
        });
        drop(task.await.unwrap());
        while disk.held() < 4 {
            yield_now().await;
        }
        thread.exit().await;
        assert_eq!(disk.held(), 0);
        desc.close().await;
        disk.delete().await.unwrap();
    });
}

#[test]
fn a_batch_is_aborted() {
    on_a_disk(64, async |_, disk, ch| {
        let batch = ch.batch();
        disk.set_faults([Fault::new(Action::Hold).io(IoType::Write).always()]);
        let write = |lba| {
            let data = vec![1; 512];
            ch.write(Lba(lba), data).in_batch(&batch)
        };
        let end = async {
            while disk.held() < 2 {
                yield_now().await;
            }
            batch.abort().await
        };
        let ((one, two), _) = join(join(write(0), write(1)), end).await;
        assert!(one.0.unwrap_err().is_aborted());
        assert!(two.0.unwrap_err().is_aborted());
        assert_eq!(disk.held(), 0);
    });
}

#[test]
fn m9_sizes_and_names() {
    SPDK.run(async |spdk| {
        let create = |name: &str, blocks, size| {
            let disk = Ramdisk::builder(name)
                .blocks(Blocks(blocks))
                .block_size(size);
            disk.create(&spdk)
        };
        assert!(matches!(
            create("", 1, 512).await,
            Err(BdevError::Name { .. })
        ));
        assert!(matches!(
            create("r", 0, 512).await,
            Err(BdevError::Geometry { .. })
        ));
        assert!(matches!(
            create("r", 1, 513).await,
            Err(BdevError::Geometry { .. })
        ));
        assert!(matches!(
            create("r", 1 << 62, 512).await,
            Err(BdevError::Geometry { .. })
        ));
        assert_eq!(Ramdisk::list().len(), 0, "nothing is left behind");

        // As large as can be, of which little is there.
        let disk = create("r", 1 << 54, 512).await.unwrap();
        assert!(matches!(
            create("r", 1, 512).await,
            Err(BdevError::Exists { .. })
        ));
        let desc = BdevDesc::open(&spdk, "r").read_write().unwrap();
        let ch = desc.channel().unwrap();
        put(&ch, (1 << 54) - 1, 1, 1).await.unwrap();
        assert_eq!(first_byte(&ch, (1 << 54) - 1).await, 1);
        assert_eq!(disk.memory(), Bytes(64 * 1024));
        assert!(matches!(
            disk.resize(Blocks(64)),
            Err(BdevError::InUse { .. })
        ));
        drop(ch);
        desc.close().await;

        put_at(&spdk, 60, 4, 5).await;
        disk.resize(Blocks(62)).unwrap();
        assert_eq!(disk.num_blocks(), Blocks(62));
        assert!(matches!(
            disk.resize(Blocks(0)),
            Err(BdevError::Geometry { .. })
        ));
        disk.resize(Blocks(128)).unwrap();
        let desc = BdevDesc::open(&spdk, "r").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let found = [61, 62, 63].map(|lba| first_byte(&ch, lba));
        let found = futures::future::join_all(found).await;
        assert_eq!(found, [5, 0, 0], "what was cut off does not come back");
        drop(ch);
        desc.close().await;
        let before = Open::now();
        disk.delete().await.unwrap();
        assert!(before.names.len() > Open::now().names.len());
    });
}

async fn put_at(spdk: &Spdk, lba: u64, blocks: usize, byte: u8) {
    let desc = BdevDesc::open(spdk, "r").read_write().unwrap();
    let ch = desc.channel().unwrap();
    put(&ch, lba, blocks, byte).await.unwrap();
    drop(ch);
    desc.close().await;
}
