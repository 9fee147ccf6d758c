//! Claims (MISUSE D1, D3, D6; contract B-20 to B-23).

use std::num::NonZeroU64;

use spdk_safe::bdev::{
    self, ClaimAs, ClaimKind, DescMode, ExclusiveWrite, NullBdev, Opened, ReadManyWriteNone,
    ReadManyWriteOne, ReadManyWriteShared,
};
use spdk_safe::module::BdevModule;
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static FIRST: BdevModule = BdevModule::new(c"rust_first");
static SECOND: BdevModule = BdevModule::new(c"rust_second");
static FORGOTTEN: BdevModule = BdevModule::new(c"rust_forgotten");
static SPDK: Harness = Harness::new(&[&FIRST, &SECOND]);

/// A null bdev for one test, deleted at its end.
async fn with_bdev(spdk: &Spdk, name: &str, test: impl AsyncFnOnce()) {
    NullBdev::builder(name)
        .blocks(64)
        .create(spdk)
        .await
        .unwrap();
    test().await;
    NullBdev::delete(spdk, name).await.unwrap();
}

/// Whether this SPDK has the claims that end with their descriptor; says so if not.
fn has_v2() -> bool {
    let has = spdk_sys::VERSION >= (23, 5, 0);
    if !has {
        println!("this SPDK has exclusive claims only");
    }
    has
}

fn shared(key: u64) -> ReadManyWriteShared {
    ReadManyWriteShared {
        key: NonZeroU64::new(key).unwrap(),
    }
}

fn read_only(spdk: &Spdk, name: &str) -> BdevDesc<ReadOnly> {
    BdevDesc::open(spdk, name).read_only().unwrap()
}

fn read_write(spdk: &Spdk, name: &str) -> BdevDesc<ReadWrite> {
    BdevDesc::open(spdk, name).read_write().unwrap()
}

/// The error of a claim that must fail, and the descriptor, which must still be good for something.
fn refused<M: DescMode, C: ClaimAs<M>>(
    desc: BdevDesc<M, Opened>,
    claim: C,
) -> (ClaimError, BdevDesc<M, Opened>) {
    let (error, desc) = match desc.claim_as(&SECOND, claim) {
        Ok(_) => panic!("it should be refused"),
        Err(refused) => refused,
    };
    assert!(desc.channel().is_ok());
    (error, desc)
}

fn claimed(name: &str, kind: ClaimKind) -> ClaimError {
    ClaimError::Claimed {
        name: name.into(),
        by: "rust_first".into(),
        claim: Some(kind),
    }
}

