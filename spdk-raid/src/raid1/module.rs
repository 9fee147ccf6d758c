//! What SPDK knows of the RAID1: a bdev module, which examines bdevs, is saved in configurations, and ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use spdk_safe::app::{self, Builder, Spdk};
use spdk_safe::bdev::BdevInfo;
use spdk_safe::module::{BdevModule, ConfigEntry, Examine, Module};

use super::array::Array;
use super::options::Options;
use super::{awaiting, list, rpc};

/// How long the end of an app waits for rebuilds and scrubs to stop. They may wait for a leg that does not answer, and
/// are dropped with their thread then.
const PATIENCE: Duration = Duration::from_secs(1);

/// The bdev module of our arrays; [`with`] gives it to an app.
pub static MODULE: BdevModule = BdevModule::new(c"rust_raid1")
    .with(&Behaviour)
    .examine(&Behaviour);

/// The app, with this module and its methods.
pub fn with(app: Builder) -> Builder {
    rpc::METHODS
        .into_iter()
        .fold(app.module(&MODULE), Builder::rpc)
}

/// Options of arrays that are created by RPC and do not say others; `None` until they are set.
static DEFAULTS: Mutex<Option<Options>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<Options>> {
    DEFAULTS.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn default_options() -> Options {
    lock().clone().unwrap_or_default()
}

pub(super) fn set_default_options(options: Options) {
    *lock() = Some(options);
}

/// What SPDK asks the module.
struct Behaviour;

impl Module for Behaviour {
    fn config(&self) -> Vec<ConfigEntry> {
        rpc::config()
    }

    /// Bases that arrays wait with are free again, and what arrays do by themselves stops where it is. The arrays
    /// go when SPDK, or the app, unregisters their bdevs; until then their I/O works.
    async fn fini_start(&self) {
        awaiting::clear().await;
        let arrays = list::all();
        for array in &arrays {
            array.status().is_ending = true;
        }
        let start = Instant::now();
        let is_idle = |array: &Arc<Array>| array.status().jobs.is_empty();
        while !arrays.iter().all(is_idle) && start.elapsed() < PATIENCE {
            app::yield_now().await;
        }
    }
}

impl Examine for Behaviour {
    fn examine_config(&self, spdk: &Spdk, bdev: &BdevInfo) {
        awaiting::examine(spdk, bdev);
    }
}
