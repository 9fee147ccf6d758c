//! Client I/O on bdevs that fail, hold back and delay it, and that have metadata of their own.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use spdk_safe::app::yield_now;
use spdk_safe::bdev::{DelayBdev, ErrorBdev, Fault, Injection};
use spdk_safe::error::{BdevError, IoCause};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static SPDK: Harness = Harness::new(&[]);

const BLOCK: usize = 512;

async fn malloc(spdk: &Spdk, name: &str) {
    MallocBdev::builder(name)
        .blocks(64)
        .create(spdk)
        .await
        .unwrap();
}

/// An error bdev over a disk named `name`, for one test.
async fn with_faults(
    spdk: &Spdk,
    name: &str,
    test: impl AsyncFnOnce(&str, &BdevDesc<ReadWrite>, &IoChannel<ReadWrite>),
) {
    malloc(spdk, name).await;
    let faulty = ErrorBdev::on(name).create(spdk).await.unwrap();
    let desc = BdevDesc::open(spdk, &faulty).read_write().unwrap();
    let ch = desc.channel().unwrap();
    test(&faulty, &desc, &ch).await;
    drop(ch);
    desc.close().await;
    ErrorBdev::delete(spdk, &faulty).await.unwrap();
    MallocBdev::delete(spdk, name).await.unwrap();
}

#[test]
fn a_failed_io_says_what_was_asked_and_what_the_device_said() {
    SPDK.run(async |spdk| {
        with_faults(&spdk, "fails", async |faulty, _desc, ch| {
            let once = Injection::new(Fault::Fail)
                .into_type(IoType::Write)
                .count(1);
            ErrorBdev::inject(&spdk, faulty, once).unwrap();
            let (result, data) = ch.write(Lba(3), vec![1; 2 * BLOCK]).await;
            let error = result.unwrap_err();
            let IoError::Failed {
                io,
                lba,
                blocks,
                status,
            } = error
            else {
                panic!("{error}");
            };
            assert_eq!((io, lba, blocks), (IoType::Write, Lba(3), Blocks(2)));
            assert_eq!(status.cause, IoCause::Failed, "{error}");
            assert_eq!(status.errno, None);
            assert_ne!((status.nvme.sct, status.nvme.sc), (0, 0), "{error}");
            assert_ne!(status.scsi.sense_key, 0, "{error}");
            assert!(!error.is_aborted() && !error.is_miscompare());
            assert_eq!(data, vec![1; 2 * BLOCK], "it comes back");
            ch.write(Lba(3), data).await.0.unwrap();
        })
        .await;
    });
}

#[test]
fn a_read_that_fails_does_not_count_as_read() {
    SPDK.run(async |spdk| {
        with_faults(&spdk, "unread", async |faulty, _desc, ch| {
            let once = Injection::new(Fault::Fail).into_type(IoType::Read).count(1);
            ErrorBdev::inject(&spdk, faulty, once).unwrap();
            let (result, buf) = ch.read(Lba(0), ch.alloc_uninit(Blocks(1)).unwrap()).await;
            result.unwrap_err();
            let buf = buf.into_filled().expect_err("I5: nothing was put in");
            let (result, buf) = ch.read(Lba(0), buf).await;
            result.unwrap();
            buf.into_filled().unwrap();
        })
        .await;
    });
}

#[test]
fn i7_want_of_memory_in_the_device_is_waited_out() {
    SPDK.run(async |spdk| {
        with_faults(&spdk, "nomem", async |faulty, _desc, ch| {
            let some = Injection::new(Fault::NoMemory)
                .into_type(IoType::Read)
                .count(5);
            match ErrorBdev::inject(&spdk, faulty, some) {
                Err(error @ BdevError::NeedsVersion { .. }) => {
                    return eprintln!("left out: {error}");
                }
                injected => injected.unwrap(),
            }
            let reads = (0..20).map(|at| ch.read(Lba(at), vec![0; BLOCK]));
            for (result, _) in join_all(reads).await {
                result.unwrap();
            }
        })
        .await;
    });
}

#[test]
fn i2_io_that_never_ends_can_be_let_go_of_and_its_data_lives_until_it_does() {
    SPDK.run(async |spdk| {
        with_faults(&spdk, "held", async |faulty, desc, _ch| {
            let ch = desc.channel().unwrap();
            ErrorBdev::inject(&spdk, faulty, Injection::new(Fault::Hold)).unwrap();
            let alive = Rc::<[u8]>::from(vec![1; BLOCK]);
            let mut dropped = Box::pin(ch.write(Lba(0), Rc::clone(&alive)));
            assert!(futures_util::poll!(&mut dropped).is_pending());
            let mut kept = Box::pin(ch.write(Lba(1), Rc::clone(&alive)));
            assert!(futures_util::poll!(&mut kept).is_pending());
            drop((dropped, ch));
            for _ in 0..100 {
                yield_now().await;
            }
            assert_eq!(Rc::strong_count(&alive), 3, "the I/O still has its data");
            ErrorBdev::clear(&spdk, faulty).unwrap();
            ErrorBdev::abort_held(&spdk, faulty).await.unwrap();
            let (result, data) = kept.await;
            assert!(matches!(result, Err(IoError::Failed { .. })), "{result:?}");
            drop(data);
            while Rc::strong_count(&alive) != 1 {
                yield_now().await;
            }
        })
        .await;
    });
}