#[test]
fn d6_what_is_claimed_in_one_way_can_not_be_claimed_in_another() {
    SPDK.run(async |spdk| {
        with_bdev(&spdk, "d6", async || {
            let holds = |kind| {
                let found = bdev::find(&spdk, "d6").unwrap().unwrap();
                let claim = found.claim.clone().unwrap();
                assert_eq!((claim.by.as_str(), claim.kind), ("rust_first", kind));
                assert!(
                    found
                        .to_string()
                        .contains("claimed    by module \"rust_first\"")
                );
                let error = BdevDesc::open(&spdk, "d6").read_write().unwrap_err();
                assert_eq!(
                    error,
                    OpenError::Claimed {
                        name: "d6".into(),
                        by: "rust_first".into(),
                        claim: Some(kind),
                    }
                );
            };
            let holder = read_write(&spdk, "d6")
                .claim_as(&FIRST, ExclusiveWrite)
                .unwrap();
            holds(ClaimKind::ExclusiveWrite);
            if has_v2() {
                let (error, desc) = refused(read_only(&spdk, "d6"), ReadManyWriteOne);
                assert_eq!(error, claimed("d6", ClaimKind::ExclusiveWrite));
                let (error, desc) = refused(desc, ReadManyWriteNone);
                assert_eq!(error, claimed("d6", ClaimKind::ExclusiveWrite));
                let (error, _) = refused(desc, shared(1));
                assert_eq!(error, claimed("d6", ClaimKind::ExclusiveWrite));
            }
            holder.close().await;
            assert_eq!(bdev::find(&spdk, "d6").unwrap().unwrap().claim, None);
            if !has_v2() {
                return;
            }

            let holder = read_only(&spdk, "d6")
                .claim_as(&FIRST, ReadManyWriteOne)
                .unwrap();
            holds(ClaimKind::ReadManyWriteOne);
            let (error, desc) = refused(read_only(&spdk, "d6"), ReadManyWriteOne);
            assert_eq!(error, claimed("d6", ClaimKind::ReadManyWriteOne));
            let (error, desc) = refused(desc, ReadManyWriteNone);
            assert_eq!(error, claimed("d6", ClaimKind::ReadManyWriteOne));
            let (error, _) = refused(desc, shared(1));
            assert_eq!(error, claimed("d6", ClaimKind::ReadManyWriteOne));
            holder.close().await;

            let holder = read_only(&spdk, "d6")
                .claim_as(&FIRST, ReadManyWriteNone)
                .unwrap();
            holds(ClaimKind::ReadManyWriteNone);
            let (error, desc) = refused(read_only(&spdk, "d6"), shared(1));
            assert_eq!(error, claimed("d6", ClaimKind::ReadManyWriteNone));
            assert!(
                error.to_string().contains("claimed against writing"),
                "{error}"
            );
            let same = desc.claim_as(&SECOND, ReadManyWriteNone).unwrap();
            holder.close().await;
            // The other one still holds it.
            let found = bdev::find(&spdk, "d6").unwrap().unwrap().claim.unwrap();
            assert_eq!(
                (found.by.as_str(), found.kind),
                ("rust_second", ClaimKind::ReadManyWriteNone)
            );
            same.close().await;

            let holder = read_only(&spdk, "d6").claim_as(&FIRST, shared(7)).unwrap();
            holds(ClaimKind::ReadManyWriteShared);
            let (error, desc) = refused(read_only(&spdk, "d6"), shared(8));
            assert_eq!(
                error,
                ClaimError::OtherKey {
                    name: "d6".into(),
                    by: "rust_first".into()
                }
            );
            let (error, desc) = refused(desc, ReadManyWriteOne);
            assert_eq!(error, claimed("d6", ClaimKind::ReadManyWriteShared));
            let peer = desc.claim_as(&SECOND, shared(7)).unwrap();
            for desc in [&holder, &peer] {
                let ch = desc.channel().unwrap();
                let write = ch.write(Lba(0), desc.alloc(Blocks(1)).unwrap());
                write.await.0.unwrap();
            }
            holder.close().await;
            peer.close().await;
            read_write(&spdk, "d6").close().await;
        })
        .await;
    });
}

#[test]
fn d6_a_claim_is_refused_while_somebody_else_writes_without_one() {
    SPDK.run(async |spdk| {
        with_bdev(&spdk, "d6-w", async || {
            if !has_v2() {
                return;
            }
            let writers = |claim| ClaimError::Writers {
                name: "d6-w".into(),
                claim,
            };
            let writer = read_write(&spdk, "d6-w");
            let (error, desc) = refused(read_only(&spdk, "d6-w"), ReadManyWriteOne);
            assert_eq!(error, writers(ClaimKind::ReadManyWriteOne));
            let (error, desc) = refused(desc, ReadManyWriteNone);
            assert_eq!(error, writers(ClaimKind::ReadManyWriteNone));
            let (error, desc) = refused(desc, shared(1));
            assert_eq!(error, writers(ClaimKind::ReadManyWriteShared));
            let (error, other) = refused(read_write(&spdk, "d6-w"), ReadManyWriteOne);
            assert_eq!(error, writers(ClaimKind::ReadManyWriteOne));
            assert_eq!(bdev::find(&spdk, "d6-w").unwrap().unwrap().claim, None);

            writer.close().await;
            other.close().await;
            drop(desc.claim_as(&SECOND, ReadManyWriteOne).unwrap());
        })
        .await;
    });
}

