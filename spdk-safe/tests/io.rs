//! Client I/O: every operation, every kind of memory, and each error, on a malloc bdev.

use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::join_all;
use spdk_safe::bdev::Aborts;
use spdk_safe::env::DmaPool;
use spdk_safe::error::IoCause;
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static SPDK: Harness = Harness::new(&[]);

const BLOCK: usize = 512;

/// A disk of 64 blocks for one test, deleted at its end.
async fn with_disk(
    spdk: &Spdk,
    name: &str,
    test: impl AsyncFnOnce(&BdevDesc<ReadWrite>, &IoChannel<ReadWrite>),
) {
    MallocBdev::builder(name)
        .blocks(64)
        .create(spdk)
        .await
        .unwrap();
    let desc = BdevDesc::open(spdk, name).read_write().unwrap();
    let ch = desc.channel().unwrap();
    test(&desc, &ch).await;
    drop(ch);
    desc.close().await;
    MallocBdev::delete(spdk, name).await.unwrap();
}

/// Blocks whose bytes say where they are.
fn pattern(seed: u8, blocks: usize) -> Vec<u8> {
    (0..blocks * BLOCK)
        .map(|at| seed.wrapping_add((at / 7) as u8))
        .collect()
}

/// Whether the linked SPDK is at least this one.
fn since(major: u32, minor: u32) -> bool {
    let have = (spdk_sys::VERSION.0, spdk_sys::VERSION.1);
    if have < (major, minor) {
        eprintln!(
            "left out: needs SPDK {major}.{minor:02}, this is {}",
            spdk_safe::app::spdk_version()
        );
    }
    have >= (major, minor)
}

#[test]
fn every_kind_of_memory_can_be_written() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "kinds", async |_desc, ch| {
            static FIXED: [u8; BLOCK] = [7; BLOCK];
            ch.write(Lba(0), pattern(1, 1)).await.0.unwrap();
            ch.write(Lba(1), pattern(2, 1).into_boxed_slice())
                .await
                .0
                .unwrap();
            let shared: Arc<[u8]> = pattern(3, 1).into();
            ch.write(Lba(2), Arc::clone(&shared)).await.0.unwrap();
            let counted: Rc<[u8]> = pattern(4, 1).into();
            ch.write(Lba(3), counted).await.0.unwrap();
            ch.write(Lba(4), &FIXED[..]).await.0.unwrap();
            ch.write(Lba(5), [pattern(6, 1), pattern(7, 2)])
                .await
                .0
                .unwrap();
            let pool = DmaPool::new(1, Bytes(BLOCK as u64), 512).unwrap();
            let mut pooled = pool.take().unwrap();
            assert!(pool.take().is_none(), "there is one");
            pooled.copy_from_slice(&pattern(8, 1));
            ch.write(Lba(8), pooled).await.0.unwrap();
            assert_eq!(pool.idle(), 1, "it went back");

            let all = ch.read_blocks(Lba(0), Blocks(9)).await.unwrap();
            let mut expected =
                [pattern(1, 1), pattern(2, 1), pattern(3, 1), pattern(4, 1)].concat();
            expected.extend_from_slice(&FIXED);
            expected.extend([pattern(6, 1), pattern(7, 2), pattern(8, 1)].concat());
            assert_eq!(&all[..], &expected[..]);
            assert_eq!(shared[0], 3, "still ours");
        })
        .await;
    });
}

