//! Tests of `spdk-sys/build/locate.rs`: here, because a build script has none.

use std::path::Path;

use crate::host::Host;
use crate::locate::{self, COMPLETE_MARKER, Kind, LocateError, Origin, Spdk, Version};
use crate::test_host::{build_tree, cache, debian, prefix, put, set, source_tree, version_header};

fn locate(host: &Host) -> Result<Spdk, LocateError> {
    locate::locate(&mut |name| host.var(name))
}

/// The error's text for `SPDK_DIR=dir`.
fn refused(dir: &Path) -> String {
    let (_root, mut host) = debian();
    set(&mut host, "SPDK_DIR", dir);
    locate(&host).unwrap_err().to_string()
}

fn cached(host: &Host, name: &str, version: (u16, u16, u16)) {
    let dir = cache(host).join(format!("{name}-{}", std::env::consts::ARCH));
    prefix(&dir, "lib", version);
    put(&dir.join(COMPLETE_MARKER), "");
}

#[test]
fn a_header_gives_the_version_and_lacking_a_define_names_it() {
    let version = Version {
        major: 24,
        minor: 5,
        patch: 1,
    };
    assert_eq!(
        Version::parse_header(&version_header(24, 5, 1)),
        Ok(version)
    );
    let spaced = "# define SPDK_VERSION_MAJOR 22\n#define  SPDK_VERSION_MINOR 1 /* x */\n#define SPDK_VERSION_PATCH 0u\n";
    assert_eq!(
        Version::parse_header(spaced),
        Ok(Version {
            major: 22,
            minor: 1,
            patch: 0
        })
    );
    assert_eq!(
        Version::parse_header("#define SPDK_VERSION_MAJOR 22\n"),
        Err("SPDK_VERSION_MINOR")
    );
    assert_eq!(
        Version::parse_header("#define SPDK_VERSION_MAJOR x\n"),
        Err("SPDK_VERSION_MAJOR")
    );
}

#[test]
fn a_version_is_written_as_spdk_writes_it() {
    assert_eq!(
        Version {
            major: 20,
            minor: 7,
            patch: 0
        }
        .to_string(),
        "20.07"
    );
    assert_eq!(
        Version {
            major: 24,
            minor: 5,
            patch: 1
        }
        .to_string(),
        "24.05.1"
    );
}

#[test]
fn spdk_dir_may_be_a_build_tree() {
    let (root, mut host) = debian();
    let tree = root.path().join("spdk");
    build_tree(&tree, (26, 5, 0));
    put(&tree.join("isa-l/.libs/libisal.a"), "");
    set(&mut host, "SPDK_DIR", &tree);
    let spdk = locate(&host).unwrap();
    assert!(matches!(&spdk.origin, Origin::SpdkDir(dir, Kind::BuildTree) if *dir == tree));
    assert_eq!(spdk.include, tree.join("include"));
    let libs = ["build/lib", "dpdk/build/lib", "isa-l/.libs"].map(|d| tree.join(d));
    assert_eq!(spdk.lib_dirs, libs);
    assert_eq!(spdk.source.as_deref(), Some(&*tree));
}

#[test]
fn a_build_tree_may_have_its_dpdk_elsewhere() {
    let (root, mut host) = debian();
    let (tree, dpdk) = (root.path().join("spdk"), root.path().join("dpdk"));
    build_tree(&tree, (22, 1, 0));
    std::fs::remove_dir_all(tree.join("dpdk")).unwrap();
    put(&dpdk.join("lib64/librte_eal.a"), "");
    put(
        &tree.join("mk/config.mk"),
        &format!("CONFIG_X?=y\nCONFIG_DPDK_DIR?={}\n", dpdk.display()),
    );
    set(&mut host, "SPDK_DIR", &tree);
    assert_eq!(locate(&host).unwrap().lib_dirs[1], dpdk.join("lib64"));
}

#[test]
fn spdk_dir_may_be_a_prefix_with_any_of_the_usual_library_folders() {
    let multiarch = format!("lib/{}-linux-gnu", std::env::consts::ARCH);
    for lib in ["lib", "lib64", &multiarch] {
        let (root, mut host) = debian();
        let dir = root.path().join("prefix");
        prefix(&dir, lib, (24, 1, 0));
        set(&mut host, "SPDK_DIR", &dir);
        let spdk = locate(&host).unwrap();
        assert!(matches!(spdk.origin, Origin::SpdkDir(_, Kind::Prefix)));
        assert_eq!(spdk.lib_dirs, [dir.join(lib)]);
        assert_eq!(spdk.source, None);
    }
}

#[test]
fn spdk_dir_wins_over_the_cache_and_hides_it_when_unusable() {
    let (root, mut host) = debian();
    cached(&host, "spdk-20.07-r1", (20, 7, 0));
    let dir = root.path().join("prefix");
    prefix(&dir, "lib", (24, 1, 0));
    set(&mut host, "SPDK_DIR", &dir);
    assert_eq!(locate(&host).unwrap().version.major, 24);
    set(&mut host, "SPDK_DIR", root.path().join("nothing"));
    assert!(matches!(locate(&host), Err(LocateError::NotADirectory(_))));
    set(&mut host, "SPDK_DIR", "");
    assert_eq!(
        locate(&host).unwrap().version.major,
        20,
        "empty is as good as not set"
    );
}

