//! `docs/write-a-bdev.md` is right: what it says is built, run, and used as it says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spdk_safe::rpc::Client;

const TOP: &str = env!("CARGO_MANIFEST_DIR");

/// The files of the page: those parts that follow a line which names a file, put together.
fn files(page: &str) -> BTreeMap<String, String> {
    let mut files = BTreeMap::<String, String>::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("<!-- file: ") else {
            continue;
        };
        let name = name.trim_end_matches(" -->").to_owned();
        let fence = lines.next().expect("a file after its name");
        assert!(fence.starts_with("```"), "{name} begins with {fence:?}");
        let text = files.entry(name).or_default();
        for line in lines.by_ref().take_while(|line| *line != "```") {
            text.push_str(line);
            text.push('\n');
        }
        text.push('\n');
    }
    files
}

/// Writes the crate of the page, and builds it.
fn build(top: &Path) -> (PathBuf, PathBuf) {
    let page = std::fs::read_to_string(top.join("docs/write-a-bdev.md")).unwrap();
    let folder = top.join("target/tutorial/memdisk");
    for (name, text) in files(&page) {
        let here = format!("{:?}", top.join("spdk-safe"));
        let text = text.replace("\"../spdk-rust/spdk-safe\"", &here);
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    // On its own, though it lies below the workspace; and with the versions that the workspace has.
    let manifest = folder.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    assert!(text.contains("path = \"/"), "the page's path was replaced");
    std::fs::write(&manifest, text + "[workspace]\n").unwrap();
    std::fs::copy(top.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let cargo = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline"])
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", top.join("target/tutorial/build"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&cargo.stderr);
    assert!(cargo.status.success(), "{said}");
    assert!(!said.contains("warning"), "{said}");
    (top.join("target/tutorial/build/debug/memdisk"), folder)
}

/// The target of the page, which is told to end when this is dropped.
struct Target(Child);

impl Target {
    fn start(program: &Path, args: &[&Path]) -> (Self, Client) {
        let child = Command::new(program).args(args).spawn().unwrap();
        let mut this = Self(child);
        let begun = Instant::now();
        let client = loop {
            if let Ok(client) = Client::connect(args[0]) {
                break client;
            }
            let ended = this.0.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}");
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "it does not listen"
            );
            std::thread::sleep(Duration::from_millis(10));
        };
        (this, client)
    }

    fn end(mut self, mut client: Client) {
        // Old versions close the connection before they answer.
        let params = json!({"sig_name": "SIGTERM"});
        drop(client.call::<_, Value>("spdk_kill_instance", &params));
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn bdevs(client: &mut Client) -> Vec<Value> {
    client.call("bdev_get_bdevs", &()).unwrap()
}

#[test]
fn the_page_leads_from_an_empty_crate_to_a_bdev_that_is_listed_saved_and_made_again() {
    let top = Path::new(TOP).parent().unwrap();
    let (program, folder) = build(top);
    let temp = tempfile::tempdir().unwrap();
    let socket = temp.path().join("memdisk.sock");

    let (target, mut client) = Target::start(&program, &[&socket]);
    let spdk_rpc = top.join("target/rpc-client/bin/spdk-rpc");
    if spdk_rpc.is_file() {
        let args = [
            "--plugin",
            "memdisk_plugin",
            "memdisk_create",
            "disk0",
            "2048",
        ];
        let made = Command::new(&spdk_rpc)
            .arg("-s")
            .arg(&socket)
            .args(args)
            .env("PYTHONPATH", &folder)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let listed = Command::new(&spdk_rpc)
            .arg("-s")
            .arg(&socket)
            .arg("bdev_get_bdevs")
            .output()
            .unwrap();
        let listed: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap();
        assert_eq!(listed[0]["name"], "disk0");
    } else {
        println!("without rpc.py: `cargo xtask test` gets it from PyPI where it can");
        let params = json!({"name": "disk0", "num_blocks": 2048});
        let _: Value = client.call("memdisk_create", &params).unwrap();
    }
    let listed = bdevs(&mut client);
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["num_blocks"], 2048);
    assert_eq!(listed[0]["product_name"], "Memory disk");

    let config: Value = client
        .call("framework_get_config", &json!({"name": "bdev"}))
        .unwrap();
    let saved = json!({"subsystems": [{"subsystem": "bdev", "config": config}]});
    let file = temp.path().join("memdisk.json");
    std::fs::write(&file, saved.to_string()).unwrap();
    target.end(client);

    let (target, mut client) = Target::start(&program, &[&socket, &file]);
    let again = bdevs(&mut client);
    assert_eq!(again.len(), 1, "{saved}");
    assert_eq!(
        (&again[0]["name"], &again[0]["num_blocks"]),
        (&json!("disk0"), &json!(2048))
    );

    let unknown = client.call::<_, Value>("memdisk_delete", &json!({"name": "disk1"}));
    assert!(unknown.unwrap_err().to_string().contains("disk1"));
    let deleted: Value = client
        .call("memdisk_delete", &json!({"name": "disk0"}))
        .unwrap();
    assert_eq!(deleted, json!(true));
    assert_eq!(bdevs(&mut client).len(), 0);
    target.end(client);
}