#[test]
fn a_read_is_scattered_over_several_buffers() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "scatter", async |desc, ch| {
            ch.write(Lba(0), pattern(9, 8)).await.0.unwrap();
            let buffers = vec![
                desc.alloc(Blocks(1)).unwrap(),
                desc.alloc(Blocks(4)).unwrap(),
                desc.alloc(Blocks(3)).unwrap(),
            ];
            let (result, buffers) = ch.read(Lba(0), buffers).await;
            result.unwrap();
            assert_eq!(
                buffers
                    .iter()
                    .flat_map(|buf| buf.to_vec())
                    .collect::<Vec<_>>(),
                pattern(9, 8)
            );

            // Pieces that are no whole blocks, one of them empty.
            let (result, (head, (none, tail))) = ch
                .read(
                    Lba(0),
                    (vec![0; 100], (Vec::<u8>::new(), vec![0; 2 * BLOCK - 100])),
                )
                .await;
            result.unwrap();
            assert!(none.is_empty());
            assert_eq!([head, tail].concat(), pattern(9, 8)[..2 * BLOCK]);

            // Larger than what a slot has room for.
            let many: [Vec<u8>; 8] = std::array::from_fn(|_| vec![0; BLOCK]);
            let (result, many) = ch.read(Lba(0), many).await;
            result.unwrap();
            assert_eq!(many.concat(), pattern(9, 8));
        })
        .await;
    });
}

#[test]
fn a_part_of_a_buffer_leaves_the_rest_alone() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "part", async |desc, ch| {
            ch.write(Lba(0), pattern(3, 2)).await.0.unwrap();
            let mut buf = desc.alloc(Blocks(4)).unwrap();
            buf.fill(0xee);
            let buf = buf.part(4 * BLOCK..5 * BLOCK).expect_err("past the end");
            let buf = buf.part(BLOCK..BLOCK).expect_err("empty");
            let (result, part) = ch.read(Lba(0), buf.part(BLOCK..3 * BLOCK).unwrap()).await;
            result.unwrap();
            assert_eq!(part.len(), 2 * BLOCK);
            let buf = part.into_whole();
            assert_eq!(&buf[BLOCK..3 * BLOCK], &pattern(3, 2)[..]);
            assert!(
                buf[..BLOCK]
                    .iter()
                    .chain(&buf[3 * BLOCK..])
                    .all(|byte| *byte == 0xee)
            );
        })
        .await;
    });
}

#[test]
fn i5_a_buffer_that_nobody_wrote_is_neither_shown_nor_written() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "uninit", async |_desc, ch| {
            let buf = ch.alloc_uninit(Blocks(2)).unwrap();
            let buf = buf.into_filled().expect_err("nothing is in it");
            let (result, buf) = ch.write(Lba(0), buf).await;
            assert!(
                matches!(result, Err(IoError::NoContents { .. })),
                "{result:?}"
            );
            // A read that fails does not fill it.
            let (result, buf) = ch.read(Lba(63), buf).await;
            assert!(matches!(result, Err(IoError::Range { .. })), "{result:?}");
            assert!(!buf.is_filled());
            let (result, buf) = ch.read(Lba(0), buf).await;
            result.unwrap();
            assert_eq!(&buf.into_filled().unwrap()[..], &[0; 2 * BLOCK][..]);
            let filled = ch.alloc_uninit(Blocks(1)).unwrap().copy_from(b"abc");
            assert_eq!((&filled[..3], filled[BLOCK - 1]), (&b"abc"[..], 0));
        })
        .await;
    });
}

#[test]
fn equal_blocks_compare_and_others_are_a_miscompare() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "compare", async |_desc, ch| {
            ch.write(Lba(2), pattern(5, 2)).await.0.unwrap();
            ch.compare(Lba(2), pattern(5, 2)).await.0.unwrap();
            let (result, data) = ch.compare(Lba(2), pattern(6, 2)).await;
            let error = result.unwrap_err();
            assert!(error.is_miscompare() && !error.is_aborted(), "{error}");
            let status = error.status().unwrap();
            assert_eq!((status.nvme.sct, status.nvme.sc), (2, 0x85), "{error}");
            assert_eq!(status.scsi.sense_key, 0xe, "{error}");
            assert_eq!(status.cause, IoCause::Miscompare);
            assert_eq!(data, pattern(6, 2), "it comes back as it was");
        })
        .await;
    });
}

