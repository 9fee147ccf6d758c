//! A module from SPDK's start to its end.
//!
//! SPDK may be run by our own `App` or `OwnLoop`, which drain what is open before they tell SPDK to end, or by a C
//! program, which does not know us. The first init of a module makes its thread, which is SPDK's app thread (contract
//! T-04), ours; and if nobody has drained when SPDK ends, the last of our modules does.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::ffi::c_int;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::behaviour::ErasedModule;
use super::driver::{self, Caught, Kind};
use super::{BdevModule, ModuleResult, State, examine};
use crate::app::{self, Spdk, Step, Steps};
use crate::sync::lock;
use crate::thread::{Home, app_thread, table};
use crate::{bdev, env, io_device, log};

/// How long the end may take before what is still open is reported.
const REPORT_AFTER: Duration = Duration::from_secs(5);

/// Modules that are up, or were, in the order of their inits.
static MODULES: Mutex<Vec<&'static BdevModule>> = Mutex::new(Vec::new());
/// The first init that failed.
static FAILURE: Mutex<Option<Failure>> = Mutex::new(None);
/// The start was interrupted: no more inits.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// SPDK ends, and unregisters bdevs while our code runs.
static UNREGISTERS: AtomicBool = AtomicBool::new(false);
/// Nothing is left of ours.
static OVER: AtomicBool = AtomicBool::new(false);

/// A module that could not start.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) module: &'static str,
    pub(crate) source: Box<dyn Error + Send + Sync>,
}

/// Why the app did not start, if that was a module.
pub(crate) fn take_failure() -> Option<Failure> {
    lock(&FAILURE).take()
}

/// Whether a module of ours is up, or was: SPDK calls its `module_fini`.
pub(crate) fn has_modules() -> bool {
    !lock(&MODULES).is_empty()
}

/// Whether an init failed.
pub(crate) fn has_failed() -> bool {
    lock(&FAILURE).is_some()
}

/// Whether all of ours has ended.
pub(super) fn is_over() -> bool {
    OVER.load(Ordering::Acquire)
}

/// Whether SPDK, and nobody else, unregisters bdevs now. Before 21.10 it does not wait for us with that, and a bdev whose
/// unregistration it finds under way is unlinked twice.
pub(crate) fn spdk_unregisters() -> bool {
    UNREGISTERS.load(Ordering::Acquire)
}

/// The app is to stop while it starts: drops what its start waits for.
pub(crate) fn interrupt_start() {
    INTERRUPTED.store(true, Ordering::Release);
    driver::cancel(Kind::Init);
    driver::cancel(Kind::Examine);
}

/// The app ends: drops examines under way, which SPDK would wait for.
pub(crate) fn cancel_examines() {
    driver::cancel(Kind::Examine);
}

/// What SPDK, or the end of the app, waits for, for a report.
pub(crate) fn busy_names() -> Vec<String> {
    driver::names()
}

/// One init, between its poll and SPDK.
struct Init {
    module: &'static BdevModule,
    /// SPDK's call has not returned.
    is_inline: Cell<bool>,
    result: RefCell<Option<ModuleResult>>,
}

impl Init {
    fn done(&self, result: ModuleResult) {
        if self.is_inline.get() {
            self.result.replace(Some(result));
            return;
        }
        if let Err(source) = result {
            fail(self.module, source);
            // A C program goes on.
            if app::is_ours() {
                interrupt_start();
            }
            return tell_init_done(self.module);
        }
        init_done(self.module);
    }
}

/// Reports an init that is dropped.
struct InitGuard(Option<Rc<Init>>);

impl InitGuard {
    fn done(mut self, result: ModuleResult) {
        if let Some(init) = self.0.take() {
            init.done(result);
        }
    }
}

impl Drop for InitGuard {
    fn drop(&mut self) {
        if let Some(init) = self.0.take() {
            // Only SPDK's end, or our app's, drops it.
            init.module.set_state(State::Down);
            tell_init_done(init.module);
        }
    }
}

