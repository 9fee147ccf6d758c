//! The RAID1 in a target: its methods, arrays that wait for their bases, the saved configuration, the app's end. DPDK
//! initialises once per process, so each test runs in processes of its own.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use spdk_bdevs::ramdisk;
use spdk_raid::raid1;
use spdk_safe::app::{Builder, yield_now};
use spdk_safe::prelude::*;
use spdk_safe::rpc::{Client, ClientError};

/// Says which test a child process is to run.
const CHILD: &str = "SPDK_RAID_TEST_CHILD";
/// Names the configuration that the process is to start with.
const CONFIG: &str = "SPDK_RAID_TEST_CONFIG";

/// Runs `test` in a process of its own; in a second one, if it leaves a configuration, with that.
fn in_process(name: &str, test: impl FnOnce(Option<PathBuf>) -> Option<Value>) {
    if std::env::var(CHILD).as_deref() == Ok(name) {
        let config = std::env::var_os(CONFIG).map(PathBuf::from);
        let is_second = config.as_ref().is_some_and(|config| config.exists());
        let left = test(config.clone().filter(|_| is_second));
        if let (Some(left), Some(config)) = (left, config) {
            std::fs::write(config, left.to_string()).unwrap();
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    for turn in 0..2 {
        if turn == 1 && !config.exists() {
            break;
        }
        let output = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, name)
            .env(CONFIG, &config)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        println!("{said}");
        assert!(output.status.success(), "{}", output.status);
        assert!(said.contains("1 passed"), "the child ran no test");
    }
}

fn app() -> Builder {
    let app = App::builder("raid1-test")
        .no_huge()
        .no_pci()
        .share_cores()
        .memory(Mib(500))
        .pools(Pools::small())
        .log_level(LogLevel::Warn);
    raid1::with(ramdisk::with(app))
}

/// Runs `work` on an OS thread, and waits for it without blocking SPDK.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(work);
    while !thread.is_finished() {
        yield_now().await;
    }
    match thread.join() {
        Ok(value) => value,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

/// A target with `config` or nothing, and `client` beside it, which has the path of its socket.
fn target<T: Send + 'static>(
    config: Option<&Path>,
    client: impl FnOnce(&Path) -> T + Send + 'static,
) -> T {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("rpc.sock");
    let app = app().rpc_socket(&socket);
    let app = match config {
        Some(config) => app.config_file(config),
        None => app,
    };
    app.run(async |_spdk| beside(move || client(&socket)).await)
        .unwrap()
}

fn call(client: &mut Client, method: &str, params: Value) -> Result<Value, ClientError> {
    client.call(method, &params)
}

#[track_caller]
fn ok(client: &mut Client, method: &str, params: Value) -> Value {
    call(client, method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
}

#[track_caller]
fn fails(client: &mut Client, method: &str, params: Value) -> i64 {
    let error = call(client, method, params).unwrap_err();
    println!("{method}: {error}");
    error.code().unwrap_or_else(|| panic!("{method}: {error}"))
}

/// As `rpc.py save_config`.
fn save_config(client: &mut Client) -> Value {
    let subsystems = ok(client, "framework_get_subsystems", Value::Null);
    let subsystems = subsystems.as_array().unwrap().iter().map(|subsystem| {
        let name = &subsystem["subsystem"];
        let config = ok(client, "framework_get_config", json!({"name": name}));
        json!({"subsystem": name, "config": config})
    });
    json!({"subsystems": subsystems.collect::<Vec<_>>()})
}

fn bdev(client: &mut Client, name: &str) -> Value {
    ok(client, "bdev_get_bdevs", json!({"name": name}))[0].take()
}

fn disk(client: &mut Client, name: &str, num_blocks: u64) {
    ok(
        client,
        "bdev_ramdisk_create",
        json!({"name": name, "num_blocks": num_blocks}),
    );
}

/// The array, as `bdev_rust_raid1_get_bdevs` shows it.
fn array(client: &mut Client, name: &str) -> Value {
    ok(client, GET, json!({"name": name}))[0].take()
}

/// The names of arrays of a category.
fn names(client: &mut Client, category: &str) -> Vec<String> {
    let all = ok(client, GET, json!({"category": category}));
    let all = all.as_array().unwrap().iter();
    all.map(|array| array["name"].as_str().unwrap().to_owned())
        .collect()
}

const CREATE: &str = "bdev_rust_raid1_create";
const DELETE: &str = "bdev_rust_raid1_delete";
const GET: &str = "bdev_rust_raid1_get_bdevs";
const SET: &str = "bdev_rust_raid1_set_options";

const UUID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

#[test]
fn an_array_is_created_shown_and_deleted() {
    in_process("an_array_is_created_shown_and_deleted", |_| {
        target(None, |socket| {
            let client = &mut Client::connect(socket).unwrap();
            disk(client, "a", 64);
            disk(client, "b", 80);
            let md = json!({
                "name": "md", "raid_level": "raid1", "base_bdevs": ["a", "b"], "strip_size_kb": 0,
                "superblock": false, "uuid": UUID,
            });
            assert_eq!(ok(client, CREATE, md), true);
            let md = array(client, "md");
            println!("{md:#}");
            assert_eq!(md["uuid"], UUID);
            assert_eq!(md["state"], "online");
            assert_eq!(md["raid_level"], "raid1");
            for counter in ["", "_discovered", "_operational"] {
                assert_eq!(md[format!("num_base_bdevs{counter}")], 2);
            }
            assert_eq!(md["array"]["health"], "optimal");
            assert_eq!(md["process"], Value::Null);
            let b = bdev(client, "b");
            let leg = &md["base_bdevs_list"][1];
            assert_eq!(leg["name"], "b");
            assert_eq!(leg["uuid"], b["uuid"]);
            assert_eq!(leg["is_configured"], true);
            assert_eq!(leg["data_offset"], 0);
            assert_eq!(leg["data_size"], 64);
            assert_eq!(b["claimed"], true);
            let md = bdev(client, "md");
            assert_eq!(md["num_blocks"], 64);
            assert_eq!(md["uuid"], UUID);
            assert_eq!(names(client, "online"), ["md"]);
            assert_eq!(names(client, "all"), ["md"]);
            assert!(names(client, "configuring").is_empty());
            assert_eq!(ok(client, DELETE, json!({"name": "md"})), true);
            assert!(names(client, "all").is_empty());
            assert_eq!(bdev(client, "b")["claimed"], false);
        });
        None
    });
}

#[test]
fn r_03_an_array_waits_for_its_bases_whatever_their_order() {
    in_process(
        "r_03_an_array_waits_for_its_bases_whatever_their_order",
        |_| {
            target(None, |socket| {
                let client = &mut Client::connect(socket).unwrap();
                let md = json!({"name": "md", "base_bdevs": ["a", UUID.to_uppercase(), "c"]});
                assert_eq!(ok(client, CREATE, md), true);
                assert_eq!(names(client, "configuring"), ["md"]);
                disk(client, "c", 64);
                // It is ours from the beginning.
                assert_eq!(bdev(client, "c")["claimed"], true);
                assert_eq!(array(client, "md")["num_base_bdevs_discovered"], 1);
                assert_eq!(array(client, "md")["num_base_bdevs_operational"], 3);
                assert_eq!(
                    array(client, "md")["base_bdevs_list"][2]["is_configured"],
                    true
                );
                // One that goes is waited for again.
                ok(client, "bdev_ramdisk_delete", json!({"name": "c"}));
                assert_eq!(array(client, "md")["num_base_bdevs_discovered"], 0);
                let b = json!({"name": "whatever", "num_blocks": 64, "uuid": UUID});
                ok(client, "bdev_ramdisk_create", b);
                disk(client, "c", 64);
                assert_eq!(names(client, "configuring"), ["md"]);
                disk(client, "a", 64);
                assert_eq!(names(client, "configuring"), [""; 0]);
                assert_eq!(array(client, "md")["state"], "online");
                assert_eq!(
                    array(client, "md")["base_bdevs_list"][1]["name"],
                    "whatever"
                );
                assert_eq!(bdev(client, "md")["num_blocks"], 64);
                ok(client, DELETE, json!({"name": "md"}));

                // One that waits can be deleted; what it had is free again.
                let md = json!({"name": "md", "base_bdevs": ["a", "later"]});
                ok(client, CREATE, md);
                assert_eq!(bdev(client, "a")["claimed"], true);
                ok(client, DELETE, json!({"name": "md"}));
                assert_eq!(bdev(client, "a")["claimed"], false);
                assert_eq!(
                    fails(client, DELETE, json!({"name": "md"})),
                    -i64::from(libc::ENODEV)
                );
                disk(client, "later", 64);
                assert_eq!(bdev(client, "later")["claimed"], false);
            });
            None
        },
    );
}

/// The calls of our methods in a configuration.
fn ours(config: &Value) -> Vec<Value> {
    let all = config["subsystems"].as_array().unwrap().iter();
    let entries = all.flat_map(|subsystem| subsystem["config"].as_array().into_iter().flatten());
    let is_ours = |entry: &&Value| {
        let method = entry["method"].as_str().unwrap_or_default();
        method.starts_with("bdev_rust_raid1_")
    };
    entries.filter(is_ours).cloned().collect()
}

#[test]
fn what_is_saved_comes_back_with_its_bases_and_options() {
    in_process(
        "what_is_saved_comes_back_with_its_bases_and_options",
        |config| {
            let is_first = config.is_none();
            let saved = config.as_ref().map(|config| {
                let text = std::fs::read_to_string(config).unwrap();
                serde_json::from_str::<Value>(&text).unwrap()
            });
            target(config.as_deref(), move |socket| {
                let client = &mut Client::connect(socket).unwrap();
                if is_first {
                    let defaults = json!({
                        "process_window_size_kb": 256, "process_max_bandwidth_mb_sec": 7, "io_timeout_sec": 0,
                    });
                    ok(client, SET, defaults);
                    for name in ["a", "b", "c"] {
                        disk(client, name, 64);
                    }
                    ok(
                        client,
                        CREATE,
                        json!({"name": "top", "base_bdevs": ["md", "c"]}),
                    );
                    let md = json!({"name": "md", "base_bdevs": ["a", "b"], "read_policy": "round-robin"});
                    ok(client, CREATE, md);
                    ok(
                        client,
                        CREATE,
                        json!({"name": "waits", "base_bdevs": ["no", "where"]}),
                    );
                    ok(
                        client,
                        SET,
                        json!({"name": "md", "process_window_size_kb": 64}),
                    );
                    assert_eq!(names(client, "online"), ["md", "top"]);
                    return Some(save_config(client));
                }
                let again = save_config(client);
                assert_eq!(ours(&again), ours(&saved.unwrap()));
                assert_eq!(ours(&again).len(), 4);
                assert_eq!(names(client, "online"), ["md", "top"]);
                assert_eq!(names(client, "configuring"), ["waits"]);
                let options = json!({
                    "read_policy": "round-robin", "process_window_size_kb": 64,
                    "process_max_bandwidth_mb_sec": 7, "io_timeout_sec": 0,
                });
                assert_eq!(array(client, "md")["options"], options);
                assert_eq!(
                    array(client, "waits")["options"]["process_window_size_kb"],
                    256
                );
                None
            })
        },
    );
}
