//! Data that knows when it is let go of.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use spdk_safe::bdev::Pieces;
use spdk_safe::env::{DmaPart, UninitDmaBuf};
use spdk_safe::prelude::*;

use crate::oracle::oracle;

/// How many there are.
pub(crate) static ALIVE: AtomicUsize = AtomicUsize::new(0);

/// Memory that is no use to anybody after this.
pub(crate) trait Poison {
    fn poison(&mut self);
}

macro_rules! poison {
    ($($type:ty),*) => {$(
        impl Poison for $type {
            fn poison(&mut self) {
                // Looked at, as far as the compiler knows, by whoever still has it.
                std::hint::black_box(&mut self[..]).fill(0xdb);
                std::hint::black_box(&self[..]);
            }
        }
    )*};
}

poison!(DmaBuf, DmaPart, Vec<u8>, Box<[u8]>);

macro_rules! no_poison {
    ($($type:ty),*) => {$(
        impl Poison for $type {
            fn poison(&mut self) {}
        }
    )*};
}

no_poison!(UninitDmaBuf, Arc<[u8]>, Rc<[u8]>);

/// A buffer that is poisoned when it is dropped: whoever still reads it then finds nothing that was ever written. The
/// write that it belongs to is over then.
#[derive(Debug)]
pub(crate) struct Tracked<B: Poison> {
    pub(crate) buf: B,
    /// The write that it is the data of.
    pub(crate) write: Option<u64>,
}

impl<B: Poison> Tracked<B> {
    /// The data of write `id`, or of something else.
    pub(crate) fn new(buf: B, write: Option<u64>) -> Self {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Self { buf, write }
    }
}

impl<B: Poison> Drop for Tracked<B> {
    fn drop(&mut self) {
        self.buf.poison();
        ALIVE.fetch_sub(1, Ordering::Relaxed);
        if let Some(id) = self.write {
            oracle().over(id);
        }
    }
}

// SAFETY: it owns its buffer, and is used as that is.
unsafe impl<B: IoBuf + Poison> IoBuf for Tracked<B> {
    fn pieces(&mut self, pieces: &mut Pieces<'_>) {
        self.buf.pieces(pieces);
    }

    fn only(&mut self) -> Option<(*mut u8, usize)> {
        self.buf.only()
    }

    fn has_contents(&self) -> bool {
        self.buf.has_contents()
    }

    fn may_fill(&self) -> bool {
        self.buf.may_fill()
    }

    fn filled(&mut self) {
        self.buf.filled();
    }

    const WANTS_FILLED: bool = B::WANTS_FILLED;
}
// SAFETY: as above.
unsafe impl<B: IoBufMut + Poison> IoBufMut for Tracked<B> {}