#[test]
fn compare_and_write_changes_blocks_only_if_they_are_what_was_expected() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "cas", async |_desc, ch| {
            ch.write(Lba(1), pattern(1, 1)).await.0.unwrap();
            let (result, ..) = ch
                .compare_and_write(Lba(1), pattern(2, 1), pattern(3, 1))
                .await;
            assert!(result.unwrap_err().is_miscompare());
            let (result, _compare, write) = ch
                .compare_and_write(Lba(1), pattern(1, 1), pattern(3, 1))
                .await;
            result.unwrap();
            assert_eq!(write, pattern(3, 1));
            let now = ch.read_blocks(Lba(1), Blocks(1)).await.unwrap();
            assert_eq!(&now[..], &pattern(3, 1)[..]);

            // I3: more than the bdev can change as one step, and two lengths.
            for (compare, write) in [(2, 2), (1, 2), (2, 1)] {
                let (result, ..) = ch
                    .compare_and_write(Lba(0), pattern(0, compare), pattern(0, write))
                    .await;
                assert!(matches!(result, Err(IoError::Atomic { .. })), "{result:?}");
            }
        })
        .await;
    });
}

#[test]
fn blocks_are_copied_within_the_bdev() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "copy", async |_desc, ch| {
            ch.write(Lba(0), pattern(1, 4)).await.0.unwrap();
            let result = ch.copy(Lba(32), Lba(0), Blocks(4)).await;
            if !since(23, 1) {
                let error = result.unwrap_err();
                assert!(
                    matches!(
                        error,
                        IoError::NeedsVersion {
                            major: 23,
                            minor: 1,
                            ..
                        }
                    ),
                    "{error}"
                );
                return;
            }
            result.unwrap();
            let copy = ch.read_blocks(Lba(32), Blocks(4)).await.unwrap();
            assert_eq!(&copy[..], &pattern(1, 4)[..]);
            for (to, from, blocks) in [(1, 0, 4), (0, 3, 4), (0, 0, 1)] {
                let result = ch.copy(Lba(to), Lba(from), Blocks(blocks)).await;
                assert!(matches!(result, Err(IoError::Overlap { .. })), "{result:?}");
            }
            for (to, from) in [(61, 0), (0, 61), (u64::MAX, 0), (0, u64::MAX)] {
                let result = ch.copy(Lba(to), Lba(from), Blocks(4)).await;
                assert!(matches!(result, Err(IoError::Range { .. })), "{result:?}");
            }
        })
        .await;
    });
}

#[test]
fn seeks_find_data_and_holes_as_far_as_the_bdev_knows() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "seek", async |_desc, ch| {
            let (data, hole) = (ch.seek_data(Lba(5)).await, ch.seek_hole(Lba(5)).await);
            if !since(22, 9) {
                assert!(
                    matches!(data, Err(IoError::NeedsVersion { .. })),
                    "{data:?}"
                );
                assert!(
                    matches!(hole, Err(IoError::NeedsVersion { .. })),
                    "{hole:?}"
                );
                return;
            }
            assert_eq!(data, Ok(Some(Lba(5))), "a malloc bdev has no holes (B-51)");
            assert_eq!(hole, Ok(None));
            assert!(matches!(
                ch.seek_data(Lba(64)).await,
                Err(IoError::Range { .. })
            ));
        })
        .await;
    });
}

