//! A method: its name, when it may be called, and the function behind it.

use std::any::type_name;
use std::ffi::CString;
use std::future::Future;
use std::ptr::NonNull;
use std::sync::Mutex;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::request::{self, Request};
use super::{RegisterError, RpcError};
use crate::app::{Spdk, subsystem};
use crate::panic;
use crate::sync::lock;
use crate::thread::{app_thread, table};

/// When a method may be called (`SPDK_RPC_STARTUP`, `SPDK_RPC_RUNTIME`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Only before SPDK's subsystems are initialised: by a configuration, or in an application that waits for RPCs
    /// (`--wait-for-rpc`). There are no bdevs yet, and no messages: the handler's future must be done when it is polled
    /// for the first time, or the call fails.
    Startup,
    /// Only after that.
    Runtime,
    /// Both before and after.
    Any,
}

impl State {
    const fn mask(self) -> u32 {
        match self {
            Self::Startup => 1,
            Self::Runtime => 2,
            Self::Any => 3,
        }
    }
}

/// An RPC, made by [`method`]. Give it to the app builder ([`Builder::rpc`](crate::app::Builder::rpc)).
#[derive(Debug, Clone, Copy)]
pub struct Method {
    name: &'static str,
    state: State,
    handler: Handle,
}

type Handle =
    unsafe extern "C" fn(*mut spdk_sys::spdk_jsonrpc_request, *const spdk_sys::spdk_json_val);

/// What can be behind a method: `async fn(Spdk, P) -> Result<R, E>`, or a closure like it that captures nothing.
///
/// `P` is what the parameters are [decoded](super::decode) into, `R` what is sent back, and `E` turns into an
/// [`RpcError`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't answer an RPC",
    label = "is not an `async fn(Spdk, P) -> Result<R, E>`",
    note = "`P: Deserialize` holds the parameters, `R: Serialize` is sent back, and `E: Into<RpcError>`; keep state in \
            statics or per-thread storage, since a handler captures nothing"
)]
pub trait Handler<P>: Copy + Send + Sync + 'static {
    /// Runs the handler, and writes its result as JSON.
    #[doc(hidden)]
    fn answer(
        self,
        spdk: Spdk,
        params: P,
    ) -> impl Future<Output = Result<Vec<u8>, RpcError>> + 'static;
}

#[diagnostic::do_not_recommend]
impl<F, Fut, P, R, E> Handler<P> for F
where
    F: Fn(Spdk, P) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Result<R, E>> + 'static,
    P: DeserializeOwned + 'static,
    R: Serialize + 'static,
    E: Into<RpcError> + 'static,
{
    async fn answer(self, spdk: Spdk, params: P) -> Result<Vec<u8>, RpcError> {
        let result = self(spdk, params).await.map_err(Into::into)?;
        serde_json::to_vec(&result)
            .map_err(|error| RpcError::internal(format!("the result is no JSON: {error}")))
    }
}

/// A method of the name `name`, which `handler` answers.
///
/// SPDK hands a handler nothing that could be kept for it, so it must capture nothing: it is a function, or a closure
/// of size zero. The compiler refuses others.
///
/// ```compile_fail,E0080
/// # use spdk_safe::prelude::*;
/// # use spdk_safe::rpc::{self, RpcError, State};
/// let captured = 7_u32;
/// let handler = move |_spdk: Spdk, _params: ()| async move { Ok::<_, RpcError>(captured) };
/// let method = rpc::method("example_get", State::Runtime, handler); // an RPC handler must capture nothing
/// ```
pub const fn method<P: DeserializeOwned + 'static, F: Handler<P>>(
    name: &'static str,
    state: State,
    handler: F,
) -> Method {
    const {
        assert!(
            size_of::<F>() == 0,
            "an RPC handler must capture nothing: keep its state in a static, or in per-thread storage"
        );
    }
    // A value of the type was here: `handle_callback` may make another.
    let _ = handler;
    Method {
        name,
        state,
        handler: handle_callback::<P, F>,
    }
}

/// SPDK's list of methods has no lock: before SPDK runs it is changed with this held, later on the app thread alone.
static REGISTRY: Mutex<()> = Mutex::new(());

impl Method {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// When it may be called.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Registers it (`spdk_rpc_register_method`): before SPDK starts, from any thread, or on the app thread of a
    /// running app. It stays for as long as the process lives.
    ///
    /// # Errors
    ///
    /// See [`RegisterError`]; nothing is registered then.
    pub fn register(&self) -> Result<(), RegisterError> {
        let registry = lock(&REGISTRY);
        // SAFETY: counts SPDK threads under a lock of SPDK's, and works before SPDK is up.
        let is_up = crate::app::is_ours() || unsafe { spdk_sys::spdk_thread_get_count() } != 0;
        if is_up && app_thread::check().is_err() {
            return Err(RegisterError::NotNow { method: self.name });
        }
        // SAFETY: the lock is held and SPDK is down, or this is its app thread.
        let registered = unsafe { self.add() };
        drop(registry);
        registered
    }

