//! A request that is to be answered: exactly once, whatever its handler does.
//!
//! ```text
//!              1                     2
//!  SPDK ─────────────► outstanding ─────────────► answered: SPDK sends it, or frees it if the client has gone
//!                           │ 3                      ▲
//!                           └────────────────────────┘
//!  1: Request::take   2: Request::answer, fail   3: drop: an internal error; the app's end: `answer_all`; before SPDK
//!  23.09 its connection's end: `closed_callback`
//! ```

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{CString, c_int, c_void};
use std::future::Future;
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::task::{Context, Poll, Waker};

use super::RpcError;
use crate::panic::{contain, contain_message};
use crate::thread::{self, ThreadBound};

/// The longest result that SPDK has room for, with what stands around it (`SPDK_JSONRPC_SEND_BUF_SIZE_MAX` is 32 MiB).
const LONGEST: usize = 31 << 20;

/// The longest text of an error; an unknown field's name may be as long as a request.
const LONGEST_TEXT: usize = 4096;

type Raw = NonNull<spdk_sys::spdk_jsonrpc_request>;

/// A request that is to be answered.
#[derive(Debug)]
struct Outstanding {
    raw: Raw,
    /// Whose end is the request's, too; null where SPDK sees to that itself.
    conn: *mut spdk_sys::spdk_jsonrpc_server_conn,
}

thread_local! {
    /// On the app's OS thread. A handler's future may be forgotten, and its request must be answered all the same.
    static OUTSTANDING: RefCell<BTreeMap<u64, Outstanding>> = const { RefCell::new(BTreeMap::new()) };
    static NEXT: Cell<u64> = const { Cell::new(0) };
}

/// A request, as its handler holds it.
///
/// # Invariants
///
/// It lies in `OUTSTANDING` of this OS thread until it is answered, and SPDK keeps it until then.
#[derive(Debug)]
pub(super) struct Request {
    id: u64,
    _bound: ThreadBound,
}

impl Request {
    /// Takes a request in. `None` when this OS thread ends.
    ///
    /// # Safety
    ///
    /// The request is not answered yet, and will not be by others.
    pub(super) unsafe fn take(request: *mut spdk_sys::spdk_jsonrpc_request) -> Option<Self> {
        let raw = NonNull::new(request)?;
        let mut conn = ptr::null_mut();
        // SAFETY: by this function's contract the request is there, and its connection with it.
        let rc = unsafe {
            spdk_sys::spdk_shim_rpc_watch(raw.as_ptr(), Some(closed_callback), &raw mut conn)
        };
        if rc < 0 {
            let error = RpcError::internal("somebody else watches the connection");
            // SAFETY: by this function's contract.
            unsafe { send_error(raw, &error) };
            return None;
        }
        let id = NEXT.replace(NEXT.get() + 1);
        OUTSTANDING
            .try_with(|list| list.borrow_mut().insert(id, Outstanding { raw, conn }))
            .ok()?;
        Some(Self {
            id,
            _bound: ThreadBound::new(),
        })
    }

    /// Sends `result`, which is JSON.
    fn answer(self, result: &[u8]) {
        if result.len() > LONGEST {
            let text = format!(
                "the result has {} bytes, and SPDK sends no more than {LONGEST}",
                result.len()
            );
            return self.fail(&RpcError::internal(text));
        }
        if let Some(raw) = self.end() {
            // SAFETY: the request was outstanding, and is not any more: nobody else answers it.
            let writer = unsafe { spdk_sys::spdk_jsonrpc_begin_result(raw.as_ptr()) };
            // SAFETY: the writer stands where a value belongs; the bytes are copied.
            unsafe {
                spdk_sys::spdk_json_write_val_raw(writer, result.as_ptr().cast(), result.len())
            };
            // SAFETY: that is the writer of this request, which SPDK takes back.
            unsafe { spdk_sys::spdk_jsonrpc_end_result(raw.as_ptr(), writer) };
        }
    }

    /// Sends an error.
    pub(super) fn fail(self, error: &RpcError) {
        if let Some(raw) = self.end() {
            // SAFETY: the request was outstanding, and is not any more.
            unsafe { send_error(raw, error) };
        }
    }

    /// Takes it off the list; `None` if it was answered, at the end of the app.
    fn end(&self) -> Option<Raw> {
        OUTSTANDING
            .try_with(|list| list.borrow_mut().remove(&self.id))
            .ok()
            .flatten()
            .map(|outstanding| outstanding.raw)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Some(raw) = self.end() {
            let error = RpcError::internal("the method was given up before it had answered");
            // SAFETY: the request was outstanding, and is not any more.
            unsafe { send_error(raw, &error) };
        }
    }
}

/// # Safety
///
/// The request is not answered yet, and nobody else will answer it.
unsafe fn send_error(raw: Raw, error: &RpcError) {
    let mut text = error.message().replace('\0', "\u{fffd}");
    text.truncate(text.floor_char_boundary_of(LONGEST_TEXT));
    let text = CString::new(text).unwrap_or_default();
    // SAFETY: by this function's contract; the text is a C string, which SPDK copies.
    unsafe {
        spdk_sys::spdk_jsonrpc_send_error_response(raw.as_ptr(), error.code(), text.as_ptr());
    };
}

