//! The ramdisk in a target: its methods, the saved configuration, SPDK's own RAID on two of them, and the end of an app
//! while I/O waits. DPDK initialises once per process, so each test runs in processes of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use futures::future::join_all;
use serde_json::{Value, json};
use spdk_bdevs::ramdisk::{self, Action, Fault, Ramdisk};
use spdk_safe::app::{Builder, yield_now};
use spdk_safe::prelude::*;
use spdk_safe::rpc::{Client, RpcError};

/// Says which test a child process is to run.
const CHILD: &str = "SPDK_BDEVS_TEST_CHILD";
/// Names the configuration that the process is to start with.
const CONFIG: &str = "SPDK_BDEVS_TEST_CONFIG";

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
    let app = App::builder("ramdisk-test")
        .no_huge()
        .no_pci()
        .share_cores()
        .memory(Mib(500))
        .pools(Pools::small())
        .log_level(LogLevel::Warn);
    ramdisk::with(app)
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

/// A target with `config` or nothing, and `client` beside it.
fn target<T: Send + 'static>(
    config: Option<&Path>,
    client: impl FnOnce(&mut Client) -> T + Send + 'static,
) -> T {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("rpc.sock");
    let app = app().rpc_socket(&socket);
    let app = match config {
        Some(config) => app.config_file(config),
        None => app,
    };
    app.run(async |_spdk| beside(move || client(&mut Client::connect(socket).unwrap())).await)
        .unwrap()
}

fn ok(client: &mut Client, method: &str, params: Value) -> Value {
    let result = client.call(method, &params);
    result.unwrap_or_else(|error| panic!("{method}: {error}"))
}

