//! A target's life: the line it prints, its socket, JSON-RPC, its configuration, its end.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use serde_json::{Value, json};
use spdk_safe::rpc::Client;

use crate::process::{Target, alone, array, call, client, fails, mode, socket, umask};

#[test]
fn a_target_is_driven_over_rpc_and_starts_again_from_what_it_saved() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (target, line) = Target::start(&folder, &[]);
    assert!(line.contains(&spdk_safe::app::spdk_version()), "{line}");
    assert!(line.contains(socket(&folder).to_str().unwrap()), "{line}");
    assert!(line.contains("rust_raid1"), "{line}");

    let mut client = client(&folder);
    array(&mut client, "md0");
    let ram = json!({"name": "ram", "num_blocks": 64, "block_size": 512});
    call(&mut client, "bdev_ramdisk_create", ram);
    let passthru = json!({"name": "pt", "base_bdev_name": "ram"});
    call(&mut client, "bdev_rust_passthru_create", passthru);
    let before = bdevs(&mut client);
    assert_eq!(before.len(), 5, "{before:?}");

    let config = saved(&mut client);
    let file = folder.path().join("saved.json");
    std::fs::write(&file, config.to_string()).unwrap();
    target.end();
    assert!(!socket(&folder).exists());

    let (target, _) = Target::start(&folder, &["--config", file.to_str().unwrap()]);
    let mut client = self::client(&folder);
    assert_eq!(bdevs(&mut client), before);
    assert_eq!(saved(&mut client), config);
    target.end();
}

/// Name, UUID, size of each bdev, by name.
fn bdevs(client: &mut Client) -> Vec<(String, Value, Value)> {
    let bdevs = call(client, "bdev_get_bdevs", json!({}));
    let mut all: Vec<_> = bdevs
        .as_array()
        .unwrap()
        .iter()
        .map(|bdev| {
            let name = bdev["name"].as_str().unwrap().to_owned();
            // A malloc bdev of 20.07 forgets its UUID.
            let uuid = match name.starts_with("leg") {
                true => Value::Null,
                false => bdev["uuid"].clone(),
            };
            (name, uuid, bdev["num_blocks"].clone())
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// What `save_config` of `rpc.py` writes.
fn saved(client: &mut Client) -> Value {
    let names = call(client, "framework_get_subsystems", json!(null));
    let subsystems: Vec<_> = names
        .as_array()
        .unwrap()
        .iter()
        .map(|subsystem| {
            let name = &subsystem["subsystem"];
            let config = call(client, "framework_get_config", json!({"name": name}));
            json!({"subsystem": name, "config": config})
        })
        .collect();
    json!({"subsystems": subsystems})
}

#[test]
fn only_its_owner_may_use_the_socket() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (mut target, _) = Target::start(&folder, &[]);
    assert_eq!(mode(&socket(&folder)), 0o600);
    assert_eq!(umask(target.id()), umask(std::process::id()));
    // Nobody else can take the socket, either.
    let path = socket(&folder);
    let options = [
        "--no-huge",
        "--no-pci",
        "--rpc-socket",
        path.to_str().unwrap(),
    ];
    let said = fails(&options, 1);
    assert!(said.contains("another process listens there"), "{said}");
    call(&mut client(&folder), "rpc_get_methods", json!(null));

    target.signal("INT");
    assert_eq!(target.wait().code(), Some(0), "{}", target.stderr());
}

#[test]
fn json_rpc_over_tcp_is_for_those_who_ask() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (target, line) = Target::start(&folder, &["--rpc-tcp", "127.0.0.1:0"]);
    let (_, address) = line
        .split_once("on TCP ")
        .unwrap_or_else(|| panic!("{line}"));
    let address = address.split(';').next().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let request = json!({"jsonrpc": "2.0", "id": 7, "method": "bdev_get_bdevs"});
    stream.write_all(request.to_string().as_bytes()).unwrap();
    let mut answer = [0; 4096];
    let got = stream.read(&mut answer).unwrap();
    let answer: Value = serde_json::from_slice(&answer[..got]).unwrap();
    assert_eq!(answer["id"], 7);
    assert_eq!(answer["result"], json!([]));
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    target.end();
}
