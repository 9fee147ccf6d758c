//! The RAID1 on real SPDK: scenarios by name. Legs are malloc bdevs, or ramdisks with fault plans.

#![forbid(unsafe_code)]

mod changes;
mod common;
mod locks;
mod mirror;
mod no_memory;
mod reads;
mod rebuild;
mod refusals;
mod scrub;
mod timeouts;
mod writes;

use spdk_bdevs::ramdisk;
use spdk_raid::raid1::MODULE;
use spdk_safe::test::Harness;

static SPDK: Harness = Harness::new(&[&MODULE, &ramdisk::MODULE, &refusals::MODULE]);