fn fails(client: &mut Client, method: &str, params: Value) -> i64 {
    let error = client.call::<_, Value>(method, &params).unwrap_err();
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

/// The calls of our methods in a configuration.
fn ours(config: &Value) -> Vec<Value> {
    let all = config["subsystems"].as_array().unwrap().iter();
    let entries = all.flat_map(|subsystem| subsystem["config"].as_array().into_iter().flatten());
    let is_ours = |entry: &&Value| {
        entry["method"]
            .as_str()
            .unwrap()
            .starts_with("bdev_ramdisk")
    };
    entries.filter(is_ours).cloned().collect()
}

fn bdev(client: &mut Client, name: &str) -> Value {
    ok(client, "bdev_get_bdevs", json!({"name": name}))[0].take()
}

const CREATE: &str = "bdev_ramdisk_create";
const DELETE: &str = "bdev_ramdisk_delete";
const RESIZE: &str = "bdev_ramdisk_resize";
const SET_FAULTS: &str = "bdev_ramdisk_set_faults";

#[test]
fn r1_r2_methods_and_their_errors() {
    in_process("r1_r2_methods_and_their_errors", |_| {
        target(None, |client| {
            let (nodev, exist) = (-i64::from(libc::ENODEV), -i64::from(libc::EEXIST));
            let (inval, invalid) = (-i64::from(libc::EINVAL), RpcError::INVALID_PARAMS.into());
            for (params, code) in [
                (json!({}), invalid),
                (json!({"name": "r"}), invalid),
                (json!({"name": "r", "num_blocks": "8"}), invalid),
                (json!({"name": "r", "num_blocks": -8}), invalid),
                (json!({"name": "r", "num_blocks": 8, "what": 1}), invalid),
                (json!({"name": "r", "num_blocks": 8, "uuid": "no"}), invalid),
                (json!({"name": "r", "num_blocks": 0}), inval),
                (
                    json!({"name": "r", "num_blocks": 8, "block_size": 513}),
                    inval,
                ),
                (json!({"name": "", "num_blocks": 8}), inval),
                (json!({"name": "r\u{0}", "num_blocks": 8}), inval),
                (json!({"name": "r", "num_blocks": u64::MAX}), inval),
            ] {
                assert_eq!(fails(client, CREATE, params.clone()), code, "{params}");
            }
            for method in [DELETE, RESIZE, SET_FAULTS] {
                let params = match method {
                    DELETE => json!({"name": "r"}),
                    RESIZE => json!({"name": "r", "num_blocks": 8}),
                    _ => json!({"name": "r", "faults": []}),
                };
                assert_eq!(fails(client, method, params), nodev, "{method}");
            }
            let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
            let params = json!({"name": "r", "num_blocks": 64, "block_size": 4096, "uuid": uuid});
            assert_eq!(ok(client, CREATE, params.clone()), "r");
            assert_eq!(fails(client, CREATE, params), exist);
            assert_eq!(
                ok(client, RESIZE, json!({"name": "r", "num_blocks": 128})),
                true
            );
            assert_eq!(
                fails(client, RESIZE, json!({"name": "r", "num_blocks": 0})),
                inval
            );
            for faults in [
                json!([{}]),
                json!([{"action": "explode"}]),
                json!([{"action": "fail", "io": "smoke"}]),
                json!([{"action": "fail", "lba": -1}]),
                json!({"action": "fail"}),
            ] {
                let params = json!({"name": "r", "faults": faults});
                assert_eq!(fails(client, SET_FAULTS, params), invalid, "{faults}");
            }
            let faults = json!([{"action": {"delay_polls": 3}, "io": "write"}, {"action": "hold"}]);
            ok(client, SET_FAULTS, json!({"name": "r", "faults": faults}));
            let info = bdev(client, "r");
            assert_eq!(info["uuid"], uuid);
            assert_eq!(info["num_blocks"], 128);
            assert_eq!(info["block_size"], 4096);
            assert_eq!(info["product_name"], "Rust ramdisk");
            let specific = &info["driver_specific"]["ramdisk"];
            // A bdev that comes is read by whoever looks for something on it.
            assert_eq!([&specific["faults"], &specific["held"]], [2, 0]);
            assert_eq!(ok(client, DELETE, json!({"name": "r"})), true);
            assert_eq!(fails(client, DELETE, json!({"name": "r"})), nodev);
        });
        None
    });
}

#[test]
fn what_is_saved_comes_back() {
    in_process("what_is_saved_comes_back", |config| {
        let saved = config.as_ref().map(|config| {
            let text = std::fs::read_to_string(config).unwrap();
            ours(&serde_json::from_str(&text).unwrap())
        });
        target(config.as_deref(), move |client| {
            let Some(saved) = saved else {
                for name in ["one", "two", "three"] {
                    ok(client, CREATE, json!({"name": name, "num_blocks": 64}));
                }
                ok(client, RESIZE, json!({"name": "two", "num_blocks": 99}));
                let faults = json!([
                    {"action": "fail", "io": "seek_data", "lba": 8, "num_blocks": 9},
                    {"action": {"nvme": {"sct": 2, "sc": 129}}, "after": 1000, "times": 2},
                    {"action": {"short": 3}, "io": "compare_and_write", "times": 0},
                    {"action": {"delay_us": 100}, "io": "zero_copy"},
                    {"action": "remove", "io": "reset", "after": 7},
                ]);
                ok(client, SET_FAULTS, json!({"name": "one", "faults": faults}));
                ok(client, DELETE, json!({"name": "three"}));
                return Some(save_config(client));
            };
            assert_eq!(saved.len(), 3, "{saved:?}");
            assert_eq!(ours(&save_config(client)), saved);
            assert_eq!(bdev(client, "two")["num_blocks"], 99);
            let uuid = bdev(client, "one")["uuid"].take();
            assert!(saved.iter().any(|entry| entry["params"]["uuid"] == uuid));
            let one = bdev(client, "one")["driver_specific"]["ramdisk"]["faults"].take();
            assert_eq!(one, 5);
            None
        })
    });
}

#[test]
fn a_raid0_of_spdk_stands_on_two() {
    in_process("a_raid0_of_spdk_stands_on_two", |_| {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("rpc.sock");
        let app = app().rpc_socket(&socket);
        app.run(async |spdk| {
            let mut legs = Vec::new();
            for name in ["r0", "r1"] {
                let disk = Ramdisk::builder(name).blocks(Blocks(16 * 1024));
                legs.push(disk.create(&spdk).await.unwrap());
            }
            let call = |method: &'static str, params: Value| {
                let socket = socket.clone();
                beside(move || ok(&mut Client::connect(socket).unwrap(), method, params))
            };
            let params = json!({"name": "raid", "raid_level": "raid0", "strip_size_kb": 4, "base_bdevs": ["r0", "r1"]});
            call("bdev_raid_create", params).await;
            let desc = BdevDesc::open(&spdk, "raid").read_write().unwrap();
            let ch = desc.channel().unwrap();
            // Across many strips of 8 blocks, at odd places.
            let pattern = |at: u64| (0..24 * 512).map(|byte: u64| (at * 7 + byte / 512) as u8 | 1).collect::<Vec<_>>();
            let writes = (0..64).map(|at| ch.write(Lba(at * 101 + 3), pattern(at)));
            for (result, _) in join_all(writes).await {
                result.unwrap();
            }
            assert!(legs.iter().all(|leg| leg.memory() != Bytes(0)), "both are used");
            for at in 0..64 {
                let read = ch.read_blocks(Lba(at * 101 + 3), Blocks(24)).await.unwrap();
                assert!(read[..] == pattern(at)[..], "at {at}");
            }
            ch.unmap(Lba(0), Blocks(64 * 101 + 64)).await.unwrap();
            let read = ch.read_blocks(Lba(3), Blocks(24)).await.unwrap();
            assert!(read.iter().all(|&byte| byte == 0));
            // What one leg says, the whole says; and what it says is no memory, nobody hears of.
            legs[1].set_faults([Fault::new(Action::Fail).io(IoType::Write)]);
            assert!(ch.write(Lba(0), pattern(0)).await.0.is_err());
            legs[0].set_faults([Fault::new(Action::NoMemory).times(5)]);
            ch.write(Lba(0), pattern(0)).await.0.unwrap();
            ch.reset().await.unwrap();
            drop(ch);
            desc.close().await;
            call("bdev_raid_delete", json!({"name": "raid"})).await;
            for leg in legs {
                leg.delete().await.unwrap();
            }
        })
        .unwrap();
        None
    });
}

