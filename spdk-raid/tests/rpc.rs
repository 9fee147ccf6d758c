//! The RAID1 in a target: its methods, arrays that wait for their bases, the saved configuration, the app's end. DPDK
//! initialises once per process, so each test runs in processes of its own.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use serde_json::{Value, json};
use spdk_bdevs::{passthru, ramdisk};
use spdk_raid::raid1::{self, Raid1, Raid1Builder};
use spdk_safe::app::{Builder, yield_now};
use spdk_safe::prelude::*;
use spdk_safe::rpc::{Client, ClientError, RpcError};

const TOP: &str = env!("CARGO_MANIFEST_DIR");

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
    raid1::with(passthru::with(ramdisk::with(app)))
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

/// The states of the bases.
fn states(client: &mut Client, name: &str) -> Vec<String> {
    let array = array(client, name);
    let bases = array["base_bdevs_list"].as_array().unwrap().iter();
    bases
        .map(|base| base["state"].as_str().unwrap().to_owned())
        .collect()
}

/// Waits until all bases are in sync, and nothing is under way.
fn settle(client: &mut Client, name: &str) {
    for _ in 0..1000 {
        let now = array(client, name);
        if now["array"]["health"] == "optimal" && now["process"].is_null() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("never: {:#}", array(client, name));
}

const CREATE: &str = "bdev_rust_raid1_create";
const DELETE: &str = "bdev_rust_raid1_delete";
const GET: &str = "bdev_rust_raid1_get_bdevs";
const SET: &str = "bdev_rust_raid1_set_options";

const ADD: &str = "bdev_rust_raid1_add_base_bdev";
const REMOVE: &str = "bdev_rust_raid1_remove_base_bdev";
const REPLACE: &str = "bdev_rust_raid1_replace_base_bdev";
const SCRUB: &str = "bdev_rust_raid1_scrub";
const PAUSE: &str = "bdev_rust_raid1_pause_process";
const RESUME: &str = "bdev_rust_raid1_resume_process";
const ABORT: &str = "bdev_rust_raid1_abort_process";
const RESET: &str = "bdev_rust_raid1_reset_counters";
const IOSTAT: &str = "bdev_rust_raid1_get_iostat";

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

                // One that does not fit is let go of, and said.
                ok(
                    client,
                    CREATE,
                    json!({"name": "waits", "base_bdevs": ["x", "y"]}),
                );
                disk(client, "x", 64);
                let params = |size| json!({"name": "y", "num_blocks": 64, "block_size": size});
                ok(client, "bdev_ramdisk_create", params(4096));
                assert_eq!(bdev(client, "y")["claimed"], false);
                assert_eq!(bdev(client, "x")["claimed"], true);
                let waits = array(client, "waits");
                let why = waits["last_error"].as_str().unwrap();
                assert!(why.contains("\"y\" has blocks of 4096 B"), "{why}");
                ok(client, "bdev_ramdisk_delete", json!({"name": "y"}));
                ok(client, "bdev_ramdisk_create", params(512));
                assert_eq!(array(client, "waits")["state"], "online");
                assert_eq!(array(client, "waits")["last_error"], Value::Null);

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
                        "process_window_size_kb": 256, "process_max_bandwidth_mb_sec": 7,
                        "process_share_percent": 60, "io_timeout_sec": 0,
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
                    "process_max_bandwidth_mb_sec": 7, "process_share_percent": 60, "io_timeout_sec": 0, "slow_io_sec": 5,
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

fn errno(errno: i32) -> i64 {
    -i64::from(errno)
}

#[test]
fn r1_what_is_wrong_with_parameters_is_an_error_and_nothing_is_left_behind() {
    in_process(
        "r1_what_is_wrong_with_parameters_is_an_error_and_nothing_is_left_behind",
        |_| {
            target(None, |socket| {
                let client = &mut Client::connect(socket).unwrap();
                for name in ["a", "b"] {
                    disk(client, name, 64);
                }
                let large = json!({"name": "4k", "num_blocks": 64, "block_size": 4096});
                ok(client, "bdev_ramdisk_create", large);
                let invalid = i64::from(RpcError::INVALID_PARAMS);
                let (inval, exist) = (errno(libc::EINVAL), errno(libc::EEXIST));
                let many: Vec<_> = (0..33).map(|at| format!("base{at}")).collect();
                let with = |what: Value| {
                    let mut params = json!({"name": "md", "base_bdevs": ["a", "b"]});
                    for (name, value) in what.as_object().unwrap() {
                        params[name] = value.clone();
                    }
                    params
                };
                for (wrong, code) in [
                    (json!({}), invalid),
                    (json!({"name": "md"}), invalid),
                    (json!({"base_bdevs": ["a", "b"]}), invalid),
                    (json!(["md", ["a", "b"]]), invalid),
                    (with(json!({"name": 7})), invalid),
                    (with(json!({"base_bdevs": "a b"})), invalid),
                    (with(json!({"base_bdevs": ["a", 7]})), invalid),
                    (with(json!({"what": 1})), invalid),
                    (with(json!({"uuid": "no"})), invalid),
                    (with(json!({"raid_level": "raid0"})), invalid),
                    (with(json!({"read_policy": "any"})), invalid),
                    (with(json!({"process_window_size_kb": -1})), invalid),
                    (with(json!({"strip_size_kb": 64})), inval),
                    (with(json!({"superblock": true})), errno(libc::ENOTSUP)),
                    (with(json!({"process_window_size_kb": 0})), inval),
                    (
                        with(json!({"process_window_size_kb": (64 << 10) + 1})),
                        inval,
                    ),
                    (with(json!({"name": ""})), inval),
                    (with(json!({"name": "m\0d"})), inval),
                    (with(json!({"name": "m".repeat(64)})), inval),
                    (with(json!({"base_bdevs": []})), inval),
                    (with(json!({"base_bdevs": ["a"]})), inval),
                    (with(json!({"base_bdevs": many})), inval),
                    (with(json!({"base_bdevs": ["a", "a"]})), inval),
                    (with(json!({"base_bdevs": ["later", "later"]})), inval),
                    (with(json!({"base_bdevs": [null, null]})), inval),
                    (with(json!({"base_bdevs": ["a", ""]})), inval),
                    (with(json!({"base_bdevs": ["a", "b\0"]})), inval),
                    (with(json!({"base_bdevs": ["a", "md"]})), inval),
                    (with(json!({"base_bdevs": ["a", "4k"]})), inval),
                    (with(json!({"base_bdevs": ["a", "4k", "later"]})), inval),
                    (
                        with(json!({"base_bdevs": ["no", "where"], "degraded": true})),
                        errno(libc::ENODEV),
                    ),
                    (with(json!({"name": "4k"})), exist),
                ] {
                    assert_eq!(fails(client, CREATE, wrong.clone()), code, "{wrong}");
                    assert_eq!(names(client, "all"), [""; 0], "{wrong}");
                    assert_eq!(bdev(client, "a")["claimed"], false, "{wrong}");
                }
                // The same base by two names.
                let uuid = bdev(client, "a")["uuid"].take();
                let twice = with(json!({"base_bdevs": ["a", uuid]}));
                assert_eq!(fails(client, CREATE, twice), inval);

                let one = with(json!({"raid_level": "RAID1"}));
                ok(client, CREATE, one.clone());
                assert_eq!(fails(client, CREATE, one), exist);
                ok(
                    client,
                    CREATE,
                    json!({"name": "waits", "base_bdevs": ["no", "where"], "raid_level": "1"}),
                );
                let again = json!({"name": "waits", "base_bdevs": ["other", "ones"]});
                assert_eq!(fails(client, CREATE, again), exist);
                // Contract R-06.
                let claimed = with(json!({"name": "other", "base_bdevs": ["a", "later"]}));
                assert_eq!(fails(client, CREATE, claimed), errno(libc::EPERM));
                for method in [
                    DELETE, GET, SET, ADD, REMOVE, REPLACE, SCRUB, PAUSE, RESUME, ABORT, RESET,
                    IOSTAT,
                ] {
                    assert_eq!(
                        fails(client, method, json!({"what": 1})),
                        invalid,
                        "{method}"
                    );
                    assert_eq!(
                        fails(client, method, json!({"name": 7})),
                        invalid,
                        "{method}"
                    );
                }
                for method in [DELETE, ADD, REMOVE, REPLACE, SCRUB, PAUSE, RESUME, ABORT] {
                    assert_eq!(fails(client, method, Value::Null), invalid, "{method}");
                }
                assert_eq!(fails(client, GET, json!({"category": "some"})), invalid);
                assert_eq!(names(client, "all"), ["md", "waits"]);
            });
            None
        },
    );
}

#[test]
fn r2_what_is_not_there_or_not_possible_is_an_error() {
    in_process("r2_what_is_not_there_or_not_possible_is_an_error", |_| {
        target(None, |socket| {
            let client = &mut Client::connect(socket).unwrap();
            for name in ["a", "b", "c"] {
                disk(client, name, 64);
            }
            disk(client, "small", 63);
            let (nodev, inval, busy) =
                (errno(libc::ENODEV), errno(libc::EINVAL), errno(libc::EBUSY));
            ok(
                client,
                CREATE,
                json!({"name": "md", "base_bdevs": ["a", "b"]}),
            );
            ok(
                client,
                CREATE,
                json!({"name": "waits", "base_bdevs": ["c", "where"]}),
            );
            for method in [DELETE, GET, SET, SCRUB, PAUSE, RESUME, ABORT, RESET, REMOVE] {
                assert_eq!(
                    fails(client, method, json!({"name": "no"})),
                    nodev,
                    "{method}"
                );
            }
            for (array, base, code) in [
                ("no", "c", nodev),
                ("md", "no", nodev),
                ("md", "small", inval),
                ("waits", "small", busy),
                // It has no free place.
                ("md", "4th", inval),
                ("md", "c", errno(libc::EPERM)),
                ("md", "a", errno(libc::EPERM)),
            ] {
                if base == "4th" {
                    disk(client, base, 64);
                }
                let params = json!({"raid_bdev": array, "base_bdev": base});
                assert_eq!(fails(client, ADD, params), code, "{array} {base}");
            }
            for (array, old, base, code) in [
                ("md", "c", "4th", nodev),
                ("md", "a", "no", nodev),
                ("no", "a", "4th", nodev),
                ("md", "a", "small", inval),
                ("md", "a", "b", errno(libc::EPERM)),
            ] {
                let params = json!({"raid_bdev": array, "old_base_bdev": old, "base_bdev": base});
                assert_eq!(fails(client, REPLACE, params), code, "{array} {old} {base}");
            }
            assert_eq!(fails(client, REMOVE, json!({"name": "4th"})), nodev);
            assert_eq!(fails(client, SCRUB, json!({"name": "waits"})), busy);
            ok(client, REMOVE, json!({"name": "a"}));
            assert_eq!(bdev(client, "a")["claimed"], false);
            assert_eq!(fails(client, REMOVE, json!({"name": "a"})), nodev);
            assert_eq!(fails(client, REMOVE, json!({"name": "b"})), busy);
            assert_eq!(
                fails(client, SET, json!({"process_window_size_kb": 0})),
                inval
            );
            assert_eq!(
                fails(
                    client,
                    SET,
                    json!({"name": "md", "process_window_size_kb": 0})
                ),
                inval
            );
            assert_eq!(states(client, "md"), ["missing", "in sync"]);
        });
        None
    });
}

#[test]
fn a_waiting_array_starts_without_bases_that_are_taken_away() {
    in_process(
        "a_waiting_array_starts_without_bases_that_are_taken_away",
        |_| {
            target(None, |socket| {
                let client = &mut Client::connect(socket).unwrap();
                for name in ["a", "b", "c"] {
                    disk(client, name, 64);
                }
                let (nodev, busy) = (errno(libc::ENODEV), errno(libc::EBUSY));
                let md = json!({"name": "md", "base_bdevs": ["a", "where", "b"]});
                ok(client, CREATE, md);
                let wrong = json!({"name": "c", "raid_bdev": "md"});
                assert_eq!(fails(client, REMOVE, wrong), nodev);
                let more = json!({"raid_bdev": "md", "base_bdev": "c"});
                assert_eq!(fails(client, ADD, more.clone()), busy);
                // One that is there is free then.
                ok(client, REMOVE, json!({"name": "b"}));
                assert_eq!(bdev(client, "b")["claimed"], false);
                let bases = array(client, "md")["base_bdevs_list"].take();
                assert_eq!(bases[2]["name"], Value::Null);
                // Without the one that does not come it starts.
                assert_eq!(names(client, "configuring"), ["md"]);
                ok(client, REMOVE, json!({"name": "where"}));
                assert_eq!(names(client, "online"), ["md"]);
                assert_eq!(states(client, "md"), ["in sync", "missing", "missing"]);
                for base in ["b", "c"] {
                    let params = json!({"raid_bdev": "md", "base_bdev": base});
                    ok(client, ADD, params);
                }
                settle(client, "md");
                // The last one that is awaited stays.
                let other = json!({"name": "other", "base_bdevs": ["no", null]});
                ok(client, CREATE, other);
                assert_eq!(fails(client, REMOVE, json!({"name": "no"})), busy);
                assert_eq!(names(client, "configuring"), ["other"]);
                disk(client, "no", 64);
                assert_eq!(states(client, "other"), ["in sync", "missing"]);
            });
            None
        },
    );
}

#[test]
fn a_base_takes_a_missing_place_before_that_of_one_that_was_faulted() {
    in_process(
        "a_base_takes_a_missing_place_before_that_of_one_that_was_faulted",
        |_| {
            target(None, |socket| {
                let client = &mut Client::connect(socket).unwrap();
                for name in ["a", "b", "d", "e", "f"] {
                    disk(client, name, 64);
                }
                // The second one will be faulted, the third is not there, the fourth is nobody's.
                let bases = json!(["a", "b", "c", null]);
                let md = json!({"name": "md", "base_bdevs": bases, "degraded": true});
                ok(client, CREATE, md);
                ok(client, "bdev_ramdisk_delete", json!({"name": "b"}));
                while !states(client, "md")[1].starts_with("faulted") {}
                let bases = |client: &mut Client| {
                    let bases = array(client, "md")["base_bdevs_list"].take();
                    let bases = bases.as_array().unwrap().iter();
                    bases.map(|base| base["name"].clone()).collect::<Vec<_>>()
                };
                for (base, then) in [
                    ("d", json!(["a", "b", "c", "d"])),
                    ("e", json!(["a", "b", "e", "d"])),
                    ("f", json!(["a", "f", "e", "d"])),
                ] {
                    ok(client, ADD, json!({"raid_bdev": "md", "base_bdev": base}));
                    assert_eq!(bases(client), *then.as_array().unwrap(), "{base}");
                }
                settle(client, "md");
            });
            None
        },
    );
}

#[test]
fn r2_an_array_that_is_being_deleted_is_not_deleted_again() {
    in_process(
        "r2_an_array_that_is_being_deleted_is_not_deleted_again",
        |_| {
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join("rpc.sock");
            app()
                .rpc_socket(&socket)
                .run(async |spdk| {
                    let at = socket.clone();
                    beside(move || {
                        let client = &mut Client::connect(&at).unwrap();
                        disk(client, "a", 64);
                        disk(client, "b", 64);
                        ok(
                            client,
                            CREATE,
                            json!({"name": "md", "base_bdevs": ["a", "b"]}),
                        );
                    })
                    .await;
                    // An I/O that stays keeps the bdev.
                    let a = ramdisk::Ramdisk::find("a").unwrap();
                    a.set_faults([ramdisk::Fault::new(ramdisk::Action::Hold)]);
                    let desc = BdevDesc::open(&spdk, "md").read_write().unwrap();
                    let ch = Rc::new(desc.channel().unwrap());
                    let read = spdk_safe::thread::spawn_local({
                        let ch = Rc::clone(&ch);
                        async move { ch.read_blocks(Lba(0), Blocks(1)).await.map(drop) }
                    })
                    .unwrap();
                    while a.held() == 0 {
                        yield_now().await;
                    }
                    let at = socket.clone();
                    let first = std::thread::spawn(move || {
                        let client = &mut Client::connect(&at).unwrap();
                        ok(client, DELETE, json!({"name": "md"}));
                    });
                    let at = socket.clone();
                    beside(move || {
                        let client = &mut Client::connect(&at).unwrap();
                        while names(client, "offline").is_empty() {}
                        assert_eq!(
                            fails(client, DELETE, json!({"name": "md"})),
                            errno(libc::EALREADY)
                        );
                        let taken = json!({"name": "md", "base_bdevs": ["c", "d"]});
                        assert_eq!(fails(client, CREATE, taken), errno(libc::EEXIST));
                        assert!(
                            !ours(&save_config(client))
                                .iter()
                                .any(|entry| entry["method"] == CREATE)
                        );
                    })
                    .await;
                    a.let_go();
                    read.await.unwrap().unwrap();
                    drop(ch);
                    desc.close().await;
                    beside(move || first.join().unwrap()).await;
                })
                .unwrap();
            None
        },
    );
}

#[test]
fn bases_go_and_come_by_rpc_and_what_is_saved_never_has_one_that_missed_writes() {
    in_process(
        "bases_go_and_come_by_rpc_and_what_is_saved_never_has_one_that_missed_writes",
        |config| {
            let is_first = config.is_none();
            target(config.as_deref(), move |socket| {
                let client = &mut Client::connect(socket).unwrap();
                if !is_first {
                    // It began without the base, which is there, and free.
                    assert_eq!(states(client, "md"), ["in sync", "missing", "missing"]);
                    assert_eq!(bdev(client, "b")["claimed"], false);
                    for base in ["b", "d"] {
                        ok(client, ADD, json!({"raid_bdev": "md", "base_bdev": base}));
                    }
                    settle(client, "md");
                    return None;
                }
                for name in ["a", "b", "c", "d"] {
                    disk(client, name, 64);
                }
                let start =
                    json!({"name": "md", "base_bdevs": ["a", "b", "c", "later"], "degraded": true});
                ok(client, CREATE, start);
                assert_eq!(
                    states(client, "md"),
                    ["in sync", "in sync", "in sync", "missing"]
                );
                assert_eq!(array(client, "md")["array"]["health"], "degraded");
                ok(client, DELETE, json!({"name": "md"}));

                ok(
                    client,
                    CREATE,
                    json!({"name": "md", "base_bdevs": ["a", "b", "c"]}),
                );
                let uuid = bdev(client, "b")["uuid"].take();
                ok(client, REMOVE, json!({"name": uuid}));
                assert_eq!(states(client, "md"), ["in sync", "missing", "in sync"]);
                assert_eq!(array(client, "md")["num_base_bdevs_operational"], 2);
                ok(client, ADD, json!({"raid_bdev": "md", "base_bdev": uuid}));
                settle(client, "md");
                assert_eq!(array(client, "md")["base_bdevs_list"][1]["name"], "b");
                ok(
                    client,
                    REPLACE,
                    json!({"raid_bdev": "md", "old_base_bdev": "c", "base_bdev": "d"}),
                );
                settle(client, "md");
                assert_eq!(array(client, "md")["base_bdevs_list"][2]["name"], "d");
                assert_eq!(bdev(client, "c")["claimed"], false);
                ok(client, SCRUB, json!({"name": "md", "repair": true}));
                settle(client, "md");
                let counters =
                    |client: &mut Client| array(client, "md")["array"]["counters"].take();
                assert_ne!(counters(client)["locks"], 0);
                ok(client, RESET, json!({"name": "md"}));
                assert_eq!(counters(client)["locks"], 0);

                // One that is faulted, and one that is being filled.
                ok(client, "bdev_ramdisk_delete", json!({"name": "b"}));
                disk(client, "b", 64);
                while states(client, "md")[1] != "faulted: its bdev is gone" {}
                ok(client, REMOVE, json!({"name": "d"}));
                let hold = json!([{"action": "hold", "io": "write"}]);
                ok(
                    client,
                    "bdev_ramdisk_set_faults",
                    json!({"name": "d", "faults": hold}),
                );
                ok(client, ADD, json!({"raid_bdev": "md", "base_bdev": "d"}));
                // Not in the place of the one that was faulted.
                let gone = "faulted: its bdev is gone";
                assert_eq!(states(client, "md"), ["in sync", gone, "rebuilding"]);
                let process = &array(client, "md")["process"];
                assert_eq!(process["type"], "rebuild");
                assert_eq!(process["target"], "d");
                assert_eq!(process["progress"]["blocks"], 0);
                assert_eq!(process["progress"]["percent"], 0);
                ok(
                    client,
                    "bdev_ramdisk_set_faults",
                    json!({"name": "d", "faults": []}),
                );
                let config = save_config(client);
                let md = ours(&config).pop().unwrap();
                assert_eq!(md["params"]["base_bdevs"], json!(["a", null, null]));
                // The app ends with a rebuild whose target does not answer.
                Some(config)
            })
        },
    );
}

#[test]
fn the_app_ends_with_arrays_at_work() {
    in_process("the_app_ends_with_arrays_at_work", |_| {
        let ended = app().run(async |spdk| {
            for (name, count) in [("busy", 2), ("filled", 2), ("scrubbed", 3)] {
                for at in 0..count {
                    let disk = ramdisk::Ramdisk::builder(format!("{name}{at}"));
                    disk.blocks(Blocks(4096)).create(&spdk).await.unwrap();
                }
            }
            let [busy, filled, scrubbed] =
                [("busy", 2), ("filled", 1), ("scrubbed", 3)].map(|(name, count)| {
                    let bases = (0..count).map(|at| format!("{name}{at}"));
                    let builder = bases.fold(Raid1::builder(name), Raid1Builder::base);
                    match count {
                        1 => builder.missing(),
                        _ => builder,
                    }
                });
            let busy = busy.create(&spdk).await.unwrap();
            let filled = filled.create(&spdk).await.unwrap();
            let scrubbed = scrubbed.create(&spdk).await.unwrap();
            // Writes without end, on two SPDK threads.
            let load = |spdk: Spdk| async move {
                let desc = BdevDesc::open(&spdk, "busy").read_write().unwrap();
                let ch = desc.channel().unwrap();
                for lba in 0.. {
                    if ch
                        .write(Lba(lba % 4096), ch.alloc(Blocks(1)).unwrap())
                        .await
                        .0
                        .is_err()
                    {
                        return;
                    }
                }
            };
            let _load = spdk_safe::thread::spawn_local(load(spdk.clone())).unwrap();
            let desc = BdevDesc::open(&spdk, "busy").read_write().unwrap();
            let shared = desc.share();
            let other = Thread::builder("load").spawner(spdk_exec::spdk::attach);
            let other = other.create(&spdk).await.unwrap();
            let _load = other
                .handle()
                .try_spawn(move || async move {
                    let ch = shared.channel().unwrap();
                    while ch
                        .write(Lba(7), ch.alloc(Blocks(1)).unwrap())
                        .await
                        .0
                        .is_ok()
                    {}
                })
                .unwrap();
            // A rebuild, and a scrub, that do not come to an end.
            let hold = || [ramdisk::Fault::new(ramdisk::Action::Hold)];
            let target = ramdisk::Ramdisk::find("filled1").unwrap();
            target.set_faults(hold());
            filled.add("filled1").await.unwrap();
            let third = ramdisk::Ramdisk::find("scrubbed2").unwrap();
            third.set_faults(hold());
            scrubbed.scrub(true).await.unwrap();
            while target.held() == 0 || third.held() == 0 {
                yield_now().await;
            }
            assert_eq!(busy.info().state.to_string(), "optimal");
            assert_eq!(filled.info().processes.len(), 1);
            assert_eq!(scrubbed.info().processes.len(), 1);
            std::mem::forget(desc);
            std::mem::forget(other);
        });
        ended.unwrap();
        None
    });
}

#[test]
fn rebuilds_and_scrubs_are_paused_resumed_and_aborted_by_rpc() {
    in_process(
        "rebuilds_and_scrubs_are_paused_resumed_and_aborted_by_rpc",
        |_| {
            target(None, |socket| {
                let client = &mut Client::connect(socket).unwrap();
                for name in ["a", "b"] {
                    disk(client, name, 8192);
                }
                ok(
                    client,
                    CREATE,
                    json!({"name": "md", "base_bdevs": ["a", null]}),
                );
                for method in [PAUSE, RESUME, ABORT] {
                    assert_eq!(
                        fails(client, method, json!({"name": "md"})),
                        errno(libc::ENOENT)
                    );
                    let wrong = json!({"name": "md", "type": "repair"});
                    assert_eq!(
                        fails(client, method, wrong),
                        i64::from(RpcError::INVALID_PARAMS)
                    );
                }
                let slow = json!({"name": "md", "process_window_size_kb": 4, "process_max_bandwidth_mb_sec": 1});
                ok(client, SET, slow);
                ok(client, ADD, json!({"raid_bdev": "md", "base_bdev": "b"}));
                let rebuild = json!({"name": "md", "type": "rebuild", "target": "b"});
                ok(client, PAUSE, rebuild.clone());
                assert_eq!(array(client, "md")["process"]["is_paused"], true);
                let scrub = json!({"name": "md", "type": "scrub"});
                assert_eq!(fails(client, PAUSE, scrub.clone()), errno(libc::ENOENT));
                let other = json!({"name": "md", "target": "a"});
                assert_eq!(fails(client, ABORT, other), errno(libc::ENOENT));
                ok(client, RESUME, rebuild);
                assert_eq!(array(client, "md")["process"]["is_paused"], false);
                ok(client, ABORT, json!({"name": "md"}));
                assert_eq!(array(client, "md")["process"], Value::Null);
                assert_eq!(states(client, "md")[1], "faulted: it was asked for");
                assert_eq!(bdev(client, "b")["claimed"], false);

                ok(
                    client,
                    SET,
                    json!({"name": "md", "process_max_bandwidth_mb_sec": 0}),
                );
                ok(client, ADD, json!({"raid_bdev": "md", "base_bdev": "b"}));
                settle(client, "md");
                ok(
                    client,
                    SET,
                    json!({"name": "md", "process_max_bandwidth_mb_sec": 1}),
                );
                ok(client, SCRUB, json!({"name": "md"}));
                assert_eq!(
                    fails(client, SCRUB, json!({"name": "md"})),
                    errno(libc::EBUSY)
                );
                ok(client, PAUSE, scrub.clone());
                ok(client, ABORT, scrub);
                assert_eq!(array(client, "md")["array"]["health"], "optimal");
                assert_eq!(array(client, "md")["process"], Value::Null);
            });
            None
        },
    );
}

#[test]
fn a_resync_is_asked_for_seen_paused_and_ended_by_rpc() {
    in_process("a_resync_is_asked_for_seen_paused_and_ended_by_rpc", |_| {
        target(None, |socket| {
            let client = &mut Client::connect(socket).unwrap();
            disk(client, "a", 8192);
            let slow = json!({"process_window_size_kb": 4, "process_max_bandwidth_mb_sec": 1});
            ok(client, SET, slow);
            // One that waits keeps what it was asked for, also in a saved configuration.
            let md = json!({"name": "md", "base_bdevs": ["a", "b"], "resync": true});
            ok(client, CREATE, md);
            let saved = ours(&save_config(client));
            assert_eq!(saved[1]["params"]["resync"], true, "{saved:?}");
            disk(client, "b", 8192);
            let now = array(client, "md");
            assert_eq!(now["process"]["type"], "resync");
            assert_eq!(now["array"]["dirty_ranges"], 1);
            // What is saved meanwhile is the base that is read.
            let saved = ours(&save_config(client));
            assert_eq!(saved[1]["params"]["base_bdevs"], json!(["a", null]));
            let resync = json!({"name": "md", "type": "resync"});
            ok(client, PAUSE, resync.clone());
            assert_eq!(array(client, "md")["process"]["is_paused"], true);
            let scrub = json!({"name": "md", "type": "scrub"});
            assert_eq!(fails(client, PAUSE, scrub), errno(libc::ENOENT));
            ok(client, RESUME, resync.clone());
            let faster = json!({"name": "md", "process_max_bandwidth_mb_sec": 0});
            ok(client, SET, faster);
            settle(client, "md");
            assert_eq!(array(client, "md")["array"]["dirty_ranges"], 0);
            assert_eq!(fails(client, ABORT, resync.clone()), errno(libc::ENOENT));
            ok(client, DELETE, json!({"name": "md"}));
            // When one is ended only the first base is read for good.
            let md = json!({"name": "md", "base_bdevs": ["a", "b"], "resync": true});
            ok(client, CREATE, md);
            ok(client, ABORT, resync);
            let now = array(client, "md");
            assert_eq!(now["process"], Value::Null);
            assert_eq!(now["array"]["dirty_ranges"], 1);
        });
        None
    });
}

#[test]
fn what_bases_have_done_and_how_long_that_took_is_seen_by_rpc() {
    in_process(
        "what_bases_have_done_and_how_long_that_took_is_seen_by_rpc",
        |_| {
            target(None, |socket| {
                let client = &mut Client::connect(socket).unwrap();
                for name in ["a", "b"] {
                    disk(client, name, 64);
                }
                let md = json!({"name": "md", "base_bdevs": ["a", "b"], "slow_io_sec": 2});
                ok(client, CREATE, md);
                let base = |client: &mut Client, at: usize| {
                    ok(client, IOSTAT, json!({"name": "md"}))[0]["base_bdevs_list"][at].take()
                };
                let before = base(client, 1);
                ok(client, SCRUB, json!({"name": "md"}));
                settle(client, "md");
                let after = base(client, 1);
                println!("{after:#}");
                assert_eq!(after["name"], "b");
                let reads = |base: &Value| base["reads"].as_u64().unwrap();
                assert!(reads(&after) > reads(&before), "{before} {after}");
                assert!(after["read_latency_us"].is_u64());
                let now = array(client, "md");
                assert_eq!(now["options"]["slow_io_sec"], 2);
                assert_eq!(now["base_bdevs_list"][0]["is_slow"], false);
                assert_eq!(now["base_bdevs_list"][0]["oldest_io_ms"], Value::Null);
                assert_eq!(now["array"]["repairs"], 0);
                let all = ok(client, IOSTAT, Value::Null);
                assert_eq!(all.as_array().unwrap().len(), 1);
                assert_eq!(all[0]["counters"]["slow"], 0);
                let nobody = json!({"name": "other"});
                assert_eq!(fails(client, IOSTAT, nobody), errno(libc::ENODEV));
            });
            None
        },
    );
}

#[test]
fn a_base_belongs_to_its_array_before_others_look_at_it() {
    in_process(
        "a_base_belongs_to_its_array_before_others_look_at_it",
        |_| {
            target(None, |socket| {
                let client = &mut Client::connect(socket).unwrap();
                disk(client, "a", 64 * 2048);
                disk(client, "b", 64 * 2048);
                let passthru = |client: &mut Client, name: &str| {
                    let params = json!({"name": format!("pt-{name}"), "base_bdev_name": name});
                    ok(client, "bdev_rust_passthru_create", params);
                };
                passthru(client, "a");
                passthru(client, "b");
                let md = json!({"name": "md", "base_bdevs": ["pt-a", "pt-b"]});
                ok(client, CREATE, md.clone());
                let store = json!({"bdev_name": "md", "lvs_name": "lvs", "cluster_sz": 1 << 20});
                ok(client, "bdev_lvol_create_lvstore", store);
                let stores =
                    |client: &mut Client| ok(client, "bdev_lvol_get_lvstores", Value::Null);
                assert_eq!(stores(client)[0]["base_bdev"], "md");
                // Each base holds a whole store.
                ok(client, DELETE, json!({"name": "md"}));
                for name in ["pt-a", "pt-b"] {
                    ok(client, "bdev_rust_passthru_delete", json!({"name": name}));
                }
                assert_eq!(stores(client), json!([]));
                ok(client, CREATE, md);
                passthru(client, "a");
                assert_eq!(stores(client), json!([]));
                passthru(client, "b");
                while stores(client) == json!([]) {}
                assert_eq!(stores(client)[0]["base_bdev"], "md");
            });
            None
        },
    );
}

#[test]
fn rpc_py_drives_the_methods_and_saves_them() {
    let rpc_py = Path::new(TOP).join("../target/rpc-client/bin/spdk-rpc");
    if !rpc_py.is_file() {
        return println!(
            "left out: there is no {}, which `cargo xtask test` gets from PyPI where it can",
            rpc_py.display()
        );
    }
    in_process("rpc_py_drives_the_methods_and_saves_them", |config| {
        let is_first = config.is_none();
        target(config.as_deref(), move |socket| {
            let run = |args: &str| {
                let output = Command::new(&rpc_py)
                    .env("PYTHONPATH", Path::new(TOP).join("scripts"))
                    .env("PYTHONDONTWRITEBYTECODE", "1")
                    .arg("-s")
                    .arg(socket)
                    .args(["--plugin", "rust_raid1"])
                    // Bases are one argument, with commas in the stead of spaces here.
                    .args(args.split(' ').map(|arg| arg.replace(',', " ")))
                    .stdin(Stdio::null())
                    .output()
                    .unwrap();
                let said = String::from_utf8(output.stdout).unwrap();
                match output.status.success() {
                    true => Ok(said),
                    false => Err(said + &String::from_utf8_lossy(&output.stderr)),
                }
            };
            let ok = |args: &str| run(args).unwrap_or_else(|said| panic!("{args}:\n{said}"));
            let client = &mut Client::connect(socket).unwrap();
            if is_first {
                for name in ["a", "b", "c"] {
                    disk(client, name, 64);
                }
                let set = "bdev_rust_raid1_set_options --process-window-size-kb 64 -b 0 --io-timeout-sec 9 --slow-io-sec 3 --process-share-percent 100";
                assert_eq!(ok(set).trim(), "true");
                let create =
                    "bdev_rust_raid1_create -n md -r raid1 -z 0 -b a,b,- --read-policy primary";
                ok(create);
                let said = run(create).unwrap_err();
                assert!(said.contains("\"code\": -17"), "{said}");
                assert_eq!(array(client, "md")["options"]["io_timeout_sec"], 9);
                assert_eq!(array(client, "md")["options"]["slow_io_sec"], 3);
                assert_eq!(array(client, "md")["options"]["process_share_percent"], 100);
                ok("bdev_rust_raid1_add_base_bdev md c");
                settle(client, "md");
                ok("bdev_rust_raid1_remove_base_bdev c");
                ok("bdev_rust_raid1_replace_base_bdev md b c");
                ok("bdev_rust_raid1_add_base_bdev md b");
                settle(client, "md");
                ok("bdev_rust_raid1_scrub md --repair");
                ok("bdev_rust_raid1_reset_counters md");
                let said: Value =
                    serde_json::from_str(&ok("bdev_rust_raid1_get_iostat md")).unwrap();
                assert_eq!(said[0]["base_bdevs_list"][0]["name"], "a");
                settle(client, "md");
                let said = run("bdev_rust_raid1_abort_process md -t rebuild").unwrap_err();
                assert!(said.contains("\"code\": -2,"), "{said}");
                let (major, minor, _) = spdk_sys::VERSION;
                if (major, minor) >= (26, 5) {
                    return Some(serde_json::from_str(&ok("save_config")).unwrap());
                }
                println!(
                    "this client's `save_config` asks what older targets do not know: in its stead"
                );
                return Some(save_config(client));
            }
            let said = ok("bdev_rust_raid1_get_bdevs online");
            let shown: Value = serde_json::from_str(&said).unwrap();
            assert_eq!(shown[0]["base_bdevs_list"][1]["name"], "c");
            assert_eq!(shown[0]["options"]["read_policy"], "primary");
            assert_eq!(ok("bdev_rust_raid1_get_bdevs").trim(), said.trim());
            ok("bdev_rust_raid1_delete md");
            let said = run("bdev_rust_raid1_delete md").unwrap_err();
            assert!(said.contains("\"code\": -19"), "{said}");
            None
        })
    });
}
