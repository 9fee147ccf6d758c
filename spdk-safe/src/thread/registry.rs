//! What a thread still holds, so that it can let go of it before it exits.
//!
//! SPDK forces a thread out five seconds after it was told to exit, and leaks what it held (T-10); a handle that
//! is dropped after that would touch freed memory. So each handle that SPDK ties to a thread is listed here, and
//! whoever ends the thread calls [`drain`] first. A drained handle is inert: its calls are clean errors, its drop
//! does nothing.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use super::Home;
use crate::panic::contain;

/// Something that SPDK ties to a thread.
pub(crate) trait Held {
    /// The thread.
    fn home(&self) -> Home;
    /// Gives it back to SPDK, now or as soon as nothing is in flight. On the home thread only.
    fn release(&self);
    /// Whether SPDK still has it: the thread waits for it before it exits.
    fn is_held(&self) -> bool;
    /// What it is, and what keeps it, for a report.
    fn what(&self) -> String;
}

thread_local! {
    static HELD: RefCell<Vec<Weak<dyn Held>>> = const { RefCell::new(Vec::new()) };
}

/// Lists `held`; it is on its home thread now.
pub(crate) fn add(held: &Rc<impl Held + 'static>) {
    let held: Weak<dyn Held> = Rc::downgrade(held) as Weak<dyn Held>;
    HELD.with_borrow_mut(|list| {
        // Forget the dead where the list would grow, which keeps the cost of an entry constant.
        if list.len() == list.capacity() {
            list.retain(|entry| entry.strong_count() != 0);
        }
        list.push(held);
    });
}

/// Releases all that `home`, which is current, still holds.
pub(crate) fn drain(home: Home) {
    // Nothing is borrowed here: `release` calls SPDK, and SPDK may call us.
    for entry in of(home) {
        contain("what a thread held", || entry.release());
    }
}

/// What `home`, which is current, still holds.
pub(crate) fn held_by(home: Home) -> Vec<String> {
    let held = of(home);
    let held = held.iter().filter(|entry| entry.is_held());
    held.map(|entry| entry.what()).collect()
}

/// What all SPDK threads of this OS thread hold.
#[cfg(feature = "test")]
pub(crate) fn all_held() -> Vec<String> {
    let all: Vec<_> = HELD.with_borrow(|list| list.iter().filter_map(Weak::upgrade).collect());
    let held = all.iter().filter(|entry| entry.is_held());
    held.map(|entry| entry.what()).collect()
}

fn of(home: Home) -> Vec<Rc<dyn Held>> {
    let mine = |entry: &Rc<dyn Held>| entry.home() == home;
    HELD.with_borrow(|list| list.iter().filter_map(Weak::upgrade).filter(mine).collect())
}
