//! What a module does, as its author writes it.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;

use super::ConfigEntry;
use crate::app::Spdk;
use crate::bdev::BdevInfo;

/// How an init ended: an error ends the start of the app, with the module's name.
pub type ModuleResult = Result<(), Box<dyn Error + Send + Sync>>;

/// What a bdev module does when SPDK starts, ends, and saves its configuration. All of it has a default: nothing.
///
/// Every method runs on the app thread. Futures are polled there and need not be `Send`; they are dropped when the app
/// is asked to stop while it starts. A panic is an error of the init, and else the end of that method alone.
pub trait Module: Sync + 'static {
    /// SPDK starts (`module_init`), and waits for this one: its main, and its RPC server, come afterwards. Bdevs may be
    /// opened and registered. Other modules may not be ready yet; those that examine are.
    ///
    /// # Errors
    ///
    /// What keeps the module from working: the app does not start then, and says
    /// [`AppError::Module`](crate::error::AppError::Module).
    ///
    /// In a C program the start fails as that of a C module does, if the error comes without waiting for anything. SPDK
    /// has no way for a later one: it is logged, and the program goes on without this module.
    fn init(&self, spdk: &Spdk) -> impl Future<Output = ModuleResult> {
        let _ = spdk;
        async { Ok(()) }
    }

    /// The app ends (`fini_start`): all bdevs are still there, I/O still works, and SPDK waits for this one. Before SPDK
    /// 21.10 in a C program it does not: what is not done at the first `await` runs while bdevs are being unregistered.
    fn fini_start(&self) -> impl Future<Output = ()> {
        async {}
    }

    /// The end (`module_fini`): all bdevs are gone, nothing can be opened any more. SPDK waits for this one.
    fn fini(&self) -> impl Future<Output = ()> {
        async {}
    }

    /// What `save_config` is to write for the module: RPCs that bring it to where it is (`config_json`). What one bdev
    /// needs is that bdev's to write.
    fn config(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}

/// Looks at every bdev that is registered, from SPDK's start on: what a module needs that finds its own bdevs by what is
/// on their bases, or by a configuration that names them.
///
/// SPDK examines no bdev that can't be read (contract M-12), and none by itself when `auto_examine` is off, by the RPC
/// `bdev_set_options` or [the app's options](crate::app::Builder::auto_examine). The bdevs are shown as copies, so keeping one does no harm; open it by its name.
pub trait Examine: Sync + 'static {
    /// A bdev is there, without I/O (`examine_config`): the time to claim what a configuration names.
    fn examine_config(&self, spdk: &Spdk, bdev: &BdevInfo) {
        let _ = (spdk, bdev);
    }

    /// A bdev is there, with I/O (`examine_disk`). SPDK calls the claimer alone when somebody claimed it.
    ///
    /// The future is polled at once, inside of the registration, as a C module's is called. SPDK waits for it:
    /// `bdev_wait_for_examine` does, the registration's end, on 20.07 SPDK's start alone. It is dropped when the app ends;
    /// when a C program ends, SPDK waits for it then, too.
    ///
    /// A module that registers a bdev in its [`examine_config`](Self::examine_config) is shown that one, too, before it
    /// returns. If its `examine_disk` awaits something then, SPDK logs "examine_config ... did not call
    /// spdk_bdev_module_examine_done()": it has one count for both, and nothing is wrong.
    fn examine_disk(&self, spdk: &Spdk, bdev: BdevInfo) -> impl Future<Output = ()> {
        let _ = (spdk, bdev);
        async {}
    }
}

pub(in crate::module) type Boxed<T> = Pin<Box<dyn Future<Output = T>>>;

/// [`Module`], as a static keeps it. The futures run the user's code when they are polled, not before.
pub(super) trait ErasedModule: Sync {
    fn init(&'static self, spdk: Spdk) -> Boxed<ModuleResult>;
    fn fini_start(&'static self) -> Boxed<()>;
    fn fini(&'static self) -> Boxed<()>;
    fn config(&self) -> Vec<ConfigEntry>;
}

impl<M: Module> ErasedModule for M {
    fn init(&'static self, spdk: Spdk) -> Boxed<ModuleResult> {
        Box::pin(async move { Module::init(self, &spdk).await })
    }

    fn fini_start(&'static self) -> Boxed<()> {
        Box::pin(async move { Module::fini_start(self).await })
    }

    fn fini(&'static self) -> Boxed<()> {
        Box::pin(async move { Module::fini(self).await })
    }

    fn config(&self) -> Vec<ConfigEntry> {
        Module::config(self)
    }
}

/// [`Examine`], as a static keeps it.
pub(super) trait ErasedExamine: Sync {
    fn examine_config(&self, spdk: &Spdk, bdev: &BdevInfo);
    fn examine_disk(&'static self, spdk: Spdk, bdev: BdevInfo) -> Boxed<()>;
}

impl<E: Examine> ErasedExamine for E {
    fn examine_config(&self, spdk: &Spdk, bdev: &BdevInfo) {
        Examine::examine_config(self, spdk, bdev);
    }

    fn examine_disk(&'static self, spdk: Spdk, bdev: BdevInfo) -> Boxed<()> {
        Box::pin(async move { Examine::examine_disk(self, &spdk, bdev).await })
    }
}
