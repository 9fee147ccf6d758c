//! Which leg reads, and what happens when it can't.

use spdk_bdevs::ramdisk::{Action, Fault};
use spdk_raid::raid1::ReadPolicy;
use spdk_raid::raid1::state::{ArrayState, FaultReason};
use spdk_safe::prelude::*;

use super::SPDK;
use super::common::{Begun, Md, fail, hold};

/// Holds all reads on all legs.
fn hold_reads(t: &Md) {
    for disk in &t.disks {
        disk.set_faults([hold(IoType::Read).always()]);
    }
}

/// How many reads each leg has.
fn held(t: &Md) -> Vec<usize> {
    t.disks.iter().map(|disk| disk.held()).collect()
}

/// Lets go of all reads, and waits for them: they are tried elsewhere.
async fn let_go(t: &Md, reads: Vec<Begun<Vec<u8>>>) {
    for disk in &t.disks {
        disk.set_faults([]);
    }
    for disk in &t.disks {
        disk.let_go();
    }
    for read in reads {
        let _ = read.end().await;
    }
}

#[test]
fn raid1_ut_reads_go_to_the_leg_with_the_fewest_blocks_outstanding() {
    SPDK.run(async |spdk| {
        for count in [2, 3] {
            let t = Md::new(&spdk, "balance", count).await;
            hold_reads(&t);
            let mut reads = Vec::new();
            for round in 1..=3 {
                for at in 0..count {
                    reads.push(t.begin_read(0, 4));
                    t.until("held", |t| held(t)[at] == round).await;
                }
            }
            assert_eq!(held(&t), vec![3; count]);
            // A large one, to the first: the others catch up before it gets another one.
            reads.push(t.begin_read(0, 256));
            t.until("held", |t| held(t)[0] == 4).await;
            for _ in 0..(256 / 4) * (count - 1) {
                let before: usize = held(&t).iter().sum();
                reads.push(t.begin_read(0, 4));
                t.until("held", |t| held(t).iter().sum::<usize>() > before)
                    .await;
                assert_eq!(held(&t)[0], 4);
            }
            assert!(held(&t)[1..].iter().all(|&held| held == 3 + 64));
            reads.push(t.begin_read(0, 4));
            t.until("held", |t| held(t)[0] == 5).await;
            let_go(&t, reads).await;
            t.end().await;
        }
    });
}

#[test]
fn reads_go_round_or_to_the_first_leg_as_the_policy_says() {
    SPDK.run(async |spdk| {
        for (policy, expected) in [
            (ReadPolicy::RoundRobin, [2, 2, 2]),
            (ReadPolicy::Primary, [6, 0, 0]),
        ] {
            for later in [false, true] {
                let t = Md::of(&spdk, "policy", 3, 0, |builder| match later {
                    true => builder,
                    false => builder.read_policy(policy),
                })
                .await;
                if later {
                    let mut options = t.md.options();
                    options.read_policy = policy;
                    t.md.set_options(options).await.unwrap();
                }
                hold_reads(&t);
                let reads = (0..6).map(|lba| t.begin_read(lba, 1)).collect();
                t.until("held", |t| held(t).iter().sum::<usize>() == 6)
                    .await;
                assert_eq!(held(&t), expected, "{policy:?}");
                let_go(&t, reads).await;
                t.end().await;
            }
        }
    });
}

#[test]
fn raid1_ut_read_error_1_another_leg_answers_and_the_first_is_repaired() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "re1-", 2).await;
        // What the first one has is wrong, so its blocks show whether they are written back.
        t.disks[0].set_faults([
            Fault::new(Action::Corrupt).io(IoType::Write),
            fail(IoType::Read),
        ]);
        t.write(0, 8, 1).await.unwrap();
        assert_eq!(t.read(0, 8).await.unwrap(), [1; 8]);
        t.until("repaired", |t| t.md.info().counters.repaired == 1)
            .await;
        assert_eq!(t.md.info().state, ArrayState::Optimal);
        t.end().await;
    });
}

#[test]
fn raid1_ut_read_error_2_a_leg_that_can_not_be_repaired_is_faulted() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "re2-", 2).await;
        t.write(0, 8, 1).await.unwrap();
        t.disks[0].set_faults([fail(IoType::Read), fail(IoType::Write)]);
        assert_eq!(t.read(0, 8).await.unwrap(), [1; 8]);
        t.until("faulted", |t| t.is_faulted(0, FaultReason::Io))
            .await;
        assert_eq!(t.read(0, 8).await.unwrap(), [1; 8]);
        t.end().await;
    });
}

#[test]
fn raid1_ut_read_error_3_the_last_leg_answers_and_all_others_are_repaired() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "re3-", 3).await;
        // What the first one has is wrong, so its blocks show whether they are written back.
        t.disks[0].set_faults([
            Fault::new(Action::Corrupt).io(IoType::Write),
            fail(IoType::Read),
        ]);
        t.disks[1].set_faults([fail(IoType::Read)]);
        t.write(0, 8, 1).await.unwrap();
        assert_eq!(t.read(0, 8).await.unwrap(), [1; 8]);
        t.until("repaired", |t| t.md.info().counters.repaired == 2)
            .await;
        assert_eq!(t.in_sync(), 3);
        t.end().await;
    });
}

