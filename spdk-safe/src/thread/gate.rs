//! A gate for messages to a thread that may exit.
//!
//! SPDK aborts the process on a message to a thread that has exited (T-20). So a sender enters the gate first, and
//! whoever ends the thread closes it and waits until the last sender has left:
//!
//! ```text
//!           open()                 close()
//!  CLOSED ─────────► OPEN, n in ─────────────► CLOSING, n in ──(n = 0)──► CLOSED
//!                      ▲  │ enter: n+1             enter: refused
//!                      └──┘ leave: n-1
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};

/// Set while messages are let through; the other bits count senders.
const OPEN: usize = 1 << (usize::BITS - 1);

/// See the module's page. Closed at first.
#[derive(Debug)]
pub(super) struct Gate(AtomicUsize);

impl Gate {
    pub(super) const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Lets messages through; what was written before is seen by whoever enters.
    pub(super) fn open(&self) {
        self.0.fetch_or(OPEN, Ordering::Release);
    }

    /// Lets no more messages through, and waits until those under way are in SPDK's ring: senders do nothing else
    /// while they are inside, so that is soon.
    pub(super) fn close(&self) {
        self.0.fetch_and(!OPEN, Ordering::AcqRel);
        while self.0.load(Ordering::Acquire) != 0 {
            std::hint::spin_loop();
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire) & OPEN != 0
    }

    /// Runs `send` inside the gate; `None` if it is closed. `send` runs nobody's code; if SPDK logs a line in there, its
    /// receiver runs outside, since it may be the one who closes the gate.
    pub(super) fn pass<R>(&self, send: impl FnOnce() -> R) -> Option<R> {
        let _lines = crate::log::hold();
        let sent = match self.0.fetch_add(1, Ordering::Acquire) & OPEN != 0 {
            true => Ok(send()),
            // Dropped outside: what it has captured may be somebody's.
            false => Err(send),
        };
        self.0.fetch_sub(1, Ordering::Release);
        sent.ok()
    }
}