#[test]
fn a_zero_copy_is_read_changed_and_committed() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "zcopy", async |_desc, ch| {
            ch.write(Lba(8), pattern(1, 4)).await.0.unwrap();
            let mut region = match ch.zcopy(Lba(8), Blocks(4)).await {
                Err(IoError::Unsupported { .. }) => {
                    return eprintln!("left out: this malloc bdev has no zero-copy");
                }
                region => region.unwrap(),
            };
            assert_eq!((region.lba(), region.blocks()), (Lba(8), Blocks(4)));
            let mut seen = vec![0; 4 * BLOCK];
            region.copy_out(0, &mut seen).unwrap();
            assert_eq!(seen, pattern(1, 4));
            region.copy_in(BLOCK + 3, &[0xaa; 100]).unwrap();
            region.copy_out(BLOCK, &mut seen[..BLOCK]).unwrap();
            assert_eq!(seen[3..103], [0xaa; 100]);
            let error = region.copy_in(4 * BLOCK - 1, &[0; 2]).unwrap_err();
            assert!(matches!(error, IoError::Window { .. }), "{error}");
            region.copy_out(usize::MAX, &mut [0]).unwrap_err();
            region.commit().await.unwrap();

            let now = ch.read_blocks(Lba(9), Blocks(1)).await.unwrap();
            assert_eq!(now[3..103], [0xaa; 100]);
            assert_eq!(now[..3], pattern(1, 4)[BLOCK..BLOCK + 3]);

            let mut region = ch.zcopy_overwrite(Lba(0), Blocks(1)).await.unwrap();
            region.copy_in(0, &[1; BLOCK]).unwrap();
            region.commit().await.unwrap();
            assert_eq!(
                ch.read_blocks(Lba(0), Blocks(1)).await.unwrap()[..],
                [1; BLOCK]
            );

            ch.zcopy(Lba(0), Blocks(1))
                .await
                .unwrap()
                .discard()
                .await
                .unwrap();
            drop(ch.zcopy(Lba(0), Blocks(1)).await.unwrap());
            ch.zcopy(Lba(0), Blocks(0)).await.unwrap_err();
        })
        .await;
    });
}

#[test]
fn d8_a_bdev_can_go_while_somebody_holds_a_zero_copy_of_it() {
    SPDK.run(async |spdk| {
        MallocBdev::builder("zgone")
            .blocks(64)
            .create(&spdk)
            .await
            .unwrap();
        let desc = BdevDesc::open(&spdk, "zgone").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let Ok(region) = ch.zcopy(Lba(0), Blocks(4)).await else {
            eprintln!("left out: this malloc bdev has no zero-copy");
            return MallocBdev::delete(&spdk, "zgone").await.unwrap();
        };
        let forgotten = ch.zcopy(Lba(4), Blocks(4)).await.unwrap();
        std::mem::forget(forgotten);
        // Resolves only when all that was given out has come back.
        MallocBdev::delete(&spdk, "zgone").await.unwrap();
        let error = region.copy_out(0, &mut [0; 8]).unwrap_err();
        assert!(matches!(error, IoError::Removed { .. }), "{error}");
        let error = region.commit().await.unwrap_err();
        assert!(matches!(error, IoError::Removed { .. }), "{error}");
    });
}

#[test]
fn a_sequence_moves_on_with_each_success_and_stays_with_each_error() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "sequence", async |_desc, ch| {
            let mut sequence = ch.sequential(Lba(60));
            sequence.write(pattern(1, 1)).await.0.unwrap();
            sequence.write(pattern(2, 2)).await.0.unwrap();
            assert_eq!(
                (sequence.position(), sequence.remaining()),
                (Lba(63), Blocks(1))
            );
            let (result, data) = sequence.write(pattern(3, 2)).await;
            assert!(matches!(result, Err(IoError::Range { .. })), "{result:?}");
            assert_eq!(sequence.position(), Lba(63));
            sequence.write(data[..BLOCK].to_vec()).await.0.unwrap();
            assert_eq!(sequence.remaining(), Blocks(0));
            sequence.set_position(Lba(60));
            let (result, all) = sequence.read(vec![0; 4 * BLOCK]).await;
            result.unwrap();
            assert_eq!(all, [pattern(1, 1), pattern(2, 2), pattern(3, 1)].concat());
        })
        .await;
    });
}

