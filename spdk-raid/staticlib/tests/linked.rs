//! The RAID1 in a C application: the static library, linked with `tests/linked/app.c`.

#[path = "../../../spdk-safe/tests/linked/link.rs"]
mod link;

use std::path::Path;
use std::process::Command;

use serde_json::json;

#[test]
fn a_c_application_has_an_array_from_its_configuration() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("linked-raid1");
    // `bdev-malloc` is the program's, for the legs.
    let build = [
        "build",
        "--lib",
        "--features=spdk-safe/bdev-malloc",
        "--message-format=json",
    ];
    let source = top.join("tests/linked/app.c");
    link::link(top, &build, "spdk_bdev_rust_raid1", &source, &program);

    let folder = tempfile::tempdir().unwrap();
    let malloc = |name: &str| {
        json!({
            "method": "bdev_malloc_create",
            "params": {"name": name, "num_blocks": 16384, "block_size": 512},
        })
    };
    let array = json!({
        "method": "bdev_rust_raid1_create",
        "params": {"name": "md0", "base_bdevs": ["leg0", "leg1"]},
    });
    // Another is being filled when the program ends, slowly, and one waits with a base that it has claimed.
    let filled = json!({
        "method": "bdev_rust_raid1_create",
        "params": {
            "name": "filled", "base_bdevs": ["leg2", null],
            "process_window_size_kb": 64, "process_max_bandwidth_mb_sec": 1,
        },
    });
    let add = json!({
        "method": "bdev_rust_raid1_add_base_bdev",
        "params": {"raid_bdev": "filled", "base_bdev": "leg3"},
    });
    let waits = json!({
        "method": "bdev_rust_raid1_create",
        "params": {"name": "waits", "base_bdevs": ["leg4", "later"]},
    });
    let legs = (0..5).map(|leg| malloc(&format!("leg{leg}")));
    let calls: Vec<_> = legs.chain([array, filled, add, waits]).collect();
    let config = json!({"subsystems": [{"subsystem": "bdev", "config": calls}]});
    let file = folder.path().join("config.json");
    std::fs::write(&file, config.to_string()).unwrap();

    let output = Command::new("timeout")
        .args(["-k", "5", "100"])
        .args([&program, &file, &folder.path().join("rpc.sock")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let ours = ["md0", "there", "written", "read", "ended"];
    let said: Vec<_> = said
        .lines()
        .filter(|line| ours.iter().any(|start| line.starts_with(start)))
        .collect();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.len(), 4, "{said:?}\n{stderr}");
    assert!(said[0].ends_with(" of rust_raid1"), "{said:?}\n{stderr}");
    assert_eq!(
        said[1..],
        ["written: yes", "read: right", "ended: 0"],
        "{stderr}"
    );
    assert!(output.status.success());
}