#[test]
fn b20_an_exclusive_claim_does_not_look_for_those_who_write_already() {
    SPDK.run(async |spdk| {
        with_bdev(&spdk, "b20", async || {
            let writer = read_write(&spdk, "b20");
            let holder = read_write(&spdk, "b20").claim(&FIRST).unwrap();
            let ch = writer.channel().unwrap();
            let write = ch.write(Lba(0), writer.alloc(Blocks(1)).unwrap());
            write.await.0.unwrap();
            drop(ch);
            writer.close().await;
            assert!(BdevDesc::open(&spdk, "b20").read_write().is_err());
            holder.close().await;
        })
        .await;
    });
}

#[test]
fn b22_a_claim_to_write_makes_a_read_only_descriptor_writable() {
    SPDK.run(async |spdk| {
        with_bdev(&spdk, "b22", async || {
            if !has_v2() {
                return;
            }
            let desc = read_only(&spdk, "b22");
            let before: IoChannel<ReadOnly> = desc.channel().unwrap();
            let desc: BdevDesc<ReadWrite, Claimed> =
                desc.claim_as(&FIRST, ReadManyWriteOne).unwrap();
            let ch = desc.channel().unwrap();
            let write = ch.write(Lba(0), desc.alloc(Blocks(1)).unwrap());
            write.await.0.unwrap();
            ch.write_zeroes(Lba(1), Blocks(1)).await.unwrap();
            let read = before.read(Lba(0), desc.alloc(Blocks(1)).unwrap());
            read.await.0.unwrap();
            drop((before, ch));
            desc.close().await;
            // What was writable stays so.
            let desc = read_write(&spdk, "b22")
                .claim_as(&FIRST, ReadManyWriteOne)
                .unwrap();
            let ch = desc.channel().unwrap();
            ch.write_zeroes(Lba(1), Blocks(1)).await.unwrap();
        })
        .await;
    });
}

#[test]
fn d8_a_bdev_that_is_claimed_goes_although_nobody_reacts() {
    SPDK.run(async |spdk| {
        for v2 in [false, true] {
            if v2 && !has_v2() {
                continue;
            }
            NullBdev::builder("d8")
                .blocks(8)
                .create(&spdk)
                .await
                .unwrap();
            let desc = match v2 {
                false => read_write(&spdk, "d8").claim(&FIRST).unwrap(),
                true => read_only(&spdk, "d8")
                    .claim_as(&FIRST, ReadManyWriteOne)
                    .unwrap(),
            };
            let late = read_only(&spdk, "d8");
            NullBdev::delete(&spdk, "d8").await.unwrap();
            assert!(desc.is_removed());
            let (error, late) = late.claim_as(&SECOND, ReadManyWriteOne).unwrap_err();
            assert_eq!(error, ClaimError::Removed { name: "d8".into() });
            drop((desc, late));
        }
    });
}

#[test]
fn claims_of_newer_versions_or_for_a_module_that_was_not_added_are_errors() {
    SPDK.run(async |spdk| {
        with_bdev(&spdk, "errors", async || {
            let (error, desc) = read_only(&spdk, "errors")
                .claim_as(&FORGOTTEN, ReadManyWriteNone)
                .unwrap_err();
            assert!(
                matches!(error, ClaimError::ModuleNotAdded { .. }),
                "{error}"
            );
            if !has_v2() {
                let (error, _) = desc.claim_as(&FIRST, ReadManyWriteNone).unwrap_err();
                assert!(
                    matches!(error, ClaimError::NeedsVersion { needs: "23.05", .. }),
                    "{error}"
                );
                assert!(error.to_string().contains("needs SPDK 23.05"), "{error}");
            }
        })
        .await;
    });
}
