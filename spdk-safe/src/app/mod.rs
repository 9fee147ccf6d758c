//! SPDK's application framework: start it, run an async main on its app thread, stop it in order.
//!
//! C header: `include/spdk/event.h`. Start with [`App::builder`]; [`Builder::run`] is SPDK's framework with its
//! reactors, [`Builder::own_loop`] is the same SPDK without them, polled by the program.
//!
//! ```text
//!             1               2                    3                   4
//!  Builder ───────► starting ───────► main runs ────────► draining ─────────► stopped
//!                      │                  │                                      ▲
//!                      └──────────────────┴── Ctrl-C, SIGTERM, kill by RPC: drop main, drain; if somebody awaits
//!                                             `Spdk::shutdown`, main has a grace to end itself first
//!  1: Builder::run   2: start_callback   3: Root::poll (main is done)   4: Root::drain_step
//! ```
//!
//! Draining gives back what user code forgot: pollers, channels, descriptors, bdevs. Only then is SPDK told to
//! stop, which would otherwise wait for ever (contract B-09).

mod builder;
mod config;
mod drain;
mod exit;
mod own_loop;
mod root;
mod rpc_socket;
mod shutdown;
mod signals;
pub(crate) mod subsystem;

use crate::error::ThreadError;
use crate::thread::{ThreadBound, app_thread};

pub use crate::log::LogLevel;
pub use crate::thread::Cores;
pub(crate) use builder::is_ours;
pub use builder::{App, Builder, Pools};
pub(crate) use drain::{Step, Steps};
pub use exit::at_exit;
#[cfg(feature = "test")]
pub(crate) use own_loop::Main;
pub use own_loop::OwnLoop;
pub(crate) use root::open_names;
pub use shutdown::Shutdown;

/// The app thread's context: what proves that SPDK is up and that this is its app thread.
///
/// `App::run` hands it to main. It can't leave its OS thread; smuggled to another SPDK thread or past the end of
/// the app, it makes calls fail with [`ThreadError`].
#[derive(Debug, Clone)]
pub struct Spdk {
    _bound: ThreadBound,
}

impl Spdk {
    pub(crate) const fn of_app_thread() -> Self {
        Self {
            _bound: ThreadBound::new(),
        }
    }

    /// Whether the app thread is current (the check of design rule 2), and the app is not ending.
    pub(crate) fn check(&self) -> Result<(), ThreadError> {
        app_thread::check_open()
    }
}

/// The SPDK that this program is linked with, such as `26.05` or `24.05.1`.
///
/// ```
/// println!("on SPDK {}", spdk_safe::app::spdk_version());
/// ```
#[must_use]
pub fn spdk_version() -> String {
    let (major, minor, patch) = spdk_sys::VERSION;
    match patch {
        0 => format!("{major}.{minor:02}"),
        _ => format!("{major}.{minor:02}.{patch}"),
    }
}

/// Lets everything else on this thread run once: the task is woken at once and polled again by the next message.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
