//! A line that is overwritten, on a terminal; nothing elsewhere.

use std::cell::Cell;
use std::io::{IsTerminal, Write as _};

pub(crate) struct Progress {
    total: usize,
    done: Cell<usize>,
    is_terminal: bool,
}

impl Progress {
    pub(crate) fn new(total: usize) -> Self {
        Self {
            total,
            done: Cell::new(0),
            is_terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Another step begins.
    pub(crate) fn step(&self, what: &str) {
        self.done.set(self.done.get() + 1);
        let percent = self.done.get() * 100 / self.total.max(1);
        self.say(&format!("{percent:3} % {what}"));
    }

    pub(crate) fn say(&self, line: &str) {
        if self.is_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
        }
    }

    /// Prints a line that stays.
    pub(crate) fn print(&self, line: &str) {
        self.say("");
        println!("{line}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.say("");
    }
}