/// Notes why `module` is not up.
fn fail(module: &'static BdevModule, source: Box<dyn Error + Send + Sync>) {
    module.set_state(State::Down);
    log::error(&format!(
        "bdev module {:?} could not start: {source}",
        module.name()
    ));
    let mut failure = lock(&FAILURE);
    if failure.is_none() {
        *failure = Some(Failure {
            module: module.name(),
            source,
        });
    }
}

/// The init is over: shows the module what came before it, and tells SPDK, once.
fn init_done(module: &'static BdevModule) {
    if let Some(raw) = module.raw() {
        module.set_state(State::Up);
        examine::show_early(module, &Rc::new(TellInit(raw)));
    }
}

/// As [`init_done`], for a module that is not up.
fn tell_init_done(module: &'static BdevModule) {
    drop(module.raw().map(TellInit));
}

/// Tells SPDK that a module is up, when it is dropped.
pub(super) struct TellInit(*mut spdk_sys::spdk_bdev_module);

impl Drop for TellInit {
    fn drop(&mut self) {
        // SAFETY: SPDK has called the module's init, which is async, and is told once.
        unsafe { spdk_sys::spdk_bdev_module_init_done(self.0) };
    }
}

/// `module_init`.
///
/// # Safety
///
/// SPDK starts, on its app thread, which is current.
pub(super) unsafe fn init(module: &'static BdevModule) -> c_int {
    if is_over() || module.state() != State::Listed {
        // Our state is of one run.
        fail(module, "SPDK was started in this process before".into());
        return -libc::EALREADY;
    }
    let Ok(home) = Home::running() else {
        return -libc::EINVAL;
    };
    env::set_up();
    app_thread::open(home);
    if INTERRUPTED.load(Ordering::Acquire) {
        module.set_state(State::Down);
        tell_init_done(module);
        return 0;
    }
    module.set_state(State::Starting);
    let result = match module.behaviour {
        None => Some(Ok(())),
        Some(behaviour) => run_init(module, behaviour),
    };
    if let Some(Err(source)) = result {
        fail(module, source);
        // SPDK waits for what is under way, also when it ends.
        interrupt_start();
        // It ends those that were initialised, and not this one.
        if lock(&MODULES).is_empty() {
            abandon();
        }
        return -libc::EIO;
    }
    lock(&MODULES).push(module);
    if result.is_some() {
        init_done(module);
    }
    0
}

/// Polls the init once; `None` if it goes on.
fn run_init(
    module: &'static BdevModule,
    behaviour: &'static dyn ErasedModule,
) -> Option<ModuleResult> {
    let init = Rc::new(Init {
        module,
        is_inline: Cell::new(true),
        result: RefCell::new(None),
    });
    let guard = InitGuard(Some(Rc::clone(&init)));
    let future = async move {
        let result = Caught::new(behaviour.init(Spdk::of_app_thread())).await;
        guard.done(match result {
            Ok(result) => result,
            Err(text) => Err(format!("its init panicked: {text}").into()),
        });
    };
    driver::start(Kind::Init, module.name(), Box::pin(future));
    init.is_inline.set(false);
    init.result.take()
}

/// The only module of ours failed in its init: nothing else of ours will be called.
fn abandon() {
    Steps::of_spdk().step();
    // What takes longer, such as I/O in flight, goes on without us. SPDK unregisters bdevs.
    bdev::revoke_all();
    io_device::revoke_all();
    close();
}

/// Has every module's fini_start run, the last one first. On the app thread, when the app ends.
pub(crate) fn begin_fini_start() {
    let up: Vec<_> = lock(&MODULES).iter().rev().copied().collect();
    if up.is_empty() {
        return;
    }
    let name = up[0].name();
    let future = async move {
        for module in up {
            run_fini_start(module).await;
        }
    };
    driver::spawn(Kind::FiniStart, name, Box::pin(future));
}

