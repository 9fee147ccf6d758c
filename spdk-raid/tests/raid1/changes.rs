//! Arrays come, change, and go, whatever goes on.

use std::rc::Rc;

use futures_util::FutureExt;
use futures_util::future::{join, join_all};
use spdk_bdevs::ramdisk::{Action, Fault, Ramdisk};
use spdk_raid::raid1::state::{ArrayState, LegState};
use spdk_raid::raid1::{ChangeError, CreateError, MODULE, Raid1, ReadPolicy};
use spdk_safe::prelude::*;

use super::SPDK;
use super::common::{BLOCKS, Md, contents, disk, hold, until, write};

#[test]
fn functional_states_of_arrays_with_2_3_and_4_bases() {
    SPDK.run(async |spdk| {
        for count in 2..=4 {
            let t = Md::new(&spdk, "state", count).await;
            let info = t.md.info();
            assert_eq!(
                (info.state, info.num_base_bdevs),
                (ArrayState::Optimal, count)
            );
            assert_eq!(info.num_base_bdevs_operational, count);
            for at in (1..count).rev() {
                t.md.remove(&format!("state{at}")).await.unwrap();
                let info = t.md.info();
                assert_eq!(
                    (info.state, info.num_base_bdevs_operational),
                    (ArrayState::Degraded, at)
                );
                assert!(!info.base_bdevs_list[at].is_configured);
                // Nobody has it any more.
                let base = BdevDesc::open(&spdk, t.disks[at].name()).read_write();
                let base = base.unwrap().claim(&MODULE);
                base.map_err(|(error, _)| error).unwrap().close().await;
            }
            let last = t.md.remove("state0").await.unwrap_err();
            assert!(matches!(last, ChangeError::Last { .. }), "{last}");
            // Not removed but gone: so is the array.
            t.disks[0].remove();
            t.until("gone", |t| t.md.info().state == ArrayState::Failed)
                .await;
            let Md {
                md,
                disks,
                desc,
                ch,
                ..
            } = t;
            drop((ch, desc));
            disks[0].gone().await;
            until("away", String::new, || Raid1::find("state").is_none()).await;
            assert_eq!(md.add("state1").await.unwrap_err(), ChangeError::Ending);
            for disk in &disks[1..] {
                disk.delete().await.unwrap();
            }
        }
    });
}

#[test]
fn b5_16_14_a_base_that_is_absent_is_an_error_and_an_explicit_gap_is_not() {
    SPDK.run(async |spdk| {
        let one = disk(&spdk, "gap0").await;
        let builder = Raid1::builder("gap").base("gap0").base("gap1");
        let absent = builder.create(&spdk).await.unwrap_err();
        assert!(matches!(absent, CreateError::Open { .. }), "{absent}");
        let none = Raid1::builder("gap").missing().missing();
        none.create(&spdk).await.unwrap_err();
        one.delete().await.unwrap();
        let mut t = Md::of(&spdk, "gap", 1, 1, |builder| builder).await;
        assert_eq!(
            (t.md.info().state, t.state(1)),
            (ArrayState::Degraded, LegState::Missing)
        );
        t.write(0, 8, 1).await.unwrap();
        t.add().await;
        t.until("filled", |t| t.md.info().state == ArrayState::Optimal)
            .await;
        assert_eq!(t.leg(1).await[..8], [1; 8]);
        t.end().await;
    });
}

#[test]
fn what_is_asked_for_happens_also_if_nobody_waits_for_it() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "drop", 2).await;
        assert!(t.md.remove("drop1").now_or_never().is_none());
        t.until("removed", |t| t.state(1) == LegState::Missing)
            .await;
        // Its bdev is free some time later.
        let mut added = t.md.add("drop1").await;
        while matches!(added, Err(ChangeError::Base(_))) {
            spdk_safe::app::yield_now().await;
            added = t.md.add("drop1").await;
        }
        t.until("filled", |t| t.in_sync() == 2).await;
        t.md.remove("drop1").await.unwrap();
        assert!(t.md.add("drop1").now_or_never().is_none());
        t.until("filled", |t| t.in_sync() == 2).await;
        assert!(t.md.scrub(true).now_or_never().is_none());
        t.until("scrubbed", |t| t.md.info().counters.locks > 8)
            .await;
        let Md {
            md,
            disks,
            desc,
            ch,
            ..
        } = t;
        drop(ch);
        desc.close().await;
        assert!(md.delete().now_or_never().is_none());
        until("deleted", String::new, || Raid1::find("drop").is_none()).await;
        for disk in disks {
            disk.delete().await.unwrap();
        }
    });
}

