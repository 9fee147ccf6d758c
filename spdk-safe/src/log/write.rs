//! Lines of the program's own, on their way to SPDK's log.

use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::CString;
use std::fmt::Display;
use std::panic::Location;

use super::sink::{self, Line, Source};
use super::{LogLevel, level, print_level};

/// Writes `text` to SPDK's log (`spdk_log`), with the caller's file and line, as `SPDK_ERRLOG` and its like do in C. From
/// any thread, also before SPDK is up.
///
/// It goes where SPDK's own lines go: to stderr and syslog, to the function that a C program gave SPDK for its log, or to
/// what [`Builder::log_to`](crate::app::Builder::log_to) or [`Builder::log_crate`](crate::app::Builder::log_crate) say.
/// What [`print_level`](super::print_level) and [`level`](super::level) do not let through is not even formatted.
/// Flags do not matter, nor does a `%` in the text: it is never a format. A text of several lines becomes as many lines
/// of the log, so that none can pass for another's; SPDK 20.07 cuts each at 1 KiB.
///
/// ```
/// use spdk_safe::log::{self, LogLevel};
///
/// log::write(LogLevel::Error, format_args!("disk {:?} is on fire (100%)", "md0"));
/// ```
#[track_caller]
pub fn write(level: LogLevel, text: impl Display) {
    if !is_on(level) {
        return;
    }
    let caller = Location::caller();
    put(
        level,
        Some(caller.file()),
        Some(caller.line()),
        None,
        &text.to_string(),
    );
}

/// A logger for the `log` crate that writes to SPDK's log, for programs in which nobody else receives what `log::info!`
/// and its like say: a module in a C application above all.
///
/// Without any logger such lines go nowhere. This is the way from the `log` crate to SPDK;
/// [`Builder::log_crate`](crate::app::Builder::log_crate) is the other one. If a program takes both there is nobody to
/// print anything, and every line goes to stderr.
///
/// Levels are those of the table on the [module's page](super), and [`write()`] says what happens to a line; a record's
/// target stands where SPDK has the C function.
///
/// ```
/// spdk_safe::log::Logger::install()?;
/// log::warn!("a line of SPDK's log");
/// # Ok::<_, log::SetLoggerError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Logger;

impl Logger {
    /// Makes it the logger of the process, and lets all levels through to it: SPDK's own levels decide, also when they
    /// change later. In a [`Module::init`](crate::module::Module::init), for example.
    ///
    /// # Errors
    ///
    /// There is a logger already; it stays.
    pub fn install() -> Result<(), ::log::SetLoggerError> {
        ::log::set_logger(&Self)?;
        ::log::set_max_level(::log::LevelFilter::Trace);
        Ok(())
    }
}

impl ::log::Log for Logger {
    fn enabled(&self, metadata: &::log::Metadata<'_>) -> bool {
        is_on(LogLevel::from_log(metadata.level()))
    }

    fn log(&self, record: &::log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        put(
            LogLevel::from_log(record.level()),
            record.file(),
            record.line(),
            Some(record.target()),
            &record.args().to_string(),
        );
    }

    fn flush(&self) {}
}

fn is_on(level: LogLevel) -> bool {
    let most = match sink::is_there() {
        true => print_level(),
        false => print_level().max(self::level()),
    };
    level != LogLevel::Disabled && level <= most
}

fn put(level: LogLevel, file: Option<&str>, line: Option<u32>, function: Option<&str>, text: &str) {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    for text in std::iter::once(first).chain(lines) {
        let line = Line {
            source: Source::Program,
            level,
            file: file.map(Cow::Borrowed),
            line,
            function: function.map(Cow::Borrowed),
            text: Cow::Borrowed(text),
            truncated: false,
        };
        match sink::is_there() {
            true => sink::give(&line),
            false => to_spdk(&line),
        }
    }
}

thread_local! {
    static IN_SPDK: Cell<bool> = const { Cell::new(false) };
}

/// Gives a line to SPDK. Its log may be a C program's function, which may log itself through us: that goes to stderr.
fn to_spdk(line: &Line<'_>) {
    if IN_SPDK.try_with(|inside| inside.replace(true)) != Ok(false) {
        return sink::print(line);
    }
    super::to_spdk(
        line.level,
        line.file.as_deref().unwrap_or("rust"),
        line.line.unwrap_or(0),
        line.function.as_deref().unwrap_or("rust"),
        &line.text,
    );
    IN_SPDK.set(false);
}

/// `text`, without what would end it.
pub(super) fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}