#[test]
fn the_app_ends_while_io_waits() {
    in_process("the_app_ends_while_io_waits", |_| {
        app()
            .run(async |spdk| {
                let disk = Ramdisk::builder("r").blocks(Blocks(64));
                let disk = disk.faults([Fault::new(Action::Hold).io(IoType::Write).always()]);
                let disk = disk.create(&spdk).await.unwrap();
                let desc = BdevDesc::open(&spdk, "r").read_write().unwrap();
                let thread = Thread::builder("other").create(&spdk).await.unwrap();
                let shared = desc.share();
                let task = thread.handle().spawn(move || async move {
                    let ch = shared.channel().unwrap();
                    ch.write(Lba(0), vec![0; 512]).await.0
                });
                drop(task.await.unwrap());
                let ch = desc.channel().unwrap();
                // They go on without their futures.
                for lba in 0..4 {
                    let mut write = Box::pin(ch.write(Lba(lba), vec![0; 512]));
                    let _ = futures::poll!(write.as_mut());
                }
                while disk.held() < 5 {
                    yield_now().await;
                }
                // All of it is left as it is.
                std::mem::forget(ch);
                std::mem::forget(desc);
                std::mem::forget(thread);
            })
            .unwrap();
        assert_eq!(Ramdisk::list().len(), 0);
        None
    });
}