#[test]
fn i3_lengths_that_can_not_be_are_errors_and_the_data_comes_back() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "lengths", async |_desc, ch| {
            let (result, data) = ch.write(Lba(0), Vec::<u8>::new()).await;
            assert!(matches!(result, Err(IoError::Empty { .. })), "{result:?}");
            assert!(data.is_empty());
            for len in [1, 511, 513, 1023] {
                let (result, data) = ch.read(Lba(0), vec![1; len]).await;
                assert!(matches!(result, Err(IoError::Length { .. })), "{result:?}");
                assert_eq!(data, vec![1; len]);
                // The sum counts, not the pieces.
                let (result, _) = ch.read(Lba(0), (vec![1; len], vec![1; 100])).await;
                assert!(matches!(result, Err(IoError::Length { .. })), "{result:?}");
            }
            let (result, ..) = ch.read_with_md(Lba(0), vec![0; BLOCK], vec![0; 8]).await;
            let error = result.unwrap_err();
            assert!(
                matches!(
                    error,
                    IoError::Metadata {
                        metadata_size: 0,
                        ..
                    }
                ),
                "{error}"
            );
        })
        .await;
    });
}

#[test]
fn an_abort_that_the_bdev_can_not_do_changes_nothing() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "abort", async |_desc, ch| {
            let batch = ch.batch();
            let ios: Vec<_> = (0..8)
                .map(|at| ch.read(Lba(at), vec![0; BLOCK]).in_batch(&batch))
                .collect();
            let reads = async { join_all(ios).await };
            let abort = async {
                assert_eq!(batch.in_flight(), 8, "{batch:?}");
                batch.abort().await
            };
            let (reads, aborts) = futures_util::future::join(reads, abort).await;
            match aborts {
                Ok(aborts) => assert_eq!(aborts.given_up, 0, "none of them waited"),
                Err(error) => assert!(matches!(error, IoError::Unsupported { .. }), "{error}"),
            }
            assert!(reads.iter().all(|(result, _)| result.is_ok()));
            assert_eq!(batch.in_flight(), 0);
            if ch.supports(IoType::Abort) {
                assert_eq!(
                    batch.abort().await,
                    Ok(Aborts::default()),
                    "nothing is left"
                );
            }
        })
        .await;
    });
}

#[test]
fn i7_what_waits_for_memory_can_be_given_up() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "give-up", async |_desc, ch| {
            // More than the pool has; the last ones wait.
            let batch = ch.batch();
            let first: Vec<_> = (0..9_000)
                .map(|at| ch.flush(Lba(at % 64), Blocks(1)))
                .collect();
            let last: Vec<_> = (0..100)
                .map(|at| ch.write(Lba(at % 64), vec![9; BLOCK]).in_batch(&batch))
                .collect();
            let all = async { futures_util::future::join(join_all(first), join_all(last)).await };
            let abort = async { batch.abort().await };
            let ((first, last), aborts) = futures_util::future::join(all, abort).await;
            let given_up = match aborts {
                Ok(aborts) => aborts.given_up,
                Err(error) => panic!("{error}"),
            };
            assert_eq!(given_up, 100, "all of them waited");
            assert!(first.iter().all(Result::is_ok));
            assert!(last.iter().all(|(result, data)| {
                result.as_ref().is_err_and(IoError::is_aborted) && data.len() == BLOCK
            }));
            let all = ch.read_blocks(Lba(0), Blocks(64)).await.unwrap();
            assert!(
                all.iter().all(|byte| *byte == 0),
                "none of them was written"
            );
        })
        .await;
    });
}

