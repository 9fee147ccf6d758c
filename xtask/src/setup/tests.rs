use super::*;
use crate::test_host::{cache, debian, prefix, put, set};

#[test]
fn print_says_what_is_used_and_every_place_looked_at() {
    let (_root, host) = debian();
    let dir = cache(&host).join(spdk::recipe::prefix_name());
    prefix(&dir, "lib", (20, 7, 0));
    put(&dir.join(locate::COMPLETE_MARKER), "");
    let (text, found) = report(&host);
    assert!(found);
    for part in [
        "SPDK 20.07: ",
        "SPDK_DIR: not set",
        "pkg-config spdk_bdev: no such package",
        "headers",
        "libraries",
    ] {
        assert!(text.contains(part), "{part} in: {text}");
    }
    assert!(
        !text.contains("to install") && !text.contains("warning"),
        "{text}"
    );
}

#[test]
fn print_tells_the_two_ways_out_when_there_is_none() {
    let (_root, host) = debian();
    let (text, found) = report(&host);
    assert!(!found);
    assert!(
        text.contains("cargo xtask spdk") && text.contains("SPDK_DIR="),
        "{text}"
    );
}

#[test]
fn print_warns_of_a_newer_spdk_and_of_missing_packages() {
    let (root, mut host) = debian();
    let dir = root.path().join("prefix");
    prefix(&dir, "lib", (27, 1, 0));
    put(
        &dir.join("lib/pkgconfig/spdk_syslibs.pc"),
        "Libs: -lkeyutils\n",
    );
    set(&mut host, "SPDK_DIR", &dir);
    let (text, found) = report(&host);
    assert!(found);
    assert!(
        text.contains("newer than any") && text.contains("libkeyutils-dev"),
        "{text}"
    );
}

#[test]
fn an_unusable_spdk_dir_stops_the_set_up_instead_of_building_another() {
    let (root, mut host) = debian();
    set(&mut host, "SPDK_DIR", root.path().join("nothing"));
    let text = ensure(&host).unwrap_err().to_string();
    assert!(text.contains("is not a folder"), "{text}");
    let old = root.path().join("old");
    prefix(&old, "lib", (19, 10, 0));
    set(&mut host, "SPDK_DIR", &old);
    assert!(
        ensure(&host)
            .unwrap_err()
            .to_string()
            .contains("is SPDK 19.10")
    );
    assert!(!cache(&host).exists());
}

#[test]
fn a_set_up_machine_is_left_as_it_is() {
    let (_root, host) = debian();
    let dir = cache(&host).join(spdk::recipe::prefix_name());
    prefix(&dir, "lib", (20, 7, 0));
    put(&dir.join(locate::COMPLETE_MARKER), "");
    let spdk = ensure(&host).unwrap();
    assert_eq!(spdk.origin.dir(), dir);
}

#[test]
fn a_prefix_of_an_older_recipe_is_not_enough() {
    let (_root, host) = debian();
    let name = spdk::recipe::prefix_name().replace("-r1-", "-r0-");
    let dir = cache(&host).join(&name);
    prefix(&dir, "lib", (20, 7, 0));
    put(&dir.join(locate::COMPLETE_MARKER), "");
    let error = ensure(&host).unwrap_err().to_string();
    assert!(
        error.contains("no entry of Debian's main archive"),
        "it sets out to build: {error}"
    );
}