/// What newer Rust has in `str`.
trait FloorCharBoundary {
    fn floor_char_boundary_of(&self, at: usize) -> usize;
}

impl FloorCharBoundary for String {
    fn floor_char_boundary_of(&self, at: usize) -> usize {
        let at = at.min(self.len());
        (0..=at)
            .rev()
            .find(|at| self.is_char_boundary(*at))
            .unwrap_or(0)
    }
}

/// Answers all that are outstanding on this OS thread: the app ends. What their handlers say later is dropped.
pub(crate) fn answer_all() {
    let all = OUTSTANDING.try_with(RefCell::take).unwrap_or_default();
    for request in all.into_values() {
        // SAFETY: the request was outstanding, and is not any more.
        unsafe { send_error(request.raw, &RpcError::invalid_state("the app is ending")) };
    }
}

/// # Safety
///
/// SPDK, before 23.09, calls this when it closes the connection, which is still there. On the app thread.
unsafe extern "C" fn closed_callback(
    conn: *mut spdk_sys::spdk_jsonrpc_server_conn,
    _ctx: *mut c_void,
) {
    contain("the end of an RPC connection", || {
        let gone = OUTSTANDING.try_with(|list| {
            let mut list = list.borrow_mut();
            let (gone, left) = std::mem::take(&mut *list)
                .into_iter()
                .partition::<BTreeMap<_, _>, _>(|(_, request)| ptr::eq(request.conn, conn));
            *list = left;
            gone
        });
        for request in gone.unwrap_or_default().into_values() {
            // SAFETY: the request was outstanding, and is not any more; its connection is there.
            unsafe { spdk_sys::spdk_shim_rpc_discard(request.raw.as_ptr()) };
        }
    });
}

/// The text of parameters; null is nothing.
///
/// # Safety
///
/// `params` is null, or the first of the values of SPDK's parser that make up one value.
pub(super) unsafe fn text_of(params: *const spdk_sys::spdk_json_val) -> Vec<u8> {
    let mut text = Vec::new();
    if params.is_null() {
        return text;
    }
    let ctx = (&raw mut text).cast();
    // SAFETY: the callback takes a `Vec<u8>`, and `text` lives until the writer has ended.
    let writer = unsafe { spdk_sys::spdk_json_write_begin(Some(append_callback), ctx, 0) };
    // SAFETY: by this function's contract; if there was no memory, `writer` is null, which is looked at.
    if !writer.is_null() && unsafe { spdk_sys::spdk_json_write_val(writer, params) } != 0 {
        crate::log::error("SPDK could not write the parameters of an RPC");
    }
    // SAFETY: null, or the writer from above, which is not used again.
    unsafe { spdk_sys::spdk_json_write_end(writer) };
    text
}

/// # Safety
///
/// SPDK calls this with the `Vec<u8>` that [`text_of`] gave to the writer, and with `size` bytes at `data`.
unsafe extern "C" fn append_callback(ctx: *mut c_void, data: *const c_void, size: usize) -> c_int {
    let appended = contain("the text of an RPC's parameters", || {
        if size != 0 {
            // SAFETY: by this function's contract.
            let text = unsafe { &mut *ctx.cast::<Vec<u8>>() };
            // SAFETY: by this function's contract.
            text.extend_from_slice(unsafe { std::slice::from_raw_parts(data.cast::<u8>(), size) });
        }
    });
    match appended {
        Some(()) => 0,
        None => -1,
    }
}

/// A handler at work. A panic of its code fails this request alone.
struct Work<F> {
    future: Option<Pin<Box<F>>>,
    name: &'static str,
}

impl<F: Future<Output = Result<Vec<u8>, RpcError>>> Future for Work<F> {
    type Output = Result<Vec<u8>, RpcError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let name = self.name;
        let Some(future) = self.future.as_mut() else {
            return Poll::Pending;
        };
        let polled = contain_message(name, || future.as_mut().poll(cx));
        let outcome = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(outcome)) => outcome,
            Err(text) => Err(RpcError::internal(format!("the method panicked: {text}"))),
        };
        let future = self.future.take();
        contain(name, || drop(future));
        Poll::Ready(outcome)
    }
}

impl<F> Drop for Work<F> {
    fn drop(&mut self) {
        let future = self.future.take();
        contain(self.name, || drop(future));
    }
}

impl<F> Unpin for Work<F> {}

/// Runs `work`, and answers `request` with what comes of it: as a task of the app thread, or on the spot.
pub(super) fn run(
    request: Request,
    name: &'static str,
    work: impl Future<Output = Result<Vec<u8>, RpcError>> + 'static,
    as_task: bool,
) {
    let mut work = Work {
        future: Some(Box::pin(work)),
        name,
    };
    let finish = |request: Request, outcome: Result<Vec<u8>, RpcError>| match outcome {
        Ok(result) => request.answer(&result),
        Err(error) => request.fail(&error),
    };
    if as_task {
        let task = thread::spawn_local(async move {
            let outcome = work.await;
            finish(request, outcome);
        });
        // Refused, the task was dropped, and the request with it: that has answered it.
        return drop(task);
    }
    match Pin::new(&mut work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => finish(request, outcome),
        Poll::Pending => request.fail(&RpcError::invalid_state(
            "the method waits for something, which it can't before the framework is initialised",
        )),
    }
}