#[test]
fn an_unusable_spdk_dir_names_each_missing_file() {
    let root = tempfile::tempdir().unwrap();
    let text = refused(root.path());
    for file in [
        "lib/libspdk_bdev.a",
        "build/lib/libspdk_bdev.a",
        "include/spdk/bdev.h",
        "include/spdk/version.h",
    ] {
        assert!(text.contains(file), "{file} in: {text}");
    }
    assert!(
        text.contains("neither an SPDK build tree nor an install prefix"),
        "{text}"
    );

    prefix(root.path(), "lib", (24, 1, 0));
    for lost in [
        "lib/librte_eal.a",
        "lib/libspdk_env_dpdk.a",
        "include/spdk/config.h",
    ] {
        std::fs::remove_file(root.path().join(lost)).unwrap();
    }
    let text = refused(root.path());
    for file in [
        "librte_eal.a",
        "lib/libspdk_env_dpdk.a",
        "include/spdk/config.h",
    ] {
        assert!(text.contains(file), "{file} in: {text}");
    }
    assert!(
        text.contains("install prefix, but it lacks") && !text.contains("libspdk_log.a"),
        "{text}"
    );
}

#[test]
fn a_folder_of_an_spdk_in_place_of_its_top_gets_a_hint() {
    let root = tempfile::tempdir().unwrap();
    build_tree(root.path(), (26, 5, 0));
    let hint = format!("Did you mean SPDK_DIR={} ?", root.path().display());
    for sub in ["build", "build/lib", "include"] {
        let text = refused(&root.path().join(sub));
        assert!(text.contains(&hint), "{text}");
    }
}

#[test]
fn a_tree_that_is_not_built_says_which_command_is_next() {
    let root = tempfile::tempdir().unwrap();
    source_tree(root.path());
    assert!(refused(root.path()).contains("./configure && make"));
    put(&root.path().join("mk/config.mk"), "");
    let text = refused(root.path());
    assert!(
        text.contains("configured but not built") && text.contains("make -C"),
        "{text}"
    );
}

#[test]
fn shared_libraries_alone_are_recognised_in_a_tree_and_in_a_prefix() {
    let root = tempfile::tempdir().unwrap();
    put(&root.path().join("prefix/lib/libspdk_bdev.so"), "");
    assert!(refused(&root.path().join("prefix")).contains("shared libraries only"));
    source_tree(&root.path().join("tree"));
    put(&root.path().join("tree/build/lib/libspdk_bdev.so"), "");
    assert!(refused(&root.path().join("tree")).contains("shared libraries only"));
}

#[test]
fn a_relative_spdk_dir_is_refused() {
    assert!(refused(Path::new("spdk")).contains("absolute path"));
}

#[test]
fn too_old_is_an_error_and_too_new_is_said() {
    let root = tempfile::tempdir().unwrap();
    prefix(root.path(), "lib", (20, 4, 2));
    let text = refused(root.path());
    assert!(
        text.contains("is SPDK 20.04.2") && text.contains("oldest that the bindings know is 20.07"),
        "{text}"
    );
    for (version, above) in [((26, 5, 3), false), ((26, 9, 0), true), ((20, 7, 0), false)] {
        let (_dir, mut host) = debian();
        prefix(root.path(), "lib", version);
        set(&mut host, "SPDK_DIR", root.path());
        assert_eq!(locate(&host).unwrap().above_ceiling(), above, "{version:?}");
    }
}

#[test]
fn a_foreign_version_header_is_an_error_that_names_it() {
    let root = tempfile::tempdir().unwrap();
    prefix(root.path(), "lib", (24, 1, 0));
    put(
        &root.path().join("include/spdk/version.h"),
        "#define OTHER 1\n",
    );
    let text = refused(root.path());
    assert!(
        text.contains("version.h does not define SPDK_VERSION_MAJOR"),
        "{text}"
    );
}

#[test]
fn pkg_config_is_asked_before_the_cache() {
    let (root, mut host) = debian();
    cached(&host, "spdk-20.07-r1", (20, 7, 0));
    // A path with a space: pkg-config escapes it.
    let dir = root.path().join("my prefix");
    prefix(&dir, "lib", (23, 9, 0));
    let pc = "prefix=${pcfiledir}/../..\nName: spdk_bdev\nDescription: x\nVersion: 1\nLibs: -L${prefix}/lib -lspdk_bdev\n";
    put(&dir.join("lib/pkgconfig/spdk_bdev.pc"), pc);
    set(&mut host, "PKG_CONFIG_LIBDIR", dir.join("lib/pkgconfig"));
    let spdk = locate(&host).unwrap();
    assert!(
        matches!(&spdk.origin, Origin::PkgConfig(found) if *found == dir),
        "{spdk:?}"
    );
    assert_eq!(spdk.version.to_string(), "23.09");
    assert_eq!(spdk.pkgconfig_dirs, [dir.join("lib/pkgconfig")]);

    std::fs::remove_file(dir.join("lib/libspdk_bdev.a")).unwrap();
    let spdk = locate(&host).unwrap();
    assert!(
        matches!(spdk.origin, Origin::Cache(_)),
        "a package without its archive is passed over"
    );
    assert!(
        spdk.looked_at
            .iter()
            .any(|(_, found)| found.contains("libspdk_bdev.a is not there")),
        "{spdk:?}"
    );
}