#[test]
fn an_array_whose_creation_is_not_waited_for_is_there_or_not() {
    SPDK.run(async |spdk| {
        let disks = [disk(&spdk, "now0").await, disk(&spdk, "now1").await];
        drop(
            Raid1::builder("now")
                .base("now0")
                .base("now1")
                .create(&spdk),
        );
        assert!(Raid1::find("now").is_none());
        let builder = Raid1::builder("now").base("now0").base("now1");
        let created = builder.create(&spdk).now_or_never();
        match created {
            Some(created) => created.unwrap().delete().await,
            None => until("back", String::new, || Raid1::find("now").is_none()).await,
        }
        // A name that is taken: what was begun is undone, also if nobody waits.
        let taken = disk(&spdk, "taken").await;
        let builder = Raid1::builder("taken").base("now0").base("now1");
        drop(builder.create(&spdk).now_or_never());
        assert!(Raid1::find("taken").is_none());
        taken.delete().await.unwrap();
        let mut free = disks[0].delete().await;
        while free.is_err() {
            spdk_safe::app::yield_now().await;
            free = disks[0].delete().await;
        }
        disks[1].delete().await.unwrap();
    });
}

#[test]
fn a_deletion_waits_for_io_that_a_leg_holds_and_comes_twice() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "twice", 2).await;
        t.disks[1].set_faults([hold(IoType::Write)]);
        let held = t.begin_write(0, 8, 1);
        t.until("held", |t| t.disks[1].held() == 1).await;
        let Md {
            md,
            disks,
            desc,
            ch,
            ..
        } = t;
        drop((ch, desc));
        let both = join(md.clone().delete(), md.delete());
        let let_go = async {
            for _ in 0..100 {
                spdk_safe::app::yield_now().await;
            }
            assert!(!held.is_done());
            assert!(Raid1::find("twice").is_some());
            disks[1].let_go();
            held.end().await.unwrap();
        };
        join(both, let_go).await;
        assert!(Raid1::find("twice").is_none());
        for disk in disks {
            disk.delete().await.unwrap();
        }
    });
}

#[test]
fn functional_an_array_grows_when_all_its_bases_have() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "grow", 2).await;
        t.write(0, BLOCKS, 1).await.unwrap();
        t.disks[0].resize(Blocks(2 * BLOCKS)).unwrap();
        // A change after it: the event was looked at.
        t.md.set_options(t.md.options()).await.unwrap();
        assert_eq!(t.md.num_blocks(), Blocks(BLOCKS));
        t.disks[1].resize(Blocks(2 * BLOCKS)).unwrap();
        t.until("grown", |t| t.desc.num_blocks() == Blocks(2 * BLOCKS))
            .await;
        assert_eq!(t.md.num_blocks(), Blocks(2 * BLOCKS));
        t.write(BLOCKS, BLOCKS, 2).await.unwrap();
        assert_eq!(t.read(BLOCKS - 1, 2).await.unwrap(), [1, 2]);
        t.end().await;
    });
}

#[test]
fn an_array_grows_also_when_a_larger_base_has_replaced_one_that_was_missing() {
    SPDK.run(async |spdk| {
        let mut t = Md::of(&spdk, "late-grow", 1, 1, |builder| builder).await;
        t.disks[0].resize(Blocks(2 * BLOCKS)).unwrap();
        let large = Ramdisk::builder("late-grow1").blocks(Blocks(2 * BLOCKS));
        t.disks.push(large.create(&spdk).await.unwrap());
        // Changes after it: the event was looked at.
        for _ in 0..10 {
            t.md.set_options(t.md.options()).await.unwrap();
        }
        assert_eq!(t.md.num_blocks(), Blocks(BLOCKS), "one is missing");
        t.md.add("late-grow1").await.unwrap();
        t.until("grown", |t| t.desc.num_blocks() == Blocks(2 * BLOCKS))
            .await;
        t.write(BLOCKS, BLOCKS, 2).await.unwrap();
        t.end().await;
    });
}

