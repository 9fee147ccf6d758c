//! Bdevs as their client, on a malloc bdev: what works, and each error.

use futures_util::future::join_all;
use spdk_safe::error::BdevError;
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static SPDK: Harness = Harness::new(&[]);

/// A disk for one test, deleted at its end.
async fn with_disk(
    spdk: &Spdk,
    name: &str,
    blocks: u64,
    test: impl AsyncFnOnce(BdevDesc<ReadWrite>),
) {
    MallocBdev::builder(name)
        .blocks(blocks)
        .create(spdk)
        .await
        .unwrap();
    test(BdevDesc::open(spdk, name).read_write().unwrap()).await;
    MallocBdev::delete(spdk, name).await.unwrap();
}

#[test]
fn what_is_written_is_read_back_and_nothing_else_changes() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "rw", 64, async |desc| {
            let ch = desc.channel().unwrap();
            let mut buf = desc.alloc(Blocks(4)).unwrap();
            buf.fill(0xa5);
            let (result, buf) = ch.write(Lba(10), buf).await;
            result.unwrap();
            assert_eq!(buf.len(), 2048, "the buffer comes back whole");

            let (result, all) = ch.read(Lba(0), desc.alloc(Blocks(64)).unwrap()).await;
            result.unwrap();
            let written = 10 * 512..14 * 512;
            for (at, byte) in all.iter().enumerate() {
                assert_eq!(
                    *byte,
                    if written.contains(&at) { 0xa5 } else { 0 },
                    "byte {at}"
                );
            }
        })
        .await;
    });
}

#[test]
fn a_range_is_unmapped_zeroed_and_flushed() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "ranges", 64, async |desc| {
            let ch = desc.channel().unwrap();
            let mut buf = desc.alloc(Blocks(64)).unwrap();
            buf.fill(1);
            ch.write(Lba(0), buf).await.0.unwrap();
            ch.write_zeroes(Lba(0), Blocks(1)).await.unwrap();
            ch.unmap(Lba(63), Blocks(1)).await.unwrap();
            ch.flush(Lba(0), Blocks(64)).await.unwrap();
            ch.reset().await.unwrap();
            let (result, all) = ch.read(Lba(0), desc.alloc(Blocks(64)).unwrap()).await;
            result.unwrap();
            assert!(all[..512].iter().all(|byte| *byte == 0), "zeroed");
            assert!(
                all[512..63 * 512].iter().all(|byte| *byte == 1),
                "untouched"
            );
            assert!(
                all[63 * 512..].iter().all(|byte| *byte == 0),
                "unmapped; malloc bdevs zero (L-05)"
            );
        })
        .await;
    });
}

#[test]
fn the_info_of_a_bdev_is_what_it_was_created_with() {
    SPDK.run(async |spdk| {
        MallocBdev::builder("info")
            .blocks(100)
            .block_size(4096)
            .create(&spdk)
            .await
            .unwrap();
        let desc = BdevDesc::open(&spdk, "info").read_only().unwrap();
        let info = desc.info().clone();
        assert_eq!(
            (info.name.as_str(), info.module.as_str()),
            ("info", "malloc")
        );
        assert_eq!((info.block_size, info.num_blocks), (4096, Blocks(100)));
        assert_eq!(info.size(), Some(Bytes(409_600)));
        desc.close().await;
        MallocBdev::delete(&spdk, "info").await.unwrap();
        assert_eq!(info.name, "info", "D7: stays valid when the bdev is gone");
    });
}

#[test]
fn i3_bad_ranges_and_lengths_are_errors_and_the_buffer_comes_back() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "i3", 64, async |desc| {
            let ch = desc.channel().unwrap();
            let refused = async |lba, bytes, word: &str| {
                let buf = DmaBuf::zeroed(Bytes(bytes), 64).unwrap();
                let (result, buf) = ch.write(Lba(lba), buf).await;
                let error = result.unwrap_err().to_string();
                assert!(error.contains(word), "{error:?} should say {word:?}");
                assert_eq!(buf.len() as u64, bytes);
            };
            refused(64, 512, "does not fit").await;
            refused(63, 1024, "does not fit").await;
            refused(u64::MAX, 512, "does not fit").await;
            refused(0, 511, "whole number of blocks").await;
            refused(0, 513, "whole number of blocks").await;
            for io in [
                ch.unmap(Lba(0), Blocks(0)),
                ch.flush(Lba(0), Blocks(0)),
                ch.write_zeroes(Lba(0), Blocks(0)),
            ] {
                let error = io.await.unwrap_err();
                assert!(matches!(error, IoError::Empty { .. }), "{error}");
            }
            let error = ch.unmap(Lba(1), Blocks(u64::MAX)).await.unwrap_err();
            assert!(matches!(error, IoError::Range { .. }), "{error}");
        })
        .await;
    });
}

