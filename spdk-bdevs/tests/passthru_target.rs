//! The pass-through in a target: its methods, the saved configuration, logical volumes on it, few `spdk_bdev_io`s. DPDK
//! initialises once per process, so each test runs in processes of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use futures::future::join_all;
use serde_json::{Value, json};
use spdk_bdevs::passthru::{self, Creation, Passthru};
use spdk_safe::app::{Builder, yield_now};
use spdk_safe::bdev;
use spdk_safe::prelude::*;
use spdk_safe::rpc::{Client, ClientError, RpcError};

const TOP: &str = env!("CARGO_MANIFEST_DIR");

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
    let app = App::builder("passthru-test")
        .no_huge()
        .no_pci()
        .share_cores()
        .memory(Mib(500))
        .pools(Pools::small())
        .log_level(LogLevel::Warn);
    passthru::with(app)
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

fn ok(client: &mut Client, method: &str, params: Value) -> Value {
    call(client, method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
}

fn fails(client: &mut Client, method: &str, params: Value) -> i64 {
    let error = call(client, method, params).unwrap_err();
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

const CREATE: &str = "bdev_rust_passthru_create";
const DELETE: &str = "bdev_rust_passthru_delete";

#[test]
fn r1_r2_methods_and_their_errors() {
    in_process("r1_r2_methods_and_their_errors", |_| {
        target(None, |socket| {
            let client = &mut Client::connect(socket).unwrap();
            let (nodev, exist, busy) = (libc::ENODEV, libc::EEXIST, libc::EBUSY);
            let invalid = i64::from(RpcError::INVALID_PARAMS);
            assert_eq!(fails(client, CREATE, json!({})), invalid);
            let wrong = json!({"name": "pt", "base_bdev_name": "m", "what": 1});
            assert_eq!(fails(client, CREATE, wrong), invalid);
            let wrong = json!({"name": "pt", "base_bdev_name": "m", "uuid": "no"});
            assert_eq!(fails(client, CREATE, wrong), invalid);
            assert_eq!(
                fails(client, DELETE, json!({"name": "pt"})),
                -i64::from(nodev)
            );

            ok(
                client,
                "bdev_malloc_create",
                json!({"name": "m", "num_blocks": 64, "block_size": 512}),
            );
            assert_eq!(
                fails(client, DELETE, json!({"name": "m"})),
                -i64::from(nodev)
            );
            let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
            let pt = json!({"name": "pt", "base_bdev_name": "m", "uuid": uuid});
            assert_eq!(ok(client, CREATE, pt.clone()), "pt");
            assert_eq!(fails(client, CREATE, pt), -i64::from(exist));
            let other = json!({"name": "other", "base_bdev_name": "m"});
            assert_eq!(fails(client, CREATE, other), -i64::from(busy));

            let info = bdev(client, "pt");
            assert_eq!(info["uuid"], uuid);
            assert_eq!(info["num_blocks"], 64);
            assert_eq!(info["product_name"], "Rust passthru");
            let specific = json!({"passthru": {"name": "pt", "base_bdev_name": "m"}});
            assert_eq!(info["driver_specific"], specific);
            assert_eq!(bdev(client, "m")["claimed"], true);

            assert_eq!(ok(client, DELETE, json!({"name": "pt"})), true);
            assert_eq!(
                fails(client, DELETE, json!({"name": "pt"})),
                -i64::from(nodev)
            );
            // One that waits for its base.
            assert_eq!(
                ok(
                    client,
                    CREATE,
                    json!({"name": "late", "base_bdev_name": "later"})
                ),
                "late"
            );
            assert_eq!(ok(client, DELETE, json!({"name": "late"})), true);
            assert_eq!(
                fails(client, DELETE, json!({"name": "late"})),
                -i64::from(nodev)
            );
        });
        None
    });
}

#[test]
fn what_is_saved_comes_back_with_its_base() {
    in_process("what_is_saved_comes_back_with_its_base", |config| {
        let is_first = config.is_none();
        target(config.as_deref(), move |socket| {
            let client = &mut Client::connect(socket).unwrap();
            if is_first {
                ok(
                    client,
                    "bdev_malloc_create",
                    json!({"name": "m", "num_blocks": 64, "block_size": 512}),
                );
                for (name, base) in [("top", "pt"), ("pt", "m"), ("waits", "nowhere")] {
                    ok(
                        client,
                        CREATE,
                        json!({"name": name, "base_bdev_name": base}),
                    );
                }
                let uuids = [
                    bdev(client, "pt")["uuid"].take(),
                    bdev(client, "top")["uuid"].take(),
                ];
                let config = save_config(client);
                let text = config.to_string();
                assert!(
                    uuids
                        .iter()
                        .all(|uuid| text.contains(uuid.as_str().unwrap())),
                    "{text}"
                );
                return Some(config);
            }
            let again = save_config(client);
            let text = again.to_string();
            for name in ["top", "pt"] {
                let uuid = bdev(client, name)["uuid"].take();
                assert!(text.contains(uuid.as_str().unwrap()));
            }
            assert_eq!(
                bdev(client, "top")["driver_specific"]["passthru"]["base_bdev_name"],
                "pt"
            );
            // Which the UUIDs are shows here.
            let saved = std::fs::read_to_string(std::env::var_os(CONFIG).unwrap()).unwrap();
            let saved: Value = serde_json::from_str(&saved).unwrap();
            let of = |config: &Value| -> Vec<Value> {
                let all = config["subsystems"].as_array().unwrap().iter();
                let entries =
                    all.flat_map(|subsystem| subsystem["config"].as_array().into_iter().flatten());
                entries
                    .filter(|entry| entry["method"] == CREATE)
                    .cloned()
                    .collect()
            };
            assert_eq!(of(&again), of(&saved));
            assert_eq!(of(&saved).len(), 3);
            None
        })
    });
}

#[test]
fn rpc_py_creates_saves_and_deletes() {
    let rpc_py = Path::new(TOP).join("../target/rpc-client/bin/spdk-rpc");
    if !rpc_py.is_file() {
        return println!(
            "left out: there is no {}, which `cargo xtask test` gets from PyPI where it can",
            rpc_py.display()
        );
    }
    in_process("rpc_py_creates_saves_and_deletes", |config| {
        let is_first = config.is_none();
        target(config.as_deref(), move |socket| {
            let run = |args: &[&str]| {
                let output = Command::new(&rpc_py)
                    .env("PYTHONPATH", Path::new(TOP).join("tests/rpc_plugin"))
                    .env("PYTHONDONTWRITEBYTECODE", "1")
                    .arg("-s")
                    .arg(socket)
                    .args(["--plugin", "passthru_plugin"])
                    .args(args)
                    .stdin(Stdio::null())
                    .output()
                    .unwrap();
                let said = String::from_utf8(output.stdout).unwrap();
                match output.status.success() {
                    true => Ok(said),
                    false => Err(said + &String::from_utf8_lossy(&output.stderr)),
                }
            };
            let ok = |args: &[&str]| run(args).unwrap_or_else(|said| panic!("{args:?}:\n{said}"));
            if is_first {
                let client = &mut Client::connect(socket).unwrap();
                let disk = json!({"name": "m", "num_blocks": 64, "block_size": 512});
                self::ok(client, "bdev_malloc_create", disk);
                ok(&["bdev_rust_passthru_create", "-b", "m", "-p", "pt"]);
                let said = run(&["bdev_rust_passthru_create", "-b", "m", "-p", "pt"]).unwrap_err();
                assert!(said.contains("\"code\": -17"), "{said}");
                let (major, minor, _) = spdk_sys::VERSION;
                if (major, minor) >= (26, 5) {
                    return Some(serde_json::from_str(&ok(&["save_config"])).unwrap());
                }
                println!(
                    "this client's `save_config` asks what older targets do not know: in its stead"
                );
                return Some(save_config(client));
            }
            assert!(ok(&["bdev_get_bdevs", "-b", "pt"]).contains("Rust passthru"));
            ok(&["bdev_rust_passthru_delete", "pt"]);
            let said = run(&["bdev_rust_passthru_delete", "pt"]).unwrap_err();
            assert!(said.contains("\"code\": -19"), "{said}");
            None
        })
    });
}

#[test]
fn logical_volumes_stand_on_it() {
    in_process("logical_volumes_stand_on_it", |_| {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("rpc.sock");
        let app = app().rpc_socket(&socket);
        app.run(async |spdk| {
            let disk = MallocBdev::builder("m").blocks(64 * 2048);
            disk.create(&spdk).await.unwrap();
            Passthru::builder("pt", "m").create(&spdk).await.unwrap();
            beside(move || {
                let client = &mut Client::connect(socket).unwrap();
                let store = json!({"bdev_name": "pt", "lvs_name": "lvs", "cluster_sz": 1 << 20});
                ok(client, "bdev_lvol_create_lvstore", store);
                let mut lvol = json!({"lvol_name": "lvol", "lvs_name": "lvs"});
                let (major, minor, _) = spdk_sys::VERSION;
                match (major, minor) >= (23, 1) {
                    true => lvol["size_in_mib"] = 16.into(),
                    false => lvol["size"] = (16 << 20).into(),
                }
                ok(client, "bdev_lvol_create", lvol);
            })
            .await;
            let desc = BdevDesc::open(&spdk, "lvs/lvol").read_write().unwrap();
            assert_eq!(desc.num_blocks(), Blocks(16 * 2048));
            let ch = desc.channel().unwrap();
            let pattern = |at: u64| (at % 251) as u8 + 1;
            let writes = (0..256).map(|at| {
                let mut buf = ch.alloc(Blocks(8)).unwrap();
                buf.fill(pattern(at));
                ch.write(Lba(at * 128), buf)
            });
            for (result, _) in join_all(writes).await {
                result.unwrap();
            }
            for at in 0..256 {
                let read = ch.read_blocks(Lba(at * 128), Blocks(8)).await.unwrap();
                assert!(read.iter().all(|&byte| byte == pattern(at)), "at {at}");
            }
            ch.unmap(Lba(0), Blocks(16 * 2048)).await.unwrap();
            let read = ch.read_blocks(Lba(128), Blocks(8)).await.unwrap();
            assert!(read.iter().all(|&byte| byte == 0));
            drop(ch);
            desc.close().await;
            // All of it goes with the disk, and the volume comes back with it only if the data does.
            MallocBdev::delete(&spdk, "m").await.unwrap();
            while bdev::find(&spdk, "lvs/lvol").unwrap().is_some() {
                yield_now().await;
            }
        })
        .unwrap();
        None
    });
}

#[test]
fn m10_few_bdev_ios_are_enough() {
    in_process("m10_few_bdev_ios_are_enough", |_| {
        let pools = Pools {
            bdev_ios: 24,
            bdev_io_cache: 8,
            ..Pools::small()
        };
        app()
            .pools(pools)
            .run(async |spdk| {
                let disk = MallocBdev::builder("m").blocks(64);
                disk.create(&spdk).await.unwrap();
                for (name, base) in [("pt", "m"), ("pt2", "pt")] {
                    let created = Passthru::builder(name, base).create(&spdk).await;
                    assert_eq!(created, Ok(Creation::Registered));
                }
                let desc = BdevDesc::open(&spdk, "pt2").read_write().unwrap();
                let ch = desc.channel().unwrap();
                for turn in 0..20 {
                    let writes = (0..64).map(|lba| {
                        let mut buf = ch.alloc(Blocks(1)).unwrap();
                        buf.fill(lba as u8 ^ turn);
                        ch.write(Lba(lba), buf)
                    });
                    for (result, _) in join_all(writes).await {
                        result.unwrap();
                    }
                    let reads = (0..64).map(|lba| ch.read_blocks(Lba(lba), Blocks(1)));
                    for (lba, read) in join_all(reads).await.into_iter().enumerate() {
                        assert_eq!(read.unwrap()[..], [lba as u8 ^ turn; 512]);
                    }
                }
                drop(ch);
                desc.close().await;
            })
            .unwrap();
        None
    });
}
