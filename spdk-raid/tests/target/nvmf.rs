//! An array exported over NVMe/TCP, and used by another SPDK: this process.

#[cfg(not(all(feature = "nvmf", feature = "bdev-nvme")))]
#[test]
fn an_array_is_exported_over_nvme_tcp() {
    println!("left out: it needs the features `nvmf` and `bdev-nvme`, and an SPDK that has them");
}

#[cfg(all(feature = "nvmf", feature = "bdev-nvme"))]
#[test]
fn an_array_is_exported_over_nvme_tcp() {
    use serde_json::json;
    use spdk_safe::prelude::*;

    use crate::process::{Target, alone, array, call, client};

    const NQN: &str = "nqn.2026-11.io.spdk:md0";
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (mut target, line) = Target::start(&folder, &[]);
    assert!(line.contains("exports: nvmf"), "{line}");
    let mut client = client(&folder);
    array(&mut client, "md0");
    call(
        &mut client,
        "nvmf_create_transport",
        json!({"trtype": "TCP"}),
    );
    let subsystem = json!({"nqn": NQN, "allow_any_host": true, "serial_number": "SPDK0"});
    call(&mut client, "nvmf_create_subsystem", subsystem);
    let namespace = json!({"nqn": NQN, "namespace": {"bdev_name": "md0"}});
    call(&mut client, "nvmf_subsystem_add_ns", namespace);
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let address =
        json!({"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": port});
    let listener = json!({"nqn": NQN, "listen_address": address});
    call(&mut client, "nvmf_subsystem_add_listener", listener);

    let mut attach = address;
    attach["name"] = "remote".into();
    attach["subnqn"] = NQN.into();
    let attach = json!({"method": "bdev_nvme_attach_controller", "params": attach});
    let config = json!({"subsystems": [{"subsystem": "bdev", "config": [attach]}]});
    let app = App::builder("initiator")
        .no_huge()
        .no_pci()
        .share_cores()
        .memory(Mib(if cfg!(feature = "iscsi") { 2048 } else { 512 }))
        .log_level(LogLevel::Disabled)
        .config_json(config.to_string());
    app.run(async |spdk| {
        let desc = BdevDesc::open(&spdk, "remoten1").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let data: Vec<u8> = (0..65536_u32).map(|i| (i / 512 + i) as u8).collect();
        let (written, data) = ch.write(Lba(100), data).await;
        written.unwrap();
        let (read, back) = ch.read(Lba(100), vec![0; data.len()]).await;
        read.unwrap();
        assert!(back == data, "what is read is not what was written");
        ch.flush(Lba(100), Blocks(128)).await.unwrap();
        drop(ch);
        desc.close().await;
        // The target ends in order, with the array exported and a host connected.
        target.signal("TERM");
        assert_eq!(target.wait().code(), Some(0), "{}", target.stderr());
    })
    .unwrap();
}
