//! A bdev module for somebody else's SPDK application, such as SPDK's own `spdk_tgt`: a static library with no `main`.
//!
//! ```sh
//! cargo rustc --release --example linked_module
//! cc app.c -Wl,--whole-archive liblinked_module.a $(SPDK's and DPDK's archives) -Wl,--no-whole-archive ...
//! ```
//!
//! `tests/linked.rs` builds it, links it with `tests/linked/app.c`, and runs that.
#![forbid(unsafe_code)]

use std::rc::Rc;
use std::sync::Mutex;

use spdk_safe::app::at_exit;
use spdk_safe::bdev::BdevInfo;
use spdk_safe::log;
use spdk_safe::module::{
    BdevModule, BlockDevice, BlockDeviceBuilder, Examine, Module, ModuleResult, RegisteredBdev,
    Request, RequestStatus,
};
use spdk_safe::prelude::*;
use spdk_safe::thread;

static MODULE: BdevModule = BdevModule::new(c"linked").with(&Linked).examine(&Linked);
spdk_safe::link_module!(MODULE);

/// A disk that forgets what is written to it.
struct Forgetful;

impl BlockDevice for Forgetful {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn submit(&self, _channel: &Rc<()>, request: Request) {
        request.complete(RequestStatus::Success);
    }
}

struct Linked;

/// Until SPDK ends.
static BDEV: Mutex<Option<RegisteredBdev>> = Mutex::new(None);

impl Module for Linked {
    async fn init(&self, spdk: &Spdk) -> ModuleResult {
        if std::env::var_os("LINKED_FAILS").is_some() {
            return Err("told to fail".into());
        }
        // The C program knows of no receiver for the `log` crate.
        log::write(LogLevel::Notice, "the module starts, 100%");
        let _ = log::Logger::install();
        at_exit(|| println!("exit hook"))?;
        // An SPDK thread of our own, and a task on the app thread; the C program knows of neither.
        let worker = Thread::builder("worker").create(spdk).await?;
        let answer = thread::spawn_local(async move {
            let answer = worker.call(|| 6 * 7).await;
            // It ends with SPDK.
            std::mem::forget(worker);
            answer
        })?;
        println!("init: {}", answer.await??);
        if std::env::var_os("LINKED_FAILS_LATER").is_some() {
            return Err("told to fail later".into());
        }
        let bdev = BlockDeviceBuilder::new("linked0")
            .blocks(Blocks(1024))
            .register(spdk, &MODULE, Forgetful)?;
        *BDEV.lock().unwrap() = Some(bdev);
        Ok(())
    }

    async fn fini_start(&self) {
        println!("fini_start");
        ::log::warn!("the module ends, {}%", 100);
    }

    async fn fini(&self) {
        println!("fini");
    }
}

impl Examine for Linked {
    async fn examine_disk(&self, spdk: &Spdk, bdev: BdevInfo) {
        let read = async {
            let desc = BdevDesc::open(spdk, &bdev.name).read_only().ok()?;
            let ch = desc.channel().ok()?;
            let buf = desc.alloc(Blocks(1)).ok()?;
            // A descriptor that is forgotten is closed when SPDK ends.
            std::mem::forget(desc);
            ch.read(Lba(0), buf).await.0.ok()
        };
        println!("examined {}: {}", bdev.name, read.await.is_some());
    }
}
