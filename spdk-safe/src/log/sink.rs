//! Lines of SPDK's and DPDK's logs, on their way to somebody's code.
//!
//! A line comes from anywhere: from a thread that is no SPDK thread, from inside of SPDK, under its locks. So while the
//! receiver runs, no SPDK thread is current, and every call of ours that needs one is an error instead of a call into
//! a part of SPDK that is half-way through something. A line that the receiver causes itself goes to stderr. What comes
//! while we hold something ourselves is kept until we don't ([`hold`]).

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char};
use std::io::Write;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use super::LogLevel;
use crate::error::Errno;
use crate::inside;

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// SPDK.
    Spdk,
    /// DPDK.
    Dpdk,
    /// This crate.
    SpdkSafe,
    /// Code of the program's, by [`write`](super::write()) or [`Logger`](super::Logger).
    Program,
}

impl Source {
    /// The target of its lines in the `log` crate: `spdk`, `dpdk`, `spdk_safe`, `program`.
    #[must_use]
    pub const fn target(self) -> &'static str {
        match self {
            Self::Spdk => "spdk",
            Self::Dpdk => "dpdk",
            Self::SpdkSafe => "spdk_safe",
            Self::Program => "program",
        }
    }
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line<'a> {
    /// Who wrote it.
    pub source: Source,
    /// How severe it is.
    pub level: LogLevel,
    /// The source file, if it is told: DPDK does not.
    pub file: Option<Cow<'a, str>>,
    /// The line in it.
    pub line: Option<u32>,
    /// The C function; of a record of the `log` crate, its target.
    pub function: Option<Cow<'a, str>>,
    /// What it says, without the newline. What is no UTF-8 is replaced.
    pub text: Cow<'a, str>,
    /// Whether the text was longer than 4 KiB, and was cut there.
    pub truncated: bool,
}

impl Line<'_> {
    /// The same line, to be kept.
    #[must_use]
    pub fn into_owned(self) -> Line<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Line {
            source: self.source,
            level: self.level,
            file: self.file.map(owned),
            line: self.line,
            function: self.function.map(owned),
            text: owned(self.text),
            truncated: self.truncated,
        }
    }
}

type Receiver = dyn Fn(&Line<'_>) + Send + Sync;

/// Where lines go.
#[derive(Clone)]
pub(crate) struct Sink(Arc<Receiver>);

impl Sink {
    pub(crate) fn new(receiver: impl Fn(&Line<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(receiver))
    }

    /// The logger of the `log` crate.
    pub(crate) fn log_crate() -> Self {
        Self::new(|line| {
            let Some(level) = line.level.to_log() else {
                return;
            };
            let target = line.source.target();
            if !::log::log_enabled!(target: target, level) {
                return;
            }
            let cut = if line.truncated { " [...]" } else { "" };
            ::log::logger().log(
                &::log::Record::builder()
                    .level(level)
                    .target(target)
                    .file(line.file.as_deref())
                    .line(line.line)
                    .args(format_args!("{}{cut}", line.text))
                    .build(),
            );
        })
    }
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sink")
    }
}

/// For the rest of the process: SPDK starts once.
static SINK: OnceLock<Sink> = OnceLock::new();

thread_local! {
    static IN_RECEIVER: Cell<bool> = const { Cell::new(false) };
    /// How many [`Held`] there are.
    static HELD: Cell<u32> = const { Cell::new(0) };
    static ANY_KEPT: Cell<bool> = const { Cell::new(false) };
    static KEPT: RefCell<Vec<Line<'static>>> = const { RefCell::new(Vec::new()) };
}

/// As long as it lives, lines of this OS thread are kept; then they are given. See [`hold`].
#[must_use]
pub(crate) struct Held(PhantomData<*const ()>);

/// For calls into SPDK under a lock of ours, or where somebody waits for us: SPDK logs when it refuses a message, and
/// the receiver is somebody's code. Get it before the lock, so that it goes after it.
#[inline]
pub(crate) fn hold() -> Held {
    HELD.set(HELD.get() + 1);
    Held(PhantomData)
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        HELD.set(HELD.get() - 1);
        if HELD.get() == 0 && ANY_KEPT.get() {
            give_kept();
        }
    }
}

#[cold]
fn give_kept() {
    ANY_KEPT.set(false);
    let kept = KEPT.try_with(RefCell::take).unwrap_or_default();
    kept.iter().for_each(give);
}

