//! The mirror on real SPDK, over malloc bdevs.

use std::rc::Rc;

use futures_util::future::join_all;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use spdk_raid::raid1::layout::LayoutError;
use spdk_raid::raid1::{CreateError, Raid1};
use spdk_safe::prelude::*;

use super::SPDK;

/// Malloc bdevs `prefix0`, `prefix1`, ... of 512-byte blocks, one for each size in blocks.
async fn disks(spdk: &Spdk, prefix: &str, sizes: &[u64]) -> Vec<String> {
    let mut names = Vec::new();
    for (at, blocks) in sizes.iter().enumerate() {
        let name = format!("{prefix}{at}");
        MallocBdev::builder(&name)
            .blocks(*blocks)
            .create(spdk)
            .await
            .unwrap();
        names.push(name);
    }
    names
}

async fn mirror(spdk: &Spdk, name: &str, bases: &[String]) -> Result<Raid1, CreateError> {
    let builder = bases
        .iter()
        .fold(Raid1::builder(name), |builder, base| builder.base(base));
    builder.create(spdk).await
}

async fn delete_all(spdk: &Spdk, names: &[String]) {
    for name in names {
        MallocBdev::delete(spdk, name).await.unwrap();
    }
}

/// All of a bdev's contents.
async fn contents(spdk: &Spdk, name: &str) -> Vec<u8> {
    let desc = BdevDesc::open(spdk, name).read_only().unwrap();
    let ch = desc.channel().unwrap();
    let (result, buf) = ch
        .read(Lba(0), desc.alloc(desc.num_blocks()).unwrap())
        .await;
    result.unwrap();
    drop(ch);
    desc.close().await;
    buf.to_vec()
}

#[test]
fn every_leg_holds_what_was_written_through_the_mirror() {
    SPDK.run(async |spdk| {
        for count in [2, 3, 8] {
            let bases = disks(&spdk, "every", &vec![256; count]).await;
            let array = mirror(&spdk, "md", &bases).await.unwrap();
            let desc = BdevDesc::open(&spdk, "md").read_write().unwrap();
            let ch = desc.channel().unwrap();
            let mut data = ch.alloc(Blocks(256)).unwrap();
            SmallRng::seed_from_u64(count as u64).fill_bytes(&mut data);
            let expected = data.to_vec();
            ch.write(Lba(0), data).await.0.unwrap();
            drop(ch);
            desc.close().await;
            assert_eq!(contents(&spdk, "md").await, expected);
            array.delete().await;
            for base in &bases {
                assert!(
                    contents(&spdk, base).await == expected,
                    "{base} of {count} differs"
                );
            }
            delete_all(&spdk, &bases).await;
        }
    });
}