#[test]
fn raid1_ut_read_error_4_s4_what_no_leg_can_read_fails_that_read_and_nothing_else() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "re4-", 3).await;
        t.write(0, 8, 1).await.unwrap();
        for disk in &t.disks {
            disk.set_faults([fail(IoType::Read)]);
        }
        t.read(0, 8).await.unwrap_err();
        assert_eq!(t.md.info().state, ArrayState::Optimal);
        assert_eq!(t.md.info().counters.faults, 0);
        assert_eq!(t.read(0, 8).await.unwrap(), [1; 8]);
        t.end().await;
    });
}

#[test]
fn raid1_ut_read_error_5_a_leg_chosen_because_the_first_is_busy_is_repaired() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "re5-", 2).await;
        t.write(0, 8, 1).await.unwrap();
        t.disks[0].set_faults([hold(IoType::Read)]);
        t.disks[1].set_faults([fail(IoType::Read)]);
        let busy = t.begin_read(100, 123);
        t.until("held", |t| t.disks[0].held() == 1).await;
        assert_eq!(t.read(0, 8).await.unwrap(), [1; 8]);
        assert_eq!(t.disks[1].injected(), 1);
        // The repair's lock is not given while the one that is held has not ended.
        t.disks[0].let_go();
        busy.end().await.unwrap();
        t.until("repaired", |t| t.md.info().counters.repaired == 2)
            .await;
        assert_eq!(t.in_sync(), 2);
        t.end().await;
    });
}

#[test]
fn raid1_ut_read_error_6_and_7_beside_a_leg_that_is_missing() {
    SPDK.run(async |spdk| {
        for count in [3, 2] {
            let t = Md::new(&spdk, "re6-", count).await;
            t.write(0, 8, 1).await.unwrap();
            t.md.remove("re6-0").await.unwrap();
            t.disks[1].set_faults([fail(IoType::Read)]);
            let read = t.read(0, 8).await;
            match count {
                3 => {
                    assert_eq!(read.unwrap(), [1; 8]);
                    t.until("repaired", |t| t.md.info().counters.repaired == 1)
                        .await;
                }
                // the last one stays.
                _ => assert!(read.is_err()),
            }
            assert_eq!(t.in_sync(), count - 1);
            assert_eq!(t.read(0, 8).await.unwrap(), [1; 8]);
            t.end().await;
        }
    });
}

#[test]
fn r92_s4_a_read_error_on_the_last_leg_does_not_take_the_array_away() {
    SPDK.run(async |spdk| {
        let t = Md::of(&spdk, "r92-", 1, 1, |builder| builder).await;
        t.write(0, 8, 1).await.unwrap();
        t.disks[0].set_faults([fail(IoType::Read).times(5)]);
        for _ in 0..5 {
            t.read(0, 8).await.unwrap_err();
        }
        assert_eq!(t.read(0, 8).await.unwrap(), [1; 8]);
        assert_eq!(t.md.info().state, ArrayState::Degraded);
        t.end().await;
    });
}

#[test]
fn r97_a_write_waits_for_the_repair_of_the_same_range_and_is_not_overwritten_by_it() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "r97-", 3).await;
        t.write(0, 8, 1).await.unwrap();
        t.disks[0].set_faults([fail(IoType::Read)]);
        // The first read of the second leg is the user's, the second one the repair's.
        t.disks[1].set_faults([hold(IoType::Read).after(1)]);
        assert_eq!(t.read(0, 8).await.unwrap(), [1; 8]);
        t.until("held", |t| t.disks[1].held() == 1).await;
        let inside = t.begin_write(4, 8, 2);
        t.until("parked", |t| t.md.info().counters.parked == 1)
            .await;
        // Reads go on, and writes elsewhere.
        assert_eq!(t.read(0, 8).await.unwrap(), [1; 8]);
        t.write(12, 4, 3).await.unwrap();
        assert!(!inside.is_done());
        t.disks[1].let_go();
        inside.end().await.unwrap();
        let expected = [1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3];
        for _ in 0..3 {
            assert_eq!(t.read(0, 16).await.unwrap(), expected);
        }
        // The leg whose read was aborted under the repair may be repaired, too.
        assert!(t.md.info().counters.repaired >= 1);
        for at in 0..3 {
            assert_eq!(t.leg(at).await[..16], expected, "leg {at}");
        }
        t.end().await;
    });
}

#[test]
fn b5_16_12_reads_larger_than_a_buffer_of_the_pool_without_blocks_and_past_the_end() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "big", 2).await;
        for at in 0..8 {
            t.write(at * 128, 128, at as u8).await.unwrap();
        }
        // 512 KiB: more than a large buffer of SPDK's.
        let all = t.read(0, 1024).await.unwrap();
        assert!(
            all.iter()
                .enumerate()
                .all(|(at, &byte)| byte as usize == at / 128)
        );
        // Nothing to do is refused before it is a request.
        let zero = t.ch.read_blocks(Lba(0), Blocks(0)).await;
        assert!(zero.is_err());
        let past = t.read(1020, 8).await;
        assert!(past.is_err());
        t.end().await;
    });
}
