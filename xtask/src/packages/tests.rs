use super::*;
use crate::test_host::{debian, prefix, put, set};

fn names(needs: &[Need]) -> Vec<&'static str> {
    package_names(needs)
}

#[test]
fn a_full_machine_lacks_nothing() {
    let (_root, host) = debian();
    assert_eq!(missing(&host, &to_build()), []);
    ensure(&host, &to_build()).unwrap();
}

#[test]
fn as_an_ordinary_user_the_error_is_one_line_to_run() {
    let (root, host) = debian();
    for program in ["meson", "xz"] {
        std::fs::remove_file(root.path().join("usr/bin").join(program)).unwrap();
    }
    std::fs::remove_file(root.path().join("usr/include/numa.h")).unwrap();
    let text = ensure(&host, &to_build()).unwrap_err().to_string();
    let line = "sudo apt-get install -y --no-install-recommends libnuma-dev meson xz-utils\n";
    assert!(text.contains(line), "{text}");
    assert!(
        text.contains("meson (for meson)") && text.contains("libnuma-dev (for <numa.h>)"),
        "{text}"
    );
}

#[test]
fn a_program_that_can_not_be_executed_is_missing() {
    let (root, host) = debian();
    let make = root.path().join("usr/bin/make");
    std::fs::remove_file(&make).unwrap();
    put(&make, "not executable");
    assert_eq!(names(&missing(&host, &to_build())), ["make"]);
}

#[test]
fn libclang_is_the_library_and_its_headers() {
    let (root, mut host) = debian();
    let lib = root.path().join("usr/lib/llvm-14/lib");
    let header = lib.join("clang/14.0.6/include/stddef.h");
    std::fs::remove_file(&header).unwrap();
    assert_eq!(
        names(&missing(&host, TO_USE)),
        ["libclang-dev"],
        "no headers"
    );
    put(&header, "");
    std::fs::rename(lib.join("libclang-14.so.1"), lib.join("libclang-cpp.so.14")).unwrap();
    assert_eq!(
        names(&missing(&host, TO_USE)),
        ["libclang-dev"],
        "another library"
    );
    set(&mut host, "LIBCLANG_PATH", "/my/own");
    assert_eq!(missing(&host, TO_USE), [], "the user knows better");
}

#[test]
fn an_spdk_needs_the_libraries_that_its_own_list_names_and_no_tools_to_build_it() {
    let (root, mut host) = debian();
    for program in ["make", "meson", "ninja", "xz", "pkg-config"] {
        std::fs::remove_file(root.path().join("usr/bin").join(program)).unwrap();
    }
    let dir = root.path().join("prefix");
    prefix(&dir, "lib", (26, 5, 0));
    let libs = "Libs: /x/libisal.a -pthread -lrt -luuid -lssl -lcrypto -lkeyutils -lnuma\n";
    put(&dir.join("lib/pkgconfig/spdk_syslibs.pc"), libs);
    set(&mut host, "SPDK_DIR", &dir);
    let spdk = crate::setup::find(&host).unwrap();
    assert_eq!(
        names(&missing(&host, &to_use(&spdk))),
        ["libkeyutils-dev", "libssl-dev"]
    );
    put(&root.path().join("usr/lib/libssl.so"), "");
    assert_eq!(names(&missing(&host, &to_use(&spdk))), ["libkeyutils-dev"]);
}

#[test]
fn root_installs_what_is_missing_and_only_that() {
    let (root, mut host) = debian();
    host.is_root = true;
    std::fs::remove_file(root.path().join("usr/bin/meson")).unwrap();
    let bin = root.path().join("usr/bin");
    // An apt-get that notes what it is asked for, and "installs" meson.
    let _ = std::fs::remove_file(bin.join("apt-get"));
    let said = root.path().join("said");
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {said}\ncase \"$*\" in *install*) /bin/ln -s /bin/true {bin}/meson;; esac\n",
        said = said.display(),
        bin = bin.display()
    );
    put(&bin.join("apt-get"), &script);
    executable(&bin.join("apt-get"));
    ensure(&host, &to_build()).unwrap();
    let text = std::fs::read_to_string(&said).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].ends_with("update"), "{text}");
    assert!(
        lines[1].ends_with("install -y --no-install-recommends meson"),
        "{text}"
    );
    ensure(&host, &to_build()).unwrap();
    assert_eq!(
        std::fs::read_to_string(&said).unwrap(),
        text,
        "apt-get is not run again"
    );
}

#[test]
fn an_apt_get_that_fails_is_shown() {
    let (root, mut host) = debian();
    host.is_root = true;
    let bin = root.path().join("usr/bin");
    let _ = std::fs::remove_file(bin.join("apt-get"));
    std::fs::remove_file(bin.join("meson")).unwrap();
    put(
        &bin.join("apt-get"),
        "#!/bin/sh\necho 'E: no such mirror'; exit 100\n",
    );
    executable(&bin.join("apt-get"));
    let text = ensure(&host, &to_build()).unwrap_err().to_string();
    assert!(
        text.contains("E: no such mirror") && text.contains("exit status: 100"),
        "{text}"
    );
}

fn executable(file: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
}
