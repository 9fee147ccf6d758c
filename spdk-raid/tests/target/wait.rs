//! `--wait-for-rpc`.

use serde_json::{Value, json};
use spdk_safe::rpc::ClientError;

use crate::process::{Target, alone, call, client, malloc, mode, socket};

#[test]
fn subsystems_start_when_rpc_says_so() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (mut target, line) = Target::start(&folder, &["--wait-for-rpc"]);
    assert!(line.contains("framework_start_init"), "{line}");
    let mut client = client(&folder);
    assert_eq!(mode(&socket(&folder)) & 0o077, 0);
    // A method of the startup state, and one of the other.
    let opts = json!({"bdev_io_pool_size": 32768, "bdev_io_cache_size": 256});
    call(&mut client, "bdev_set_options", opts);
    let early = client.call::<_, Value>("bdev_get_bdevs", &());
    assert!(early.is_err(), "{early:?}");

    call(&mut client, "framework_start_init", json!(null));
    assert!(target.line().contains("has started"));
    malloc(&mut client, "disk0");
    assert_eq!(mode(&socket(&folder)), 0o600);
    // What stands for a signal. The target may be gone before its answer is.
    let params = json!({"sig_name": "SIGTERM"});
    match client.call::<_, Value>("spdk_kill_instance", &params) {
        Ok(_) | Err(ClientError::Closed { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    assert_eq!(target.wait().code(), Some(0), "{}", target.stderr());
}

#[test]
fn a_target_that_waits_can_be_ended() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (target, _) = Target::start(&folder, &["--wait-for-rpc"]);
    call(&mut client(&folder), "rpc_get_methods", json!(null));
    target.end();
}