#[test]
fn buffers_of_no_bytes_or_too_many_are_errors() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "alloc", 8, async |desc| {
            assert!(desc.alloc(Blocks(0)).is_err());
            assert!(desc.alloc(Blocks(u64::MAX)).is_err());
            let error = desc.alloc(Blocks(1 << 32)).unwrap_err().to_string();
            assert!(
                error.contains(".memory("),
                "{error:?} should name the remedy"
            );
            assert!(DmaBuf::zeroed(Bytes(8), 3).is_err());
            let mut buf = desc.alloc(Blocks(1)).unwrap();
            assert!(buf.iter().all(|byte| *byte == 0), "I5: nobody's old data");
            buf.fill(9);
            drop(buf);
            assert!(desc.alloc(Blocks(1)).unwrap().iter().all(|byte| *byte == 0));
        })
        .await;
    });
}

#[test]
fn i7_i9_a_hundred_thousand_ios_at_once_wait_for_memory_and_all_succeed() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "i9", 64, async |desc| {
            let ch = desc.channel().unwrap();
            // The pool of the harness has 8191. (A flush: on SPDK 26.05 a malloc bdev *fails* unmaps and write_zeroes
            // when the accel framework has no task left, which is none of the bdev layer's -ENOMEM.)
            let all = join_all((0..100_000).map(|at| ch.flush(Lba(at % 64), Blocks(1)))).await;
            let failed: Vec<_> = all
                .iter()
                .filter_map(|result| result.as_ref().err())
                .collect();
            assert!(
                failed.is_empty(),
                "{} failed, the first: {}",
                failed.len(),
                failed[0]
            );
        })
        .await;
    });
}

#[test]
fn names_that_are_taken_missing_or_impossible_are_errors() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "taken", 8, async |_desc| {
            let again = MallocBdev::builder("taken").blocks(8).create(&spdk).await;
            assert_eq!(
                again,
                Err(BdevError::Exists {
                    name: "taken".into()
                })
            );
        })
        .await;
        for name in ["", "a\0b"] {
            let error = MallocBdev::builder(name)
                .blocks(8)
                .create(&spdk)
                .await
                .unwrap_err();
            assert!(matches!(error, BdevError::Name { .. }), "{error}");
            assert!(matches!(
                BdevDesc::open(&spdk, name).read_only(),
                Err(OpenError::NotFound { .. })
            ));
        }
        for (blocks, block_size) in [(0, 512), (8, 0), (8, 500), (u64::MAX, 512)] {
            let error = MallocBdev::builder("geometry")
                .blocks(blocks)
                .block_size(block_size)
                .create(&spdk)
                .await;
            assert!(
                matches!(error, Err(BdevError::Geometry { .. })),
                "{blocks} {block_size}: {error:?}"
            );
        }
        let huge = MallocBdev::builder("huge")
            .blocks(1 << 40)
            .create(&spdk)
            .await;
        assert_eq!(
            huge,
            Err(BdevError::NoMemory {
                name: "huge".into()
            })
        );
        let missing = MallocBdev::delete(&spdk, "missing").await;
        assert_eq!(
            missing,
            Err(BdevError::NotFound {
                name: "missing".into()
            })
        );
    });
}

/// More than any ring of SPDK's takes.
const MANY: usize = 70_000;

#[test]
fn t7_a_loop_that_gets_and_drops_channels_fills_no_ring() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "loop", 8, async |desc| {
            for _ in 0..MANY {
                drop(desc.channel().unwrap());
            }
            let ch = desc.channel().unwrap();
            ch.flush(Lba(0), Blocks(8)).await.unwrap();
        })
        .await;
    });
}

#[test]
fn t7_descriptors_that_go_elsewhere_fill_no_ring() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "elsewhere", 8, async |desc| {
            let open = || BdevDesc::open(&spdk, "elsewhere").read_only().unwrap();
            let all: Vec<_> = (0..20_000).map(|_| open().share()).collect();
            let elsewhere = std::thread::spawn(move || drop(all));
            elsewhere.join().unwrap();
            // Its channel is put after them, and SPDK tells each descriptor that is open when a disk goes.
            drop(desc.channel().unwrap());
            desc.close().await;
        })
        .await;
    });
}