#[test]
fn a_loop_goes_on_until_its_step_says_so_and_gives_the_buffer_back() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "loop", async |_desc, ch| {
            // Writes its number to each block.
            let mut next = 0_u8;
            let (result, buf) = ch
                .write_loop(Lba(0), vec![0; BLOCK], move |result, buf| {
                    result.unwrap();
                    next += 1;
                    buf.fill(next);
                    (next < 64).then_some(Lba(next.into()))
                })
                .await;
            result.unwrap();
            assert_eq!(buf, vec![64; BLOCK], "as the step left it");
            let seen = Rc::new(std::cell::RefCell::new(Vec::new()));
            let sees = Rc::clone(&seen);
            let (result, _) = ch
                .read_loop(Lba(0), vec![0; BLOCK], move |result, buf| {
                    result.unwrap();
                    sees.borrow_mut().push(buf[0]);
                    let next = sees.borrow().len() as u64;
                    (next < 64).then_some(Lba(next))
                })
                .await;
            result.unwrap();
            assert_eq!(*seen.borrow(), (0..64).collect::<Vec<u8>>());

            // What can't be started ends it; so does a panic, which is contained.
            let (result, buf) = ch
                .read_loop(Lba(0), vec![0; BLOCK], |_, _| Some(Lba(64)))
                .await;
            assert!(matches!(result, Err(IoError::Range { .. })), "{result:?}");
            assert_eq!(buf.len(), BLOCK);
            let (result, _) = ch.read_loop(Lba(64), vec![0; BLOCK], |_, _| None).await;
            assert!(matches!(result, Err(IoError::Range { .. })), "{result:?}");
            let (result, _) = ch
                .read_loop(Lba(0), vec![0; BLOCK], |_, buf| {
                    buf.truncate(100);
                    Some(Lba(0))
                })
                .await;
            assert!(matches!(result, Err(IoError::Length { .. })), "{result:?}");
            let before = spdk_safe::contained_panics();
            let (result, _) = ch
                .read_loop(Lba(0), vec![0; BLOCK], |_, _| panic!("no more"))
                .await;
            assert!(matches!(result, Err(IoError::Panic { .. })), "{result:?}");
            assert_eq!(spdk_safe::contained_panics(), before + 1, "T13");

            // Data in several pieces, and from piece to pieces.
            let mut left = 3;
            let (result, _) = ch
                .read_loop(Lba(0), vec![vec![0; BLOCK]], move |result, bufs| {
                    result.unwrap();
                    bufs.push(vec![0; BLOCK]);
                    left -= 1;
                    (left > 0).then_some(Lba(left))
                })
                .await;
            result.unwrap();
        })
        .await;
    });
}

#[test]
fn i3_a_loop_that_has_gone_well_is_not_trusted_with_its_next_io() {
    /// Goes well for four I/Os, at any place; after that one is as `change` and its answer say.
    async fn fifth(
        ch: &IoChannel<ReadWrite>,
        writes: bool,
        mut change: impl FnMut(&mut Vec<u8>) -> u64 + 'static,
    ) -> (Result<(), IoError>, Vec<u8>, u32) {
        let steps = Rc::new(std::cell::Cell::new(0));
        let counts = Rc::clone(&steps);
        let step = move |result: Result<(), IoError>, buf: &mut Vec<u8>| {
            result.unwrap();
            counts.set(counts.get() + 1);
            match counts.get() {
                4 => Some(Lba(change(buf))),
                5 => None,
                at => Some(Lba(u64::from(at))),
            }
        };
        let (result, buf) = match writes {
            true => ch.write_loop(Lba(0), vec![7; BLOCK], step).await,
            false => ch.read_loop(Lba(0), vec![7; BLOCK], step).await,
        };
        (result, buf, steps.get())
    }
    SPDK.run(async |spdk| {
        with_disk(&spdk, "loop-fifth", async |_desc, ch| {
            for writes in [true, false] {
                for place in [64, u64::MAX, u64::MAX - 7] {
                    let (result, buf, steps) = fifth(ch, writes, move |_| place).await;
                    assert!(
                        matches!(result, Err(IoError::Range { lba, blocks: Blocks(1), capacity: Blocks(64), .. }) if lba == Lba(place)),
                        "{result:?}"
                    );
                    assert_eq!((buf.len(), steps), (BLOCK, 4));
                }
                let (result, ..) = fifth(ch, writes, |buf| {
                    buf.truncate(100);
                    9
                })
                .await;
                assert!(matches!(result, Err(IoError::Length { .. })), "{result:?}");
                let (result, ..) = fifth(ch, writes, |buf| {
                    buf.clear();
                    9
                })
                .await;
                assert!(matches!(result, Err(IoError::Empty { .. })), "{result:?}");
                // Other memory, and more of it: all of it is read or written, and it comes back.
                let (result, buf, steps) = fifth(ch, writes, |buf| {
                    *buf = vec![9; 3 * BLOCK];
                    61
                })
                .await;
                result.unwrap();
                assert_eq!((buf, steps), (vec![9; 3 * BLOCK], 5));
                let end = ch.read_blocks(Lba(61), Blocks(3)).await.unwrap();
                assert_eq!(end.to_vec(), vec![9; 3 * BLOCK]);
                let (result, ..) = fifth(ch, writes, |buf| {
                    *buf = vec![9; 3 * BLOCK];
                    62
                })
                .await;
                assert!(matches!(result, Err(IoError::Range { .. })), "{result:?}");
            }
            // Nothing of them counts as outstanding.
            assert!(format!("{ch:?}").contains("outstanding: 0"), "{ch:?}");
        })
        .await;
    });
}

