//! SPDK's own client, `rpc.py`, drives methods of ours: the PyPI package `spdk`, which `cargo xtask test` puts into
//! `target/rpc-client`. Our commands are a plugin as SPDK has them, `tests/rpc_plugin/example_plugin.py`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use spdk_safe::app::{Builder, yield_now};
use spdk_safe::prelude::*;
use spdk_safe::rpc::{self, Client, Method, RpcError, State};

const TOP: &str = env!("CARGO_MANIFEST_DIR");

/// The client, if it is there; else says so.
fn client() -> Option<PathBuf> {
    let client = Path::new(TOP).join("../target/rpc-client/bin/spdk-rpc");
    if !client.is_file() {
        println!(
            "left out: there is no {}, which `cargo xtask test` gets from PyPI where it can",
            client.display()
        );
        return None;
    }
    Some(client)
}

/// What the client prints; or `Err` with that, when it fails.
fn call(client: &Path, socket: &Path, args: &[&str]) -> Result<String, String> {
    let output = Command::new(client)
        .env("PYTHONPATH", Path::new(TOP).join("tests/rpc_plugin"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg("-s")
        .arg(socket)
        .args(["--plugin", "example_plugin"])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    match output.status.success() {
        true => Ok(said),
        false => Err(said + &String::from_utf8_lossy(&output.stderr)),
    }
}

#[derive(Deserialize)]
struct Create {
    name: String,
    num_blocks: u64,
    block_size: Option<u32>,
}

#[derive(Serialize)]
struct Created {
    name: String,
    bytes: u64,
}

async fn create(spdk: Spdk, params: Create) -> Result<Created, RpcError> {
    let block_size = params.block_size.unwrap_or(512);
    MallocBdev::builder(&*params.name)
        .blocks(params.num_blocks)
        .block_size(block_size)
        .create(&spdk)
        .await?;
    Ok(Created {
        name: params.name,
        bytes: params.num_blocks * u64::from(block_size),
    })
}

#[derive(Deserialize)]
struct Delete {
    name: String,
}

async fn delete(spdk: Spdk, params: Delete) -> Result<bool, RpcError> {
    MallocBdev::delete(&spdk, &params.name).await?;
    Ok(true)
}

const METHODS: [Method; 2] = [
    rpc::method("example_create", State::Runtime, create),
    rpc::method("example_delete", State::Runtime, delete),
];

fn app(socket: &Path) -> Builder {
    let app = App::builder("rpc-py")
        .no_huge()
        .no_pci()
        .share_cores()
        .memory(Mib(400))
        .pools(Pools::small())
        .log_level(LogLevel::Warn)
        .rpc_socket(socket);
    METHODS.into_iter().fold(app, Builder::rpc)
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

/// As the client's `save_config`.
fn save_config(socket: &Path) -> String {
    let mut client = Client::connect(socket).unwrap();
    let subsystems: Vec<Value> = client.call("framework_get_subsystems", &()).unwrap();
    let subsystems = subsystems.iter().map(|subsystem| {
        let name = &subsystem["subsystem"];
        let params = json!({"name": name});
        let config: Value = client.call("framework_get_config", &params).unwrap();
        json!({"subsystem": name, "config": config})
    });
    json!({"subsystems": subsystems.collect::<Vec<_>>()}).to_string()
}

/// Names the configuration that the process is to be started with again.
const AGAIN: &str = "SPDK_SAFE_TEST_CONFIG";

fn names(bdevs: &str) -> Vec<String> {
    let bdevs: Vec<Value> = serde_json::from_str(bdevs).unwrap();
    bdevs
        .iter()
        .map(|bdev| bdev["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn rpc_py_drives_our_methods_and_what_it_saves_can_be_loaded() {
    let name = "rpc_py_drives_our_methods_and_what_it_saves_can_be_loaded";
    let Some(client) = client() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("rpc.sock");
    if let Some(config) = std::env::var_os(AGAIN) {
        // The second process: what was saved is there.
        let path = socket.clone();
        let bdevs = app(&socket)
            .config_file(config)
            .run(async |_spdk| beside(move || call(&client, &path, &["bdev_get_bdevs"])).await);
        assert_eq!(names(&bdevs.unwrap().unwrap()), ["disk1"]);
        return;
    }
    let path = socket.clone();
    let saved = app(&socket)
        .run(async |_spdk| {
            beside(move || {
                let ok = |args: &[&str]| {
                    call(&client, &path, args)
                        .unwrap_or_else(|said| panic!("{args:?} failed:\n{said}"))
                };
                let fails = |args: &[&str]| call(&client, &path, args).unwrap_err();
                let created: Value =
                    serde_json::from_str(&ok(&["example_create", "disk0", "16"])).unwrap();
                assert_eq!(created, json!({"name": "disk0", "bytes": 8192}));
                ok(&["example_create", "disk1", "16", "-b", "4096"]);
                assert_eq!(names(&ok(&["bdev_get_bdevs"])), ["disk0", "disk1"]);

                let said = fails(&["example_create", "disk0", "16"]);
                assert!(said.contains("\"code\": -17"), "{said}");
                let said = fails(&["example_create", "disk2", "-1"]);
                assert!(
                    said.contains("-32602") && said.contains("num_blocks: "),
                    "{said}"
                );
                ok(&["example_delete", "disk0"]);
                let said = fails(&["example_delete", "disk0"]);
                assert!(said.contains("\"code\": -19"), "{said}");
                assert!(ok(&["rpc_get_methods"]).contains("example_create"));
                let (major, minor, _) = spdk_sys::VERSION;
                if (major, minor) >= (26, 5) {
                    return ok(&["save_config"]);
                }
                println!(
                    "this client's `save_config` asks what older targets do not know: in its stead"
                );
                save_config(&path)
            })
            .await
        })
        .unwrap();
    let config = folder.path().join("config.json");
    std::fs::write(&config, saved).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(AGAIN, &config)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{}:\n{said}\n{}",
        output.status,
        std::fs::read_to_string(&config).unwrap()
    );
}
