//! What this target is built with.

use spdk_bdevs::{passthru, ramdisk};
use spdk_raid::raid1;
use spdk_safe::app::Builder;

/// The app, with the modules in Rust.
pub(crate) fn with(app: Builder) -> Builder {
    passthru::with(ramdisk::with(raid1::with(app)))
}

/// Kinds of bdevs, ours first; further ones of SPDK's may be linked by features of other crates.
pub(crate) fn bdevs() -> String {
    list(&[
        ("rust_raid1", true),
        ("ramdisk", true),
        ("rust_passthru", true),
        ("malloc", true),
        ("aio", cfg!(feature = "bdev-aio")),
        ("nvme", cfg!(feature = "bdev-nvme")),
    ])
}

/// How bdevs can be exported.
pub(crate) fn exports() -> String {
    list(&[
        ("nvmf", cfg!(feature = "nvmf")),
        ("iscsi", cfg!(feature = "iscsi")),
        ("nbd", cfg!(feature = "nbd")),
        ("ublk", cfg!(feature = "ublk")),
    ])
}

fn list(all: &[(&str, bool)]) -> String {
    let names: Vec<_> = all
        .iter()
        .filter(|(_, is_in)| *is_in)
        .map(|(name, _)| *name)
        .collect();
    match names.is_empty() {
        true => "none".into(),
        false => names.join(", "),
    }
}
