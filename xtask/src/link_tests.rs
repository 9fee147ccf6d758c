//! Tests of `spdk-sys/build/link.rs`: here, because a build script has none.

use tempfile::TempDir;

use crate::link;
use crate::locate::{Kind, Origin, Spdk, Version};
use crate::test_host::put;

/// An SPDK with these packages besides the ones that every program needs, each with a library of its own.
fn spdk(packages: &[(&str, &str)]) -> (TempDir, Spdk) {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path();
    let core = [
        ("spdk_event", ""),
        ("spdk_event_bdev", "spdk_bdev spdk_bdev_modules"),
        ("spdk_bdev", ""),
        ("spdk_env_dpdk", ""),
    ];
    for (name, requires) in core.iter().chain(packages) {
        put(&top.join(format!("lib/lib{name}.a")), "");
        let text = format!("Name: {name}\nRequires: {requires}\nLibs: -l{name}\n");
        put(&top.join(format!("lib/pkgconfig/{name}.pc")), &text);
    }
    let spdk = Spdk {
        origin: Origin::SpdkDir(top.to_owned(), Kind::Prefix),
        version: Version {
            major: 24,
            minor: 9,
            patch: 0,
        },
        include: top.join("include"),
        lib_dirs: vec![top.join("lib")],
        pkgconfig_dirs: vec![top.join("lib/pkgconfig")],
        source: None,
        looked_at: Vec::new(),
    };
    (folder, spdk)
}

#[test]
fn a_feature_that_the_spdk_at_hand_lacks_is_an_error_with_what_to_do() {
    let (_folder, spdk) = spdk(&[]);
    for subsystem in link::SUBSYSTEMS {
        let feature = subsystem.feature;
        let error = link::plan(&spdk, &[feature]).unwrap_err().to_string();
        assert!(error.contains("SPDK 24.09 has no spdk_"), "{error}");
        assert!(
            error.contains(&format!("the feature `{feature}` needs it")),
            "{error}"
        );
        assert!(error.contains("leave the feature out"), "{error}");
    }
    let ublk = link::plan(&spdk, &["ublk"]).unwrap_err().to_string();
    assert!(ublk.contains("--with-ublk"), "{ublk}");
}

#[test]
fn features_add_libraries_and_sockets_that_work() {
    let nvmf = [
        ("spdk_event_nvmf", "spdk_nvmf spdk_event_sock"),
        ("spdk_nvmf", ""),
        ("spdk_event_sock", "spdk_sock_modules"),
        ("spdk_sock_posix", ""),
        ("spdk_event_nbd", "spdk_nbd"),
        ("spdk_nbd", ""),
    ];
    let (_folder, spdk) = spdk(&nvmf);
    let plan = |features: &[&str]| format!("{:?}", link::plan(&spdk, features).unwrap());
    let without = plan(&[]);
    assert!(
        without.contains("spdk_event_bdev") && !without.contains("nvmf"),
        "{without}"
    );
    let with = plan(&["nvmf", "nbd"]);
    for library in [
        "spdk_event_nvmf",
        "spdk_nvmf",
        "spdk_sock_posix",
        "spdk_nbd",
    ] {
        assert!(
            with.contains(&format!("\"{library}\"")),
            "{library}: {with}"
        );
    }
}
