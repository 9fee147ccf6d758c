use super::*;
use crate::test_host::put;

fn found(files: &[(&str, &str)]) -> Result<Vec<String>, Error> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        put(&dir.path().join(name), text);
    }
    archives(dir.path())
}

#[test]
fn a_deb822_file_gives_its_mirror_and_not_the_security_archive() {
    let text = "Types: deb\n# a comment amid\nURIs: http://mirror.example/debian/\nSuites: bookworm bookworm-updates\n\
                Components: main\nSigned-By: /x.gpg\n\nTypes: deb\nURIs: http://mirror.example/debian-security\n\
                Suites: bookworm-security\nComponents: main\n";
    assert_eq!(
        found(&[("sources.list.d/debian.sources", text)]).unwrap(),
        ["http://mirror.example/debian"]
    );
}

#[test]
fn a_one_line_file_gives_its_mirror_with_options_or_without() {
    let text = "# deb http://old.example/debian bookworm main\n\
                deb [arch=amd64 signed-by=/x.gpg] http://one.example/debian bookworm main # ours\n\
                deb-src http://two.example/debian trixie main\n\
                deb http://one.example/debian bookworm-updates main\n\
                deb cdrom:[Debian 12]/debian bookworm main\n";
    assert_eq!(
        found(&[("sources.list", text)]).unwrap(),
        ["http://one.example/debian", "http://two.example/debian"]
    );
}

#[test]
fn the_archives_of_others_are_left_alone() {
    let lines = "deb https://packages.example/apt cloud main\ndeb https://docker.example/linux/debian bookworm stable\n";
    let sources = "Types: deb\nURIs: https://node.example/node_20.x\nSuites: nodistro\nComponents: main\n\n\
                   Enabled: no\nTypes: deb\nURIs: http://off.example/debian\nSuites: sid\nComponents: main\n";
    let files = [
        ("sources.list.d/a.list", lines),
        ("sources.list.d/b.sources", sources),
        ("sources.list.d/c.save", "deb http://x/debian sid main\n"),
    ];
    let error = found(&files).unwrap_err();
    assert!(matches!(error, Error::NoArchive { .. }), "{error}");
    assert!(error.to_string().contains("sources.list.d"), "{error}");
}

#[test]
fn a_mirror_list_and_several_uris_are_understood() {
    let text = "Types: deb deb-src\nURIs: mirror+file:///etc/apt/mirrors/debian.list\n http://b.example/debian\nSuites: sid\nComponents: main contrib\n";
    let uris = [
        "mirror+file:///etc/apt/mirrors/debian.list",
        "http://b.example/debian",
    ];
    assert_eq!(
        found(&[("sources.list.d/debian.sources", text)]).unwrap(),
        uris
    );
}

#[test]
fn what_apt_says_becomes_one_reason() {
    let run = |said: &str| RunError {
        what: "x".into(),
        how: "apt-get: exit status: 100".into(),
        tail: said.lines().map(String::from).collect(),
        log: PathBuf::new(),
    };
    let said = "Err:1 http://m/debian trixie InRelease\nE: Failed to fetch http://m/x  Could not connect to m:80\nE: Some index files failed to download.";
    let r = refusal(&run(said), said);
    assert!(
        r.unreachable && r.why.starts_with("Failed to fetch"),
        "{r:?}"
    );
    let said = "E: Failed to fetch http://m/pool/ceph.tar.xz  404  Not Found\nE: Failed to fetch some archives.";
    let r = refusal(&run(said), said);
    assert!(!r.unreachable && r.why.contains("404"), "{r:?}");
    assert_eq!(refusal(&run(""), "").why, "apt-get: exit status: 100");
}
