//! Legs are compared, and made equal.

use spdk_bdevs::ramdisk::{Action, Fault};
use spdk_raid::raid1::ChangeError;
use spdk_raid::raid1::state::FaultReason;
use spdk_safe::prelude::*;

use super::SPDK;
use super::common::{Md, fail};

#[test]
fn a_scrub_finds_what_differs_and_makes_it_equal() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "scrub", 2).await;
        t.disks[1].set_faults([Fault::new(Action::Corrupt).io(IoType::Write)]);
        t.write(7, 1, 1).await.unwrap();
        for (repair, found) in [(false, 1), (true, 1), (true, 0)] {
            t.md.reset_counters();
            t.md.scrub(repair).await.unwrap();
            t.until_calm().await;
            assert_eq!(t.md.info().counters.mismatches, found);
        }
        t.end().await;
    });
}

#[test]
fn a_scrub_repairs_what_a_leg_can_not_read_and_faults_it_if_it_can_not_be_written() {
    SPDK.run(async |spdk| {
        let t = Md::new(&spdk, "scrub-r", 3).await;
        t.write(0, 8, 1).await.unwrap();
        let bad = |io| fail(io).range(Lba(0), Blocks(1)).always();
        t.disks[0].set_faults([fail(IoType::Read)]);
        t.disks[1].set_faults([bad(IoType::Read), bad(IoType::Write)]);
        t.md.scrub(true).await.unwrap();
        let again = t.md.scrub(true).await.unwrap_err();
        assert_eq!(again, ChangeError::Scrubbing);
        t.until_calm().await;
        assert!(t.is_faulted(1, FaultReason::Io));
        assert_eq!((t.in_sync(), t.md.info().counters.mismatches), (2, 0));
        t.end().await;
    });
}