#[test]
fn r95_bases_grow_in_mid_rebuild() {
    SPDK.run(async |spdk| {
        let mut t = Md::of(&spdk, "r95-", 1, 1, |builder| builder).await;
        t.write(0, BLOCKS, 1).await.unwrap();
        let target = disk(&spdk, "r95-1").await;
        // The copy of a window is under way, and it is locked.
        target.set_faults([Fault::new(Action::DelayPolls(1000))
            .io(IoType::Write)
            .range(Lba(512), Blocks(1))]);
        t.md.add("r95-1").await.unwrap();
        t.disks.push(target);
        t.until("held", |t| t.disks[1].held() == 1).await;
        for disk in &t.disks {
            disk.resize(Blocks(2 * BLOCKS)).unwrap();
        }
        t.until("grown", |t| t.desc.num_blocks() == Blocks(2 * BLOCKS))
            .await;
        assert_eq!(t.in_sync(), 1, "it is filled still");
        t.write(BLOCKS, BLOCKS, 2).await.unwrap();
        t.until("filled", |t| t.in_sync() == 2).await;
        t.end().await;
    });
}

#[test]
fn r95_bases_grow_while_one_flushes_what_it_was_filled_with() {
    SPDK.run(async |spdk| {
        let mut t = Md::of(&spdk, "r95f", 2, 1, |builder| builder).await;
        t.write(0, BLOCKS, 1).await.unwrap();
        let target = disk(&spdk, "r95f2").await;
        target.set_faults([Fault::new(Action::DelayPolls(2000)).io(IoType::Flush)]);
        t.md.add("r95f2").await.unwrap();
        t.disks.push(target);
        t.until("held", |t| t.disks[2].held() == 1).await;
        for disk in &t.disks {
            disk.resize(Blocks(2 * BLOCKS)).unwrap();
        }
        t.until("grown, and equal", |t| {
            t.desc.num_blocks() == Blocks(2 * BLOCKS) && t.md.info().dirty_ranges == 0
        })
        .await;
        // It has not all blocks any more.
        t.write(BLOCKS, BLOCKS, 2).await.unwrap();
        assert_eq!((t.disks[2].held(), t.in_sync()), (1, 2));
        t.until("filled", |t| t.in_sync() == 3).await;
        t.end().await;
    });
}

#[test]
fn what_an_array_grows_by_is_made_equal() {
    SPDK.run(async |spdk| {
        let large = Ramdisk::builder("what1").blocks(Blocks(2 * BLOCKS));
        let large = large.create(&spdk).await.unwrap();
        let desc = BdevDesc::open(&spdk, "what1").read_write().unwrap();
        let ch = desc.channel().unwrap();
        write(&ch, BLOCKS, BLOCKS, 7).await.unwrap();
        drop(ch);
        desc.close().await;
        let mut t = Md::of(&spdk, "what", 1, 0, |builder| builder.base("what1")).await;
        t.disks.push(large);
        t.disks[0].resize(Blocks(2 * BLOCKS)).unwrap();
        t.until("grown", |t| t.desc.num_blocks() == Blocks(2 * BLOCKS))
            .await;
        t.end().await;
    });
}

#[test]
fn functional_io_resource_dependence_more_random_writes_than_there_is_memory_beside_a_rebuild() {
    SPDK.run(async |spdk| {
        let mut t = Md::of(&spdk, "much", 2, 1, |builder| builder).await;
        let ch = Rc::clone(&t.ch);
        // Each takes four of the harness's 8191 `spdk_bdev_io`s.
        let all = join_all((0..20_000_u64).map(move |at| {
            let ch = Rc::clone(&ch);
            async move { ch.write_zeroes(Lba(at % BLOCKS), Blocks(1)).await }
        }));
        let all = super::common::begin(async move {
            let all = all.await;
            all.into_iter().collect::<Result<Vec<()>, _>>()
        });
        t.add().await;
        t.until("filled", |t| t.in_sync() == 3).await;
        assert_eq!(all.end().await.unwrap().len(), 20_000);
        assert_eq!(t.md.info().counters.faults, 0);
        t.end().await;
    });
}

#[test]
fn a_leg_that_is_pulled_out_under_load_fails_no_io_and_another_takes_its_place() {
    SPDK.run(async |spdk| {
        let mut t = Md::new(&spdk, "hot", 2).await;
        let load = (0..8_u64).map(|lane| {
            let ch = Rc::clone(&t.ch);
            super::common::begin(async move {
                for round in 0..200_u64 {
                    let lba = lane * 128 + round % 120;
                    write(&ch, lba, 8, round as u8).await?;
                    let read = super::common::read(&ch, lba, 8).await?;
                    assert_eq!(read, [round as u8; 8]);
                }
                Ok(())
            })
        });
        let load: Vec<_> = load.collect();
        t.disks[1].remove();
        t.disks[1].gone().await;
        t.until("faulted", |t| t.in_sync() == 1).await;
        t.add().await;
        for lane in load {
            lane.end().await.unwrap();
        }
        t.until("filled", |t| t.in_sync() == 2).await;
        t.end().await;
    });
}