#[test]
fn i3_a_loop_whose_channel_goes_while_it_empties_its_buffer_ends() {
    SPDK.run(async |spdk| {
        let disk = MallocBdev::builder("loop-goes").blocks(64);
        disk.create(&spdk).await.unwrap();
        for writes in [true, false] {
            let desc = BdevDesc::open(&spdk, "loop-goes").read_write().unwrap();
            let ch = desc.channel().unwrap();
            let closes = Rc::new(std::cell::RefCell::new(None));
            let (close, mut desc, mut left) = (Rc::clone(&closes), Some(desc), 5);
            let step = move |result: Result<(), IoError>, buf: &mut Vec<u8>| {
                result.unwrap();
                left -= 1;
                if left == 0 {
                    let closing = desc.take().unwrap().close();
                    closing.revoke().unwrap();
                    close.replace(Some(closing));
                    // It stays where it is, with room for as much as before.
                    buf.clear();
                }
                Some(Lba(left))
            };
            let buf = vec![7; BLOCK];
            let (result, buf) = match writes {
                true => ch.write_loop(Lba(0), buf, step).await,
                false => ch.read_loop(Lba(0), buf, step).await,
            };
            assert!(matches!(result, Err(IoError::Removed { .. })), "{result:?}");
            assert!(buf.is_empty());
            let closing = closes.take().unwrap();
            closing.await;
        }
        MallocBdev::delete(&spdk, "loop-goes").await.unwrap();
    });
}

#[test]
fn i2_a_loop_whose_future_is_dropped_ends_and_lets_go_of_everything() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "loop-drop", async |_desc, ch| {
            let held = Rc::new(());
            let steps = Rc::new(std::cell::Cell::new(0));
            // In flight.
            let (holds, counts) = (Rc::clone(&held), Rc::clone(&steps));
            let mut endless = Box::pin(ch.read_loop(Lba(0), vec![0; BLOCK], move |_, _| {
                let _held = &holds;
                counts.set(counts.get() + 1);
                Some(Lba(0))
            }));
            let polled = futures_util::poll!(&mut endless);
            assert!(polled.is_pending());
            while steps.get() < 10 {
                spdk_safe::app::yield_now().await;
            }
            drop(endless);
            let at_drop = steps.get();
            while Rc::strong_count(&held) > 1 {
                spdk_safe::app::yield_now().await;
            }
            assert_eq!(steps.get(), at_drop, "no step after the drop");
            // By its own step.
            let own = Rc::new(std::cell::RefCell::new(None));
            let (holds, itself) = (Rc::clone(&held), Rc::downgrade(&own));
            let endless = ch.read_loop(Lba(0), vec![0; BLOCK], move |_, _| {
                let _held = &holds;
                let itself = itself.upgrade()?;
                let future = itself.borrow_mut().take();
                drop(future);
                Some(Lba(0))
            });
            let mut endless: std::pin::Pin<Box<dyn Future<Output = _>>> = Box::pin(endless);
            assert!(futures_util::poll!(&mut endless).is_pending());
            own.replace(Some(endless));
            while Rc::strong_count(&held) > 1 {
                spdk_safe::app::yield_now().await;
            }
            // Never polled.
            drop(ch.read_loop(Lba(0), vec![0; BLOCK], |_, _| None));
        })
        .await;
    });
}

