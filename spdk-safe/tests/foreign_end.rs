//! The end of a program that runs SPDK itself, as one in C does, and has RPC methods of ours but no module.

use std::ffi::c_void;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use spdk_safe::prelude::*;
use spdk_safe::rpc::{self, RpcError, State};

async fn nothing(_spdk: Spdk, (): ()) -> Result<(), RpcError> {
    Ok(())
}
static NOTHING: rpc::Method = rpc::method("foreign_nothing", State::Any, nothing);
spdk_safe::register_rpc!(NOTHING);

static ENDS: AtomicBool = AtomicBool::new(false);
static DROPPED: AtomicBool = AtomicBool::new(false);
static KEEPER: Mutex<Option<JoinHandle<()>>> = Mutex::new(None);

unsafe extern "C" fn start(_: *mut c_void) {
    let buf = DmaBuf::zeroed(Bytes(4096), 4096).unwrap();
    let keeper = std::thread::spawn(move || {
        while !ENDS.load(SeqCst) {
            std::thread::yield_now();
        }
        // SPDK would have ended long since.
        std::thread::sleep(Duration::from_secs(2));
        DROPPED.store(true, SeqCst);
        drop(buf);
    });
    *KEEPER.lock().unwrap() = Some(keeper);
    ENDS.store(true, SeqCst);
    // SAFETY: SPDK runs, and this is its app thread.
    unsafe { spdk_sys::spdk_app_stop(0) };
}

#[test]
fn i1_a_program_without_modules_of_ours_waits_for_dma_buffers() {
    let opts = spdk_sys::spdk_shim_app_opts {
        name: c"foreign".as_ptr(),
        reactor_mask: c"0x1".as_ptr(),
        rpc_addr: std::ptr::null(),
        json_config_file: std::ptr::null(),
        env_context: std::ptr::null(),
        mem_size_mib: 512,
        log_level: 2,
        no_huge: true,
        no_pci: true,
        share_cores: true,
        wait_for_rpc: false,
        interrupt_mode: false,
        msg_mempool_size: 0,
        shutdown_cb: None,
    };
    // SAFETY: nobody else runs SPDK in this process; the options live across the call, which ends with SPDK.
    let rc = unsafe {
        spdk_sys::spdk_shim_app_start(&raw const opts, Some(start), std::ptr::null_mut())
    };
    assert_eq!(rc, 0);
    assert!(
        DROPPED.load(SeqCst),
        "SPDK has ended, and a buffer of its memory is alive"
    );
    KEEPER.lock().unwrap().take().unwrap().join().unwrap();
    // SAFETY: no buffer is alive.
    unsafe { spdk_sys::spdk_app_fini() };
}
