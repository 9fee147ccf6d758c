//! What SPDK's JSON says of a block device of ours: `driver_specific`, and the saved configuration.

use std::path::Path;
use std::rc::Rc;

use serde_json::{Value, json};
use spdk_safe::app::yield_now;
use spdk_safe::json::{Object, WriteError};
use spdk_safe::module::{
    BdevModule, BlockDevice, BlockDeviceBuilder, ConfigEntry, Request, RequestStatus,
};
use spdk_safe::prelude::*;
use spdk_safe::rpc::Client;

static MODULE: BdevModule = BdevModule::new(c"rust_json");

struct Talks;

impl BlockDevice for Talks {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn dump_info(&self, info: &mut Object<'_>) -> Result<(), WriteError> {
        info.object("talks", |talks| {
            talks.named("legs", &["a", "b"])?;
            talks.named("about", "quotes: \"\u{e4}\"")
        })
    }

    fn submit(&self, _: &Rc<()>, request: Request) {
        request.complete(RequestStatus::Failed);
    }
}

struct Panics;

impl BlockDevice for Panics {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn dump_info(&self, info: &mut Object<'_>) -> Result<(), WriteError> {
        info.named("before", &1)?;
        panic!("on purpose")
    }

    fn submit(&self, _: &Rc<()>, request: Request) {
        request.complete(RequestStatus::Failed);
    }
}

fn call(socket: &Path, method: &str, params: &Value) -> Value {
    Client::connect(socket)
        .unwrap()
        .call(method, params)
        .unwrap()
}

#[test]
fn a_device_says_what_it_is_and_what_recreates_it() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("rpc.sock");
    App::builder("module-json")
        .no_huge()
        .no_pci()
        .share_cores()
        .memory(Mib(400))
        .pools(Pools::small())
        .module(&MODULE)
        .rpc_socket(&socket)
        .run(async |spdk| {
            let entry = |blocks: u64| {
                ConfigEntry::new("bdev_talks_create", json!({"name": "t", "blocks": blocks}))
            };
            let talks = BlockDeviceBuilder::new("t")
                .blocks(Blocks(64))
                .config(entry(64))
                .register(&spdk, &MODULE, Talks)
                .unwrap();
            let panics = BlockDeviceBuilder::new("p")
                .blocks(Blocks(64))
                .register(&spdk, &MODULE, Panics)
                .unwrap();
            let beside = async |method: &'static str, params: Value| {
                let socket = socket.clone();
                let thread = std::thread::spawn(move || call(&socket, method, &params));
                while !thread.is_finished() {
                    yield_now().await;
                }
                thread.join().unwrap()
            };
            let said = beside("bdev_get_bdevs", json!({"name": "t"})).await;
            let talk = &said[0]["driver_specific"]["talks"];
            assert_eq!(talk["legs"], json!(["a", "b"]));
            assert_eq!(talk["about"], "quotes: \"\u{e4}\"");
            let before = spdk_safe::contained_panics();
            let said = beside("bdev_get_bdevs", json!({"name": "p"})).await;
            assert_eq!(said[0]["driver_specific"]["before"], 1, "T13: {said}");
            assert_eq!(spdk_safe::contained_panics(), before + 1);

            let ours = |config: &Value| -> Vec<Value> {
                let all = config.as_array().unwrap().iter();
                all.filter(|call| call["method"] == "bdev_talks_create")
                    .map(|call| call["params"]["blocks"].clone())
                    .collect()
            };
            let config = beside("framework_get_config", json!({"name": "bdev"})).await;
            assert_eq!(ours(&config), [json!(64)]);
            talks.resize(Blocks(128)).unwrap();
            talks.set_config(vec![entry(128)]);
            let config = beside("framework_get_config", json!({"name": "bdev"})).await;
            assert_eq!(ours(&config), [json!(128)]);
            talks.unregister().await;
            panics.unregister().await;
            let config = beside("framework_get_config", json!({"name": "bdev"})).await;
            assert!(ours(&config).is_empty());
        })
        .unwrap();
}