#[test]
fn a_batch_is_aborted_where_the_bdev_can() {
    SPDK.run(async |spdk| {
        malloc(&spdk, "slow-base").await;
        let second = Duration::from_secs(20);
        DelayBdev::builder("slow", "slow-base")
            .read(second, second)
            .create(&spdk)
            .await
            .unwrap();
        let desc = BdevDesc::open(&spdk, "slow").read_write().unwrap();
        let ch = desc.channel().unwrap();
        if !ch.supports(IoType::Abort) {
            eprintln!("left out: this delay bdev can't abort");
        } else {
            let batch = ch.batch();
            let victims = (0..8).map(|at| ch.read(Lba(at), vec![0; BLOCK]).in_batch(&batch));
            let others = (8..10).map(|at| ch.write(Lba(at), vec![0; BLOCK]));
            let victims = join_all(victims);
            // They are delayed after the base has done them.
            let abort = async {
                for _ in 0..1_000 {
                    yield_now().await;
                }
                batch.abort().await.unwrap()
            };
            let (victims, aborts) = join(victims, abort).await;
            assert_eq!((aborts.aborted, aborts.given_up), (8, 0), "{aborts:?}");
            for (result, data) in victims {
                let error = result.unwrap_err();
                assert!(error.is_aborted(), "{error}");
                assert_eq!(data.len(), BLOCK);
            }
            for (result, _) in join_all(others).await {
                result.unwrap();
            }
            // A loop is aborted like any other: its step is told.
            let looped = ch
                .read_loop(Lba(0), vec![0; BLOCK], |result, _| {
                    assert!(result.unwrap_err().is_aborted());
                    None
                })
                .in_batch(&batch);
            let ((result, _), aborts) = join(looped, async {
                for _ in 0..1_000 {
                    yield_now().await;
                }
                batch.abort().await
            })
            .await;
            result.unwrap();
            assert_eq!(aborts.unwrap().aborted, 1);
        }
        drop(ch);
        desc.close().await;
        DelayBdev::delete(&spdk, "slow").await.unwrap();
        MallocBdev::delete(&spdk, "slow-base").await.unwrap();
    });
}

#[test]
fn metadata_in_a_buffer_of_its_own_is_written_read_and_compared() {
    SPDK.run(async |spdk| {
        let created = MallocBdev::builder("md")
            .blocks(64)
            .separate_metadata(8)
            .create(&spdk)
            .await;
        match created {
            Err(error @ BdevError::NeedsVersion { .. }) => return eprintln!("left out: {error}"),
            created => created.unwrap(),
        }
        let desc = BdevDesc::open(&spdk, "md").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let marks: Vec<u8> = (0..16).collect();
        let (result, data, md) = ch
            .write_with_md(Lba(4), vec![7; 2 * BLOCK], marks.clone())
            .await;
        result.unwrap();
        assert_eq!((data.len(), &md), (2 * BLOCK, &marks));
        let (result, data, md) = ch
            .read_with_md(Lba(4), vec![0; 2 * BLOCK], vec![0; 16])
            .await;
        result.unwrap();
        assert_eq!((data, &md), (vec![7; 2 * BLOCK], &marks));
        let (result, data, md) = ch.compare_with_md(Lba(4), vec![7; 2 * BLOCK], md).await;
        if let Err(error) = result {
            // Not every version of the malloc bdev compares metadata.
            eprintln!("compare with metadata: {error}");
        }
        // I3: every other length, and metadata in two pieces.
        for len in [0, 8, 15, 17, 24] {
            let (result, ..) = ch
                .read_with_md(Lba(4), vec![0; 2 * BLOCK], vec![0_u8; len])
                .await;
            assert!(
                matches!(result, Err(IoError::Metadata { .. })),
                "{result:?}"
            );
        }
        let (result, ..) = ch
            .read_with_md(Lba(4), data, (vec![0; 8], vec![0; 8]))
            .await;
        assert!(
            matches!(result, Err(IoError::Metadata { .. })),
            "{result:?}"
        );
        // Without metadata it is a bdev like any other.
        ch.write(Lba(4), vec![8; BLOCK]).await.0.unwrap();
        drop((ch, md));
        desc.close().await;
        MallocBdev::delete(&spdk, "md").await.unwrap();
    });
}
