//! The program behind `cargo xtask bench`.

#![cfg(feature = "spdk")]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// One at a time: each takes a core.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bench(args: &[&str]) -> Output {
    let _alone = alone();
    let program = env!("CARGO_BIN_EXE_spdk-bench");
    Command::new(program).args(args).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// With a millisecond for each turn: whether it works, not how fast.
const SHORT: [&str; 8] = [
    "--rounds",
    "2",
    "--millis",
    "1",
    "--depth",
    "3",
    "--leg-size",
    "1",
];

#[test]
fn all_contenders_verify_and_json_and_picture_have_every_row() {
    let dir = tempfile::tempdir().unwrap();
    let (json_path, plot) = (dir.path().join("out.json"), dir.path().join("out.svg"));
    let mut args = SHORT.to_vec();
    args.extend([
        "--table",
        "--size",
        "512,4k",
        "--json",
        json_path.to_str().unwrap(),
    ]);
    args.extend(["--plot", plot.to_str().unwrap()]);
    let output = bench(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));

    let all = json(&json_path);
    let has_c = spdk_benches::stack::has_c_raid1();
    let mut names = vec!["raw", "passthru", "c-passthru", "floor", "raid1"];
    names.extend(has_c.then_some("c-raid1"));
    assert_eq!(all["verified"], serde_json::json!(names));
    assert_eq!(all["options"]["rounds"], 2);
    assert!(all["host"]["spdk"].is_string());
    assert_eq!(all["instrument"].as_array().unwrap().len(), 8);
    let rows = all["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2 * 2 * 2, "legs, reads and writes, sizes");
    for row in rows {
        for name in &names {
            let contender = &row["contenders"][name];
            assert!(contender["iops"].as_f64().unwrap() > 0.0, "{row:#}");
            assert_eq!(contender["rounds"].as_array().unwrap().len(), 2);
            assert!(contender["latency_ns"]["p99.9"].as_u64().unwrap() > 0);
        }
        let ratio = &row["ratios"]["raid1/floor"];
        assert!(ratio["low"].as_f64() <= ratio["median"].as_f64());
        assert_eq!(ratio["is_met"].is_boolean(), row["legs"] == "null");
        assert_eq!(row["ratios"]["raid1/c-raid1"].is_object(), has_c);
    }
    let printed = text(&output.stdout);
    assert!(printed.contains("| randwrite 512 B qd 3 |"), "{printed}");
    assert_eq!(printed.contains("has no raid1 in C"), !has_c, "{printed}");
    let plot = std::fs::read_to_string(plot).unwrap();
    assert!(plot.starts_with("<svg") && plot.contains("malloc randread, 4 KiB qd 3"));
}

#[test]
fn a_mirror_that_forgets_a_write_on_its_second_leg_fails() {
    let output = bench(&[&SHORT[..], &["--contender", "raw,forgetful"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("forgetful does not mirror: byte 0 of block 56 of leg1"),
        "{said}"
    );
}

#[test]
fn a_contender_that_reads_other_data_fails() {
    let output = bench(&[&SHORT[..], &["--contender", "garbling"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("garbling does not hold what was written: byte 0 of block 56"),
        "{said}"
    );
}

#[test]
fn what_can_not_be_is_said_before_anything_is_measured() {
    let said = |args: &[&str], code| {
        let output = bench(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        text(&output.stderr)
    };
    assert!(said(&["--depth", "nought"], 2).contains("invalid value 'nought'"));
    assert!(said(&["--loop", "c", "--io", "randrw"], 1).contains("leave out rw and randrw"));
    assert!(said(&["load", "nobody"], 1).contains("nobody"));
    let odd = said(&["load", "leg0", "--size", "16m", "--count", "1"], 0);
    assert!(odd.is_empty(), "{odd}");
}

#[test]
fn the_load_generator_verifies_a_mix_on_a_bdev_of_a_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let (config, out) = (dir.path().join("config.json"), dir.path().join("out.json"));
    let text_of = r#"{"subsystems":[{"subsystem":"bdev","config":[
        {"method":"bdev_malloc_create","params":{"name":"mine","num_blocks":1024,"block_size":4096}}]}]}"#;
    std::fs::write(&config, text_of).unwrap();
    let (config, path) = (config.to_str().unwrap(), out.to_str().unwrap());
    let args = [
        "load", "mine", "--io", "randrw", "--verify", "--count", "5000", "--depth", "7",
    ];
    let output = bench(&[&args[..], &["--config", config, "--json", path]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let done = json(&out);
    assert_eq!(done["completed"], 5000);
    assert_eq!(done["is_verified"], true);
    assert!(done["latency_ns"]["p50"].as_u64() <= done["latency_ns"]["p99.9"].as_u64());

    // A bdev that keeps no data does not verify.
    let null = text_of.replace("malloc", "null");
    std::fs::write(config, null).unwrap();
    let output = bench(&[
        "load", "mine", "--verify", "--count", "10", "--config", config,
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("mine does not hold what was written"));
}