#[test]
fn a_callback_is_called_once_and_may_start_the_next() {
    SPDK.run(async |spdk| {
        with_disk(&spdk, "then", async |desc, _ch| {
            let ch = Rc::new(desc.channel().unwrap());
            let done = Rc::new(std::cell::Cell::new(0));
            fn go_on(ch: Rc<IoChannel<ReadWrite>>, done: Rc<std::cell::Cell<u64>>, buf: Vec<u8>) {
                let at = done.get();
                if at == 64 {
                    return;
                }
                let channel = Rc::clone(&ch);
                let started = channel.write_then(Lba(at), buf, move |result, mut buf| {
                    result.unwrap();
                    done.set(done.get() + 1);
                    buf.fill(done.get() as u8);
                    go_on(ch, done, buf);
                });
                started.unwrap();
            }
            go_on(Rc::clone(&ch), Rc::clone(&done), vec![0; BLOCK]);
            while done.get() < 64 {
                spdk_safe::app::yield_now().await;
            }
            let all = ch.read_blocks(Lba(0), Blocks(64)).await.unwrap();
            assert!((0..64).all(|at| all[at * BLOCK] == at as u8));
            let (error, buf) = ch
                .read_then(Lba(64), vec![7; BLOCK], |_, _| {
                    panic!("it was never started")
                })
                .unwrap_err();
            assert!(matches!(error, IoError::Range { .. }), "{error}");
            assert_eq!(buf, vec![7; BLOCK]);
            let before = spdk_safe::contained_panics();
            ch.read_then(Lba(0), vec![7; BLOCK], |_, _| panic!("T13"))
                .unwrap();
            while spdk_safe::contained_panics() == before {
                spdk_safe::app::yield_now().await;
            }
        })
        .await;
    });
}

#[test]
fn bytes_are_written_as_they_are_and_read_into_where_they_are_owned() {
    use bytes::{Bytes as Shared, BytesMut};
    SPDK.run(async |spdk| {
        with_disk(&spdk, "bytes", async |_desc, ch| {
            let sent = Shared::from(pattern(3, 2));
            ch.write(Lba(1), sent.slice(BLOCK..)).await.0.unwrap();
            let (result, seen) = ch.read(Lba(1), BytesMut::zeroed(BLOCK)).await;
            result.unwrap();
            assert_eq!(seen, sent.slice(BLOCK..));
            let (result, seen) = ch.compare(Lba(1), seen.freeze()).await;
            result.unwrap();
            assert_eq!(seen.len(), BLOCK);
        })
        .await;
    });
}

#[test]
fn d8_a_loop_hears_of_the_removal_of_its_bdev() {
    SPDK.run(async |spdk| {
        MallocBdev::builder("loop-gone")
            .blocks(64)
            .create(&spdk)
            .await
            .unwrap();
        let desc = BdevDesc::open(&spdk, "loop-gone").read_only().unwrap();
        let ch = desc.channel().unwrap();
        let steps = Rc::new(std::cell::Cell::new(0));
        let counts = Rc::clone(&steps);
        let endless = ch.read_loop(Lba(0), vec![0; BLOCK], move |_, _| {
            counts.set(counts.get() + 1);
            Some(Lba(0))
        });
        // A task of its own: nobody else's waker polls it.
        let task = spdk_safe::thread::spawn_local(endless).unwrap();
        while steps.get() < 10 {
            spdk_safe::app::yield_now().await;
        }
        MallocBdev::delete(&spdk, "loop-gone").await.unwrap();
        let (result, buf) = task.await.unwrap();
        assert!(matches!(result, Err(IoError::Removed { .. })), "{result:?}");
        assert_eq!(buf.len(), BLOCK);
    });
}