#[test]
fn a_package_that_requires_one_that_is_not_there_is_passed_over_with_the_reason() {
    let (root, mut host) = debian();
    let pc = "Name: x\nDescription: x\nVersion: 1\nRequires: not_installed\nLibs: -lspdk_bdev\n";
    put(&root.path().join("pc/spdk_bdev.pc"), pc);
    set(&mut host, "PKG_CONFIG_LIBDIR", root.path().join("pc"));
    let text = locate(&host).unwrap_err().to_string();
    assert!(
        text.contains("pkg-config spdk_bdev: Package 'not_installed'"),
        "{text}"
    );
}

#[test]
fn pkg_config_may_lead_into_a_build_tree() {
    let (root, mut host) = debian();
    let tree = root.path().join("spdk");
    build_tree(&tree, (26, 5, 0));
    let pc = format!(
        "Name: x\nDescription: x\nVersion: 1\nLibs: -L{}/build/lib -lspdk_bdev\n",
        tree.display()
    );
    put(&tree.join("build/lib/pkgconfig/spdk_bdev.pc"), &pc);
    set(
        &mut host,
        "PKG_CONFIG_PATH",
        tree.join("build/lib/pkgconfig"),
    );
    let spdk = locate(&host).unwrap();
    assert_eq!(spdk.source.as_deref(), Some(&*tree));
    assert_eq!(
        spdk.lib_dirs,
        ["build/lib", "dpdk/build/lib"].map(|d| tree.join(d))
    );
}

#[test]
fn without_pkg_config_the_cache_is_used() {
    let (_root, mut host) = debian();
    set(&mut host, "PKG_CONFIG", "/nonexistent/pkg-config");
    cached(&host, "spdk-20.07-r1", (20, 7, 0));
    let spdk = locate(&host).unwrap();
    assert!(
        spdk.looked_at
            .iter()
            .any(|(_, found)| found.contains("is not installed")),
        "{spdk:?}"
    );
}

#[test]
fn the_newest_complete_prefix_of_this_architecture_is_used() {
    let (_root, host) = debian();
    cached(&host, "spdk-20.07-r9", (20, 7, 0));
    cached(&host, "spdk-20.07-r10", (20, 7, 0));
    let other = cache(&host).join("spdk-24.01-r1-other");
    prefix(&other, "lib", (24, 1, 0));
    put(&other.join(COMPLETE_MARKER), "");
    let broken = cache(&host).join(format!("spdk-23.01-r1-{}", std::env::consts::ARCH));
    prefix(&broken, "lib", (23, 1, 0));
    let spdk = locate(&host).unwrap();
    assert!(
        spdk.origin.dir().to_string_lossy().contains("-r10-"),
        "{spdk:?}"
    );
    assert!(
        spdk.looked_at
            .iter()
            .any(|(place, found)| place.contains("23.01") && found.contains("incomplete"))
    );
    assert!(
        !spdk
            .looked_at
            .iter()
            .any(|(place, _)| place.contains("other"))
    );
}

#[test]
fn nothing_found_lists_each_place_and_the_two_ways_out() {
    let (_root, host) = debian();
    let text = locate(&host).unwrap_err().to_string();
    let cache = cache(&host).display().to_string();
    for part in [
        "SPDK_DIR: not set",
        "pkg-config spdk_bdev: no such package",
        &cache,
        "`cargo xtask spdk`",
        "SPDK_DIR=/path/to/spdk",
    ] {
        assert!(text.contains(part), "{part} in: {text}");
    }
}

#[test]
fn the_cache_follows_the_xdg_rules() {
    let (_root, mut host) = debian();
    let home = host.var("HOME").unwrap();
    assert_eq!(cache(&host), Path::new(&home).join(".cache/spdk-sys"));
    set(&mut host, "XDG_CACHE_HOME", "relative");
    assert_eq!(
        cache(&host),
        Path::new(&home).join(".cache/spdk-sys"),
        "a relative one is ignored"
    );
    set(&mut host, "XDG_CACHE_HOME", "/elsewhere");
    assert_eq!(cache(&host), Path::new("/elsewhere/spdk-sys"));
    host.env.clear();
    assert_eq!(locate::cache_root(&mut |name| host.var(name)), None);
    assert!(locate(&host).is_err());
}
