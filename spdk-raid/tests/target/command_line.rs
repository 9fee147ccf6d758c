//! What is wrong before anything starts.

use std::process::Stdio;

use crate::process::{alone, command, fails};

#[test]
fn a_wrong_command_line_ends_with_status_2() {
    let said = fails(&["-i", "0"], 2);
    assert!(
        said.contains("--shm-id") && said.contains("leave it out"),
        "{said}"
    );
    let version = command(&["--version"])
        .stderr(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(version.status.code(), Some(0));
    let version = String::from_utf8(version.stdout).unwrap();
    assert!(
        version.contains(&spdk_safe::app::spdk_version()),
        "{version}"
    );
}

#[test]
fn what_can_not_start_ends_with_status_1_and_says_why() {
    let _alone = alone();
    let said = fails(&["-L", "no-such-flag"], 1);
    assert!(said.contains("no-such-flag"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong.json");
    std::fs::write(&file, "{\"subsystems\": [\n{\"subsystem\": 3}]}").unwrap();
    let said = fails(
        &[
            "--no-huge",
            "-u",
            "-c",
            file.to_str().unwrap(),
            "--no-rpc-server",
        ],
        1,
    );
    assert!(said.contains("line 2"), "{said}");
    let nowhere = folder.path().join("no/such/folder/rpc.sock");
    let said = fails(
        &[
            "--no-huge",
            "-u",
            "-s",
            "512",
            "--disable-cpumask-locks",
            "-r",
            nowhere.to_str().unwrap(),
        ],
        1,
    );
    assert!(said.contains("no/such/folder"), "{said}");
}