/// Whether that is under way.
pub(crate) fn is_in_fini_start() -> bool {
    driver::has(Kind::FiniStart)
}

async fn run_fini_start(module: &'static BdevModule) {
    match module.state() {
        State::Up => module.set_state(State::Stopped),
        State::Starting => {
            driver::cancel_for(Kind::Init, module.name());
            return module.set_state(State::Down);
        }
        _ => return,
    }
    if let Some(behaviour) = module.behaviour {
        // A panic was said and counted.
        let _ = Caught::new(behaviour.fini_start()).await;
    }
}

/// Calls a function of SPDK's when it is dropped.
struct Tell(unsafe extern "C" fn());

impl Drop for Tell {
    fn drop(&mut self) {
        // SAFETY: made for one call of SPDK's that this answers, once.
        unsafe { (self.0)() };
    }
}

/// `fini_start`: SPDK ends. If our own app has drained, this has nothing to do.
pub(super) fn fini_start(module: &'static BdevModule) {
    if !spdk_sys::FINI_START_WAITS {
        UNREGISTERS.store(true, Ordering::Release);
    }
    let tell = Tell(spdk_sys::spdk_shim_module_fini_start_done);
    let future = async move {
        let _tell = tell;
        run_fini_start(module).await;
        let is_last = lock(&MODULES)
            .iter()
            .all(|module| module.state() >= State::Stopped);
        if is_last && app_thread::is_open() {
            drain().await;
        }
    };
    driver::start(Kind::FiniStart, module.name(), Box::pin(future));
}

/// `module_fini`: all bdevs are gone.
pub(super) fn fini(module: &'static BdevModule) {
    let tell = Tell(spdk_sys::spdk_shim_module_fini_done);
    let future = async move {
        let _tell = tell;
        // Before 21.10 SPDK has not waited for them.
        let mut report = Report::new();
        poll_fn(|cx| report.wait_for(cx, || !is_in_fini_start(), driver::names)).await;
        if module.state() == State::Stopped {
            module.set_state(State::Down);
            if let Some(behaviour) = module.behaviour {
                let _ = Caught::new(behaviour.fini()).await;
            }
        }
        let is_last = lock(&MODULES)
            .iter()
            .all(|module| module.state() == State::Down);
        if is_last {
            close();
            if !app::is_ours() {
                // SPDK unmaps its memory afterwards, and knows nothing of buffers.
                let mut report = Report::new();
                let names = || vec!["DMA buffers".into()];
                poll_fn(|cx| report.wait_for(cx, env::set_down, names)).await;
            }
        }
    };
    driver::start(Kind::Fini, module.name(), Box::pin(future));
}

/// Closes what is open, as the end of an app does.
async fn drain() {
    let steps = Steps::of_spdk();
    let mut report = Report::new();
    poll_fn(|cx| {
        let is_drained = || steps.step() == Step::Drained;
        report.wait_for(cx, is_drained, app::open_names)
    })
    .await;
}

/// The app thread takes no messages of ours any more. It is current.
fn close() {
    OVER.store(true, Ordering::Release);
    if app_thread::check().is_ok() {
        table::drain_app_thread();
        app_thread::close();
    }
}

/// Says every few seconds what the end waits for.
struct Report(Instant);

impl Report {
    fn new() -> Self {
        Self(Instant::now() + REPORT_AFTER)
    }

    /// Looks in every pass.
    fn wait_for(
        &mut self,
        cx: &mut std::task::Context<'_>,
        is_done: impl FnOnce() -> bool,
        names: impl FnOnce() -> Vec<String>,
    ) -> Poll<()> {
        if is_done() {
            return Poll::Ready(());
        }
        if Instant::now() >= self.0 {
            self.0 = Instant::now() + REPORT_AFTER;
            log::warn(&format!(
                "SPDK can't end yet; still open: {}",
                names().join(", ")
            ));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
