//! Registration before `main`, in a program that is not ours.

use super::BdevModule;

/// Registers a [`BdevModule`](crate::module::BdevModule) before `main` runs, in whichever program it is linked into: what
/// `SPDK_BDEV_MODULE_REGISTER` is in C.
///
/// ```
/// use spdk_safe::module::BdevModule;
///
/// static MODULE: BdevModule = BdevModule::new(c"linked");
/// spdk_safe::link_module!(MODULE);
/// ```
///
/// A C application that links a Rust `staticlib` with this line has the module, and needs no other: link the archive
/// whole (`-Wl,--whole-archive`), as SPDK's own. In a program of ours it stands in for `.module(&MODULE)`.
///
/// Where C runs SPDK there is no app of ours. The app thread is known from the first init of a module on, with all that
/// belongs to it: [`thread::app`](crate::thread::app), [`thread::spawn_local`](crate::thread::spawn_local), threads,
/// descriptors, exit hooks. When SPDK ends, what is still open is closed as at the end of an app, once all modules'
/// `fini_start` have run. Not there is what the app's builder sets, and the request to stop:
/// [`Spdk::shutdown`](crate::app::Spdk::shutdown) never resolves, since SPDK does not tell modules of it.
#[macro_export]
macro_rules! link_module {
    ($module:path) => {
        const _: () = {
            extern "C" fn add() {
                // SAFETY: the loader calls this, before `main`.
                unsafe { $crate::module::__link(&$module) };
            }
            #[used]
            #[unsafe(link_section = ".init_array")]
            static ADD: extern "C" fn() = add;
        };
    };
}

/// What [`link_module!`](crate::link_module) calls.
///
/// # Safety
///
/// SPDK was not started, and is not being started meanwhile: a module that comes later has no room for its requests
/// (contract M-01).
#[doc(hidden)]
pub unsafe fn __link(module: &'static BdevModule) {
    // Nothing is there yet that a line could be logged through.
    if let Err(error) = module.add() {
        eprintln!("bdev module {:?} is left out: {error}", module.name());
    }
}
