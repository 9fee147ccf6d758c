//! Legs that do not answer. SPDK looks once a second, so these take real seconds: one test, and all at once.

use std::time::Duration;

use futures_util::future::join4;
use spdk_raid::raid1::Raid1Builder;
use spdk_raid::raid1::state::{ArrayState, FaultReason};
use spdk_safe::prelude::*;

use super::SPDK;
use super::common::{Md, fail, hold, options};

fn one_second(builder: Raid1Builder) -> Raid1Builder {
    let mut options = options();
    options.io_timeout = Some(Duration::from_secs(1));
    builder.options(options)
}

#[test]
fn s9_a_leg_that_never_answers_is_faulted_and_what_it_held_goes_on() {
    SPDK.run(async |spdk| {
        let writes = async {
            let t = Md::of(&spdk, "s9w", 2, 0, one_second).await;
            t.disks[1].set_faults([hold(IoType::Write).always()]);
            t.write(0, 8, 1).await.unwrap();
            assert!(t.is_faulted(1, FaultReason::TimedOut));
            assert!(t.md.info().counters.timeouts >= 1);
            t.end().await;
        };
        let reads = async {
            let t = Md::of(&spdk, "s9r", 2, 0, one_second).await;
            t.write(0, 8, 1).await.unwrap();
            t.disks[0].set_faults([hold(IoType::Read).always()]);
            assert_eq!(t.read(0, 8).await.unwrap(), [1; 8]);
            assert!(t.is_faulted(0, FaultReason::TimedOut));
            t.end().await;
        };
        let faulted_before = async {
            // Another write has faulted it when the one that is held is late.
            let t = Md::of(&spdk, "s9f", 2, 0, one_second).await;
            t.disks[1].set_faults([hold(IoType::Write), fail(IoType::Write).after(1)]);
            let held = t.begin_write(0, 8, 1);
            t.until("held", |t| t.disks[1].held() == 1).await;
            t.write(8, 8, 2).await.unwrap();
            assert!(t.is_faulted(1, FaultReason::Io));
            held.end().await.unwrap();
            t.end().await;
        };
        let last = async {
            // The last one stays, and what it does not answer fails.
            let t = Md::of(&spdk, "s9l", 1, 1, one_second).await;
            t.disks[0].set_faults([hold(IoType::Write)]);
            t.write(0, 8, 1).await.unwrap_err();
            assert_eq!(t.md.info().state, ArrayState::Degraded);
            t.write(0, 8, 2).await.unwrap();
            assert_eq!(t.read(0, 8).await.unwrap(), [2; 8]);
            t.end().await;
        };
        join4(writes, reads, faulted_before, last).await;
    });
}
