//! What `provide` answers on machines on which it can't build. None of these needs a network.

use super::*;
use crate::test_host::{cache, debian, put, set};

fn refused(host: &Host) -> Error {
    provide(host, false).unwrap_err()
}

/// Everything in the cache but the lock and a log.
fn visible(host: &Host) -> Vec<String> {
    let entries = std::fs::read_dir(cache(host))
        .into_iter()
        .flatten()
        .flatten();
    let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
    names.filter(|n| n != "lock" && n != "failed.log").collect()
}

fn mirror(host: &Host, uri: &str) {
    put(
        &host.at("/etc/apt/sources.list"),
        &format!("deb {uri} bookworm main\n"),
    );
}

/// Whether these tests can hear what apt-get says.
fn has_apt(host: &Host) -> bool {
    let there = host.program("apt-get").is_some();
    if !there {
        println!("not run: this machine has no apt-get");
    }
    there
}

#[test]
fn another_system_than_debian_is_told_to_bring_an_spdk() {
    let (root, host) = debian();
    put(
        &root.path().join("etc/os-release"),
        "ID=fedora\nPRETTY_NAME=\"Fedora Linux 42\"\n",
    );
    let text = refused(&host).to_string();
    assert!(
        text.contains("not Debian (Fedora Linux 42)") && text.contains("SPDK_DIR="),
        "{text}"
    );
    std::fs::remove_file(root.path().join("etc/os-release")).unwrap();
    assert!(refused(&host).to_string().contains("os-release"));
}

#[test]
fn missing_tools_are_one_line_to_run() {
    let (root, host) = debian();
    std::fs::remove_file(root.path().join("usr/bin/ninja")).unwrap();
    let text = refused(&host).to_string();
    assert!(
        text.contains("apt-get install -y --no-install-recommends ninja-build"),
        "{text}"
    );
}

#[test]
fn a_full_disk_is_found_before_anything_is_fetched() {
    let (_root, mut host) = debian();
    host.build_space = u64::MAX;
    let error = refused(&host);
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert!(error.to_string().contains("XDG_CACHE_HOME"), "{error}");
    assert_eq!(visible(&host), Vec::<String>::new());
}

#[test]
fn without_an_archive_of_debians_there_is_nothing_to_fetch_from() {
    let (_root, host) = debian();
    assert!(matches!(refused(&host), Error::NoArchive { .. }));
    assert_eq!(visible(&host), Vec::<String>::new());
}

#[test]
fn without_a_network_the_error_says_so_and_leaves_nothing_but_a_log() {
    let (_root, host) = debian();
    if !has_apt(&host) {
        return;
    }
    // A port on which nobody listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    mirror(&host, &format!("http://127.0.0.1:{port}/debian"));
    let error = refused(&host);
    assert!(
        matches!(&error, Error::NoNetwork { reasons } if reasons.len() == 1),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains("no network") && text.contains(&format!("127.0.0.1:{port}")),
        "{text}"
    );
    assert_eq!(visible(&host), Vec::<String>::new());
    assert!(cache(&host).join("failed.log").is_file());
}

#[test]
fn when_every_suite_fails_each_ones_reason_is_shown() {
    let (root, host) = debian();
    if !has_apt(&host) {
        return;
    }
    let archive = root.path().join("debian");
    std::fs::create_dir(&archive).unwrap();
    mirror(&host, &format!("file://{}", archive.display()));
    let error = refused(&host);
    assert!(
        matches!(&error, Error::NoSource { reasons, .. } if reasons.len() == recipe::SUITES.len()),
        "{error}"
    );
    let text = error.to_string();
    for suite in recipe::SUITES {
        assert!(
            text.contains(&format!("  - {suite} (file://")),
            "{suite} in: {text}"
        );
    }
    assert_eq!(visible(&host), Vec::<String>::new());
}

#[test]
fn a_cache_needs_a_place_without_spaces() {
    let (root, mut host) = debian();
    set(&mut host, "XDG_CACHE_HOME", root.path().join("my cache"));
    assert!(matches!(refused(&host), Error::Spaces(_)));
    host.env.clear();
    assert!(matches!(refused(&host), Error::NoCache));
}

#[test]
fn a_cache_that_can_not_be_written_is_named() {
    let (root, mut host) = debian();
    put(&root.path().join("file"), "");
    set(&mut host, "XDG_CACHE_HOME", root.path().join("file"));
    let text = refused(&host).to_string();
    assert!(
        text.contains("cannot create") && text.contains("file/spdk-sys"),
        "{text}"
    );
}

#[test]
fn what_is_built_is_not_built_again_unless_forced() {
    let (_root, host) = debian();
    let prefix = prefix(&host).unwrap();
    put(&prefix.join("lib/libspdk_bdev.a"), "");
    assert!(
        provide(&host, false).is_err(),
        "without the marker it is an interrupted one"
    );
    put(&prefix.join(COMPLETE_MARKER), "");
    assert_eq!(provide(&host, false).unwrap(), prefix);
    assert!(
        matches!(provide(&host, true), Err(Error::NoArchive { .. })),
        "forced, it starts to build"
    );
    assert!(is_built(&host), "and a build that fails leaves the old one");
}

#[test]
fn the_recipe_builds_each_library_once() {
    let mut names: Vec<_> = recipe::LIBRARIES.iter().map(|l| l.name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}
