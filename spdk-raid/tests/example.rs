//! The example as a user runs it: its table, its exit status, its errors.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The example's program, which `cargo test` has built beside this one.
fn example() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.ancestors().nth(2).unwrap().join("examples/mirror");
    assert!(
        program.is_file(),
        "{} is missing; run all of `cargo test -p spdk-raid`",
        program.display()
    );
    program
}

fn run(args: &[&str]) -> (Output, String) {
    let output = Command::new(example())
        .args(["--load-ms", "20"])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.clone(), said.into_owned())
}

#[test]
fn a_sound_mirror_is_verified() {
    let (output, said) = run(&["--size", "4", "--depth", "8", "--legs", "3", "--seed", "7"]);
    assert!(output.status.success(), "{said}");
    assert_eq!(
        said.matches(" verified\n").count(),
        4,
        "the mirror and three legs:\n{said}"
    );
    for words in [
        "leg2 pulled out",
        "I/Os, 0 failed, every read right",
        "rebuilt under load",
        "the legs are equal",
        "verified: the mirror and every leg hold what was written",
    ] {
        assert!(said.contains(words), "{words:?} is missing:\n{said}");
    }
}

#[test]
fn the_picture_has_the_events_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("load.svg");
    let (output, said) = run(&["--size", "4", "--plot", path.to_str().unwrap()]);
    assert!(output.status.success(), "{said}");
    let svg = std::fs::read_to_string(path).unwrap();
    for words in [
        "<svg",
        "leg1 pulled out",
        "rebuild begins",
        "rebuilt",
        "MiB/s",
    ] {
        assert!(svg.contains(words), "{words:?} is missing");
    }
    let (output, said) = run(&["--size", "4", "--plot", "/nowhere/load.svg"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("--plot /nowhere/load.svg"), "{said}");
}

#[test]
fn one_flipped_byte_in_one_leg_fails_the_run() {
    let (output, said) = run(&["--size", "4", "--flip", "1:1048579"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("DIFFERS at byte 1048579"), "{said}");
    assert!(said.contains("NOT VERIFIED"), "{said}");
    assert_eq!(
        said.matches(" verified\n").count(),
        2,
        "the mirror and the other leg:\n{said}"
    );
}

#[test]
fn sizes_that_leave_a_short_last_io_are_covered_to_the_end() {
    let (output, said) = run(&["--size", "1", "--io-kib", "96", "--flip", "0:1048575"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("DIFFERS at byte 1048575"),
        "the last byte:\n{said}"
    );
}

#[test]
fn bad_options_are_clear_errors() {
    for (args, words) in [
        (vec!["--size", "0"], "0 is not in 1..=65536"),
        (vec!["--depth", "0"], "0 is not in 1..=4096"),
        (vec!["--legs", "1"], "1 is not in 2..=32"),
        (vec!["--legs", "33"], "33 is not in 2..=32"),
        (vec!["--block-size", "513"], "must be 512 or 4096"),
        (
            vec!["--block-size", "4096", "--io-kib", "6"],
            "whole number of blocks",
        ),
        (vec!["--seed", "x"], "invalid digit"),
        (vec!["--flip", "2:0"], "there is no leg 2 of 2"),
        (vec!["--flip", "0:67108864"], "past the end"),
        (vec!["--flip", "0"], "expected LEG:BYTE"),
    ] {
        let (output, said) = run(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(
            said.contains(words),
            "{args:?}: {said:?} should say {words:?}"
        );
    }
}