#[cold]
fn keep(line: &Line<'_>) {
    let keep = KEPT.try_with(|kept| kept.borrow_mut().push(line.clone().into_owned()));
    match keep {
        Ok(()) => ANY_KEPT.set(true),
        // This OS thread ends.
        Err(_) => print(line),
    }
}

/// Has lines go to `sink`. Before SPDK starts, once.
pub(crate) fn install(sink: Sink) -> Result<(), Errno> {
    if SINK.set(sink).is_err() {
        return Ok(());
    }
    // SAFETY: SPDK is not up, so nobody logs meanwhile.
    Errno::check(unsafe { spdk_sys::spdk_shim_log_to(Some(line_callback)) })
}

/// Whether lines go to somebody's code.
pub(super) fn is_there() -> bool {
    SINK.get().is_some()
}

/// A line of this crate's. False without a sink.
pub(super) fn write_ours(level: LogLevel, text: &str) -> bool {
    if !is_there() {
        return false;
    }
    if level <= super::print_level() {
        give(&Line {
            source: Source::SpdkSafe,
            level,
            file: None,
            line: None,
            function: None,
            text: Cow::Borrowed(text),
            truncated: false,
        });
    }
    true
}

/// Whether this OS thread is in the receiver: maybe under locks of SPDK's or DPDK's.
pub(crate) fn in_receiver() -> bool {
    IN_RECEIVER.try_with(Cell::get).unwrap_or(false)
}

/// Gives a line to the receiver.
pub(super) fn give(line: &Line<'_>) {
    let Some(sink) = SINK.get() else {
        return;
    };
    if HELD.get() != 0 && !in_receiver() {
        return keep(line);
    }
    // Also while this OS thread ends, when there are no thread-locals any more.
    if IN_RECEIVER.try_with(|inside| inside.replace(true)) != Ok(false) {
        return print(line);
    }
    let _inside = inside::enter();
    // SAFETY: reads a thread-local.
    let current = unsafe { spdk_sys::spdk_get_thread() };
    // SAFETY: writes it; no SPDK thread is current is a state that SPDK knows.
    unsafe { spdk_sys::spdk_set_thread(std::ptr::null_mut()) };
    crate::panic::contain("the receiver of SPDK's log", || (sink.0)(line));
    // SAFETY: the thread was current before, and is alive still: this OS thread is the one that polls it, and a loop of
    // the program's own neither polls nor ends while we are inside of SPDK.
    unsafe { spdk_sys::spdk_set_thread(current) };
    IN_RECEIVER.set(false);
}

/// A line that can't be given to the receiver, who is at work.
pub(super) fn print(line: &Line<'_>) {
    // Nobody could be told of an error.
    let _ = writeln!(
        std::io::stderr(),
        "{}: {:?}: {}",
        line.source.target(),
        line.level,
        line.text
    );
}

/// # Safety
///
/// The shim calls this with a line that lives across the call.
unsafe extern "C" fn line_callback(line: *const spdk_sys::spdk_shim_log_line) {
    // SAFETY: by this function's contract.
    let line = unsafe { &*line };
    let text = match line.text.is_null() {
        true => &[][..],
        // SAFETY: by the shim's contract there are `len` bytes.
        false => unsafe { std::slice::from_raw_parts(line.text.cast::<u8>(), line.len) },
    };
    // SAFETY: by the shim's contract null, or a string that lives across the call.
    let file = unsafe { optional(line.file) };
    // SAFETY: as above.
    let function = unsafe { optional(line.func) };
    let line = Line {
        source: if line.dpdk {
            Source::Dpdk
        } else {
            Source::Spdk
        },
        level: LogLevel::from_raw(level_of(line.level)),
        file,
        line: u32::try_from(line.line).ok().filter(|number| *number != 0),
        function,
        text: String::from_utf8_lossy(text),
        truncated: line.truncated,
    };
    crate::panic::contain("SPDK's log", || give(&line));
}

const fn level_of(level: i32) -> spdk_sys::spdk_log_level {
    spdk_sys::spdk_log_level(level)
}

/// # Safety
///
/// Null, or a NUL-terminated string that lives as long as `'a`.
unsafe fn optional<'a>(text: *const c_char) -> Option<Cow<'a, str>> {
    if text.is_null() {
        return None;
    }
    // SAFETY: by this function's contract.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy())
}