#[test]
fn functional_all_bases_vanish_under_load_again_and_again() {
    SPDK.run(async |spdk| {
        for round in 0..10 {
            let t = Md::new(&spdk, "vanish", 3).await;
            let load = (0..8_u64).map(|lane| {
                let ch = Rc::clone(&t.ch);
                super::common::begin(async move {
                    // Until there is no array any more.
                    while write(&ch, lane * 128, 8, lane as u8).await.is_ok() {}
                    Ok(())
                })
            });
            let load: Vec<_> = load.collect();
            for _ in 0..round {
                spdk_safe::app::yield_now().await;
            }
            for disk in &t.disks {
                disk.remove();
            }
            for lane in load {
                lane.end().await.unwrap();
            }
            let Md {
                disks, desc, ch, ..
            } = t;
            drop((ch, desc));
            for disk in disks {
                disk.gone().await;
            }
            until("away", String::new, || Raid1::find("vanish").is_none()).await;
        }
    });
}

#[test]
fn bdev_raid_ut_io_types_are_those_that_all_bases_have_together() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "types", 2).await;
        let info = t.desc.info();
        for io in [
            IoType::Read,
            IoType::Write,
            IoType::WriteZeroes,
            IoType::Unmap,
            IoType::Flush,
            IoType::Reset,
        ] {
            assert!(info.supports(io), "{io:?}");
        }
        assert!(!info.supports(IoType::Abort));
        t.end().await;
    });
}

#[test]
fn the_leg_that_a_dirty_range_is_read_from_is_taken_away() {
    SPDK.run(async |spdk| {
        // All of them would be read.
        let turns = ReadPolicy::RoundRobin;
        let t = Md::of(&spdk, "pinned", 3, 0, |builder| builder.read_policy(turns)).await;
        t.write(0, 8, 1).await.unwrap();
        for (at, disk) in t.disks.iter().enumerate() {
            disk.set_faults([Fault::new(Action::Short(Blocks(at as u64 * 3))).io(IoType::Write)]);
        }
        // The resync reads from the first one, and is held.
        t.disks[0].set_faults([
            Fault::new(Action::Short(Blocks(2))).io(IoType::Write),
            hold(IoType::Read),
        ]);
        t.write(0, 8, 2).await.unwrap_err();
        t.until("held", |t| t.disks[0].held() == 1).await;
        let disk = t.disks[0].clone();
        let removed = join(t.md.remove("pinned0"), async {
            for _ in 0..100 {
                spdk_safe::app::yield_now().await;
            }
            disk.let_go();
        });
        removed.await.0.unwrap();
        let first = t.read(0, 8).await.unwrap();
        t.until_calm().await;
        for _ in 0..4 {
            assert_eq!(t.read(0, 8).await.unwrap(), first);
        }
        assert_eq!(t.in_sync(), 2);
        t.end().await;
    });
}

#[test]
fn a_base_that_is_replaced_by_what_does_not_fit_stays() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "fit", 2).await;
        let small = Ramdisk::builder("fit-small").blocks(Blocks(64));
        let small = small.create(&spdk).await.unwrap();
        let error = t.md.replace("fit1", "fit-small").await.unwrap_err();
        assert!(matches!(error, ChangeError::TooSmall { .. }), "{error}");
        let error = t.md.replace("nobody", "fit-small").await.unwrap_err();
        assert!(matches!(error, ChangeError::TooSmall { .. }), "{error}");
        assert!(matches!(
            t.md.add("fit-none").await,
            Err(ChangeError::Base(_))
        ));
        assert!(matches!(
            t.md.remove("fit-none").await,
            Err(ChangeError::NotMember { .. })
        ));
        let full = disk(&spdk, "fit-full").await;
        assert!(matches!(
            t.md.add("fit-full").await,
            Err(ChangeError::Full { .. })
        ));
        assert_eq!(t.in_sync(), 2);
        small.delete().await.unwrap();
        full.delete().await.unwrap();
        t.end().await;
        assert!(Raid1::list().is_empty());
    });
}

#[test]
fn a_flush_is_native_where_a_base_has_a_cache_r98() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "cache", 2).await;
        let below = BdevDesc::open(&spdk, "cache0").read_only().unwrap();
        assert_eq!(t.desc.info().write_cache, below.info().write_cache);
        assert!(t.desc.info().supports(IoType::Flush));
        below.close().await;
        let _ = contents(&spdk, "cache").await;
        t.end().await;
    });
}