/// Random writes, zeroes and unmaps with many in flight, against a copy in memory; ranges in flight do not overlap.
/// `MIRROR_SEED` replays a seed.
#[test]
fn random_io_leaves_all_legs_equal_to_the_copy_in_memory() {
    const BLOCKS: u64 = 512;
    const LANES: u64 = 16;
    let seed: u64 =
        std::env::var("MIRROR_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("MIRROR_SEED={seed}");
    SPDK.run(async move |spdk| {
        let bases = disks(&spdk, "random", &[BLOCKS, BLOCKS, BLOCKS]).await;
        let array = mirror(&spdk, "md-random", &bases).await.unwrap();
        let desc = BdevDesc::open(&spdk, "md-random").read_write().unwrap();
        let ch = Rc::new(desc.channel().unwrap());
        // Each lane owns a part of the array, so lanes run at once and the outcome is still certain.
        let lanes = (0..LANES).map(|lane| {
            let ch = Rc::clone(&ch);
            async move {
                let (size, mut rng) = (BLOCKS / LANES, SmallRng::seed_from_u64(seed ^ lane));
                let mut copy = vec![0_u8; (size * 512) as usize];
                for _ in 0..50 {
                    let at = rng.random_range(0..size);
                    let blocks = rng.random_range(1..=size - at);
                    let (lba, part) = (
                        Lba(lane * size + at),
                        (at * 512) as usize..((at + blocks) * 512) as usize,
                    );
                    match rng.random_range(0..4) {
                        0 => {
                            ch.write_zeroes(lba, Blocks(blocks)).await.unwrap();
                            copy[part].fill(0);
                        }
                        1 => {
                            // Malloc bdevs zero what is unmapped (L-05).
                            ch.unmap(lba, Blocks(blocks)).await.unwrap();
                            copy[part].fill(0);
                        }
                        2 => {
                            let mut buf = ch.alloc(Blocks(blocks)).unwrap();
                            rng.fill_bytes(&mut buf);
                            copy[part].copy_from_slice(&buf);
                            ch.write(lba, buf).await.0.unwrap();
                        }
                        _ => {
                            let (result, buf) =
                                ch.read(lba, ch.alloc(Blocks(blocks)).unwrap()).await;
                            result.unwrap();
                            assert!(copy[part] == buf[..], "seed {seed}, lane {lane}, {lba}");
                        }
                    }
                }
                copy
            }
        });
        let copy = join_all(lanes).await.concat();
        ch.flush(Lba(0), Blocks(BLOCKS)).await.unwrap();
        drop(ch);
        desc.close().await;
        array.delete().await;
        for base in &bases {
            assert!(
                contents(&spdk, base).await == copy,
                "seed {seed}: {base} differs"
            );
        }
        delete_all(&spdk, &bases).await;
    });
}

#[test]
fn the_array_is_as_large_as_its_smallest_base() {
    SPDK.run(async |spdk| {
        let bases = disks(&spdk, "small", &[300, 200, 400]).await;
        let array = mirror(&spdk, "md-small", &bases).await.unwrap();
        assert_eq!((array.num_blocks(), array.block_size()), (Blocks(200), 512));
        let desc = BdevDesc::open(&spdk, "md-small").read_only().unwrap();
        assert_eq!(desc.num_blocks(), Blocks(200));
        assert_eq!(
            (desc.info().module.as_str(), desc.info().product.as_str()),
            ("rust_raid1", "Rust RAID1")
        );
        assert!(desc.info().write_cache, "that of the bases (contract R-98)");
        desc.close().await;
        array.delete().await;
        delete_all(&spdk, &bases).await;
    });
}

#[test]
fn s2_an_array_that_can_not_be_is_an_error_and_nothing_is_left_behind() {
    SPDK.run(async |spdk| {
        let bases = disks(&spdk, "s2-", &[64, 64]).await;
        MallocBdev::builder("s2-4k")
            .blocks(64)
            .block_size(4096)
            .create(&spdk)
            .await
            .unwrap();
        let named = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        for (names, words) in [
            (named(&[]), "needs 2 to 32 bases, not 0"),
            (named(&["s2-0"]), "needs 2 to 32 bases, not 1"),
            (named(&["s2-0", "s2-0"]), "named twice"),
            (named(&["s2-0", "nobody"]), "no bdev named \"nobody\""),
            (named(&["s2-0", "s2-4k"]), "blocks of 4096 B"),
        ] {
            let error = mirror(&spdk, "md-s2", &names)
                .await
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(words) && error.contains("md-s2"),
                "{error:?} should say {words:?}"
            );
        }
        let bad_name = mirror(&spdk, "", &bases).await.unwrap_err();
        assert!(matches!(bad_name, CreateError::Name { .. }), "{bad_name}");
        let taken = mirror(&spdk, "s2-4k", &bases).await.unwrap_err();
        assert!(matches!(taken, CreateError::Register { .. }), "{taken}");

        let array = mirror(&spdk, "md-s2", &bases)
            .await
            .expect("every base is free again");
        let used = mirror(&spdk, "md-other", &bases)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            used.contains("claimed for writing by module \"rust_raid1\""),
            "{used}"
        );
        array.delete().await;
        delete_all(&spdk, &bases).await;
        MallocBdev::delete(&spdk, "s2-4k").await.unwrap();
        assert_eq!(
            Raid1::builder("x")
                .base("a")
                .create(&spdk)
                .await
                .unwrap_err(),
            CreateError::Layout {
                array: "x".into(),
                source: LayoutError::Count { given: 1 }
            }
        );
    });
}

#[test]
fn i9_many_writes_at_once_wait_for_memory_and_all_succeed() {
    SPDK.run(async |spdk| {
        let bases = disks(&spdk, "many", &[64, 64]).await;
        let array = mirror(&spdk, "md-many", &bases).await.unwrap();
        let desc = BdevDesc::open(&spdk, "md-many").read_write().unwrap();
        let ch = desc.channel().unwrap();
        // Each takes three of the harness's 8191 `spdk_bdev_io`s.
        let all = join_all((0..20_000).map(|at| ch.flush(Lba(at % 64), Blocks(1)))).await;
        let failed = all.iter().filter(|result| result.is_err()).count();
        assert_eq!(failed, 0, "of {}", all.len());
        drop(ch);
        desc.close().await;
        array.delete().await;
        delete_all(&spdk, &bases).await;
    });
}

#[test]
fn m10_a_mirror_of_mirrors_survives_more_io_than_there_is_memory() {
    SPDK.run(async |spdk| {
        let bases = disks(&spdk, "stack", &[64, 64, 64, 64]).await;
        let left = mirror(&spdk, "md-left", &bases[..2]).await.unwrap();
        let right = mirror(&spdk, "md-right", &bases[2..]).await.unwrap();
        let top = mirror(&spdk, "md-top", &["md-left".into(), "md-right".into()])
            .await
            .unwrap();
        let desc = BdevDesc::open(&spdk, "md-top").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let all = join_all((0..20_000).map(|at| ch.flush(Lba(at % 64), Blocks(1)))).await;
        assert_eq!(all.iter().filter(|result| result.is_err()).count(), 0);
        drop(ch);
        desc.close().await;
        top.delete().await;
        left.delete().await;
        right.delete().await;
        delete_all(&spdk, &bases).await;
    });
}