    /// As [`register`](Self::register), by whoever starts SPDK.
    ///
    /// # Safety
    ///
    /// Nobody else reads or changes SPDK's list of methods meanwhile.
    pub(crate) unsafe fn add(&self) -> Result<(), RegisterError> {
        let method = self.name;
        let name = CString::new(method)
            .ok()
            .filter(|name| !name.is_empty() && name.to_bytes().iter().all(u8::is_ascii_graphic))
            .ok_or(RegisterError::Name { method })?;
        // Any state at all: whether there is such a method. SPDK itself would log, and not start.
        // SAFETY: by this function's contract; the name is a C string.
        if unsafe { spdk_sys::spdk_rpc_is_method_allowed(name.as_ptr(), 0) } != -libc::ENOENT {
            return Err(RegisterError::Exists { method });
        }
        // SAFETY: as before; SPDK copies the name, and the handler is a function.
        unsafe {
            spdk_sys::spdk_rpc_register_method(
                name.as_ptr(),
                Some(self.handler),
                self.state.mask(),
            );
        };
        Ok(())
    }
}

/// For [`register_rpc!`](crate::register_rpc): called by the loader, before `main`.
#[doc(hidden)]
pub fn at_link_time(methods: &(impl AsRef<[Method]> + ?Sized)) {
    subsystem::add();
    for method in methods.as_ref() {
        if let Err(error) = method.register() {
            // As SPDK does when its own constructors find such a thing: the process does not get to its main.
            eprintln!("{error}");
            std::process::abort();
        }
    }
}

/// A method is a list of one, where a list is asked for.
impl AsRef<[Method]> for Method {
    fn as_ref(&self) -> &[Method] {
        std::slice::from_ref(self)
    }
}

/// Registers methods when the program is loaded, before its `main`, as SPDK's own `SPDK_RPC_REGISTER` does: for code
/// that is linked into somebody else's C application. In an app of one's own, [`Builder::rpc`](crate::app::Builder::rpc)
/// says the same in the open.
///
/// Each argument is a method, or an array or slice of methods. A name that is taken ends the process there, with a text
/// that says so.
///
/// ```
/// use spdk_safe::prelude::*;
/// use spdk_safe::rpc::{self, RpcError, State};
///
/// async fn add(_spdk: Spdk, (): ()) -> Result<u32, RpcError> { Ok(7) }
/// static SEVEN: rpc::Method = rpc::method("example_seven", State::Any, add);
/// spdk_safe::register_rpc!(SEVEN);
///
/// const OTHERS: [rpc::Method; 2] =
///     [rpc::method("example_8", State::Any, add), rpc::method("example_9", State::Any, add)];
/// spdk_safe::register_rpc!(OTHERS);
///
/// assert!(SEVEN.register().is_err(), "it is there already");
/// assert!(OTHERS[1].register().is_err(), "so is that");
/// ```
#[macro_export]
macro_rules! register_rpc {
    ($($method:expr),+ $(,)?) => {
        const _: () = {
            extern "C" fn register() {
                $($crate::rpc::at_link_time(&$method);)+
            }
            #[used]
            #[unsafe(link_section = ".init_array")]
            static AT_START: extern "C" fn() = register;
        };
    };
}

/// # Safety
///
/// SPDK calls this on its app thread with a request that is to be answered once, and with its parameters or null. A
/// value of `F` was given to [`method`].
unsafe extern "C" fn handle_callback<P: DeserializeOwned + 'static, F: Handler<P>>(
    request: *mut spdk_sys::spdk_jsonrpc_request,
    params: *const spdk_sys::spdk_json_val,
) {
    panic::contain("an RPC", || {
        // SAFETY: by this function's contract.
        let Some(request) = (unsafe { Request::take(request) }) else {
            return;
        };
        // SAFETY: by this function's contract.
        let text = unsafe { request::text_of(params) };
        // SAFETY: `F` has no bytes (`method` asserts that), and is `Copy`, so that a value like the one that `method`
        // was given may be made of nothing; it is `Send + Sync`, so that it may be here.
        let handler = unsafe { NonNull::<F>::dangling().read() };
        handle(request, &text, handler);
    });
}

fn handle<P: DeserializeOwned + 'static, F: Handler<P>>(request: Request, text: &[u8], handler: F) {
    let is_open = app_thread::is_open();
    if is_open && app_thread::check_open().is_err() || !is_open && table::app_thread_was_there() {
        return request.fail(&RpcError::invalid_state("the app is ending"));
    }
    let params = match super::decode::<P>(text) {
        Ok(params) => params,
        Err(error) => return request.fail(&error),
    };
    let work = async move { handler.answer(Spdk::of_app_thread(), params).await };
    request::run(request, type_name::<F>(), work, is_open);
}
