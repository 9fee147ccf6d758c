//! What an operation owns, whatever type it is.
//!
//! A slot of a channel is used by I/Os of many types, and owns what each of them brings. Up to [`INLINE`] bytes lie in
//! the slot itself, which never moves, so nothing is allocated for them; more go to the heap.

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::mem::{MaybeUninit, align_of, size_of};

/// Bytes that fit in a slot.
const INLINE: usize = 112;

type Space = MaybeUninit<[u64; INLINE / size_of::<u64>()]>;

/// A type that a payload can be.
pub(super) trait Hold: Sized + 'static {
    /// Whether [`filled`](Self::filled) does anything.
    const WANTS_FILLED: bool;
    /// A read has filled it.
    fn filled(&mut self);
}

/// Room for a value of any type.
///
/// # Invariants
///
/// While `held` is there, `space` holds an initialised value of its type, or a pointer from `Box::into_raw` to one.
#[repr(C)] // small values lie beside `held`
pub(super) struct Payload {
    held: Cell<Option<&'static Held>>,
    space: UnsafeCell<Space>,
}

/// What is done with a value whose type is forgotten. Both functions take the address of the space that holds it.
struct Held {
    drop: unsafe fn(*mut Space),
    /// Tells it that a read has filled it; `None` if it does not care.
    filled: Option<unsafe fn(*mut Space)>,
}

/// How a `T` lies in a space.
struct Layout<T>(PhantomData<T>);

impl<T: Hold> Layout<T> {
    const BOXED: bool = size_of::<T>() > INLINE || align_of::<T>() > align_of::<Space>();
    const HELD: &'static Held = &Held {
        drop: Self::drop,
        filled: if T::WANTS_FILLED {
            Some(Self::filled)
        } else {
            None
        },
    };

    /// # Safety
    ///
    /// `space` is valid for writes, and holds nothing.
    #[inline]
    unsafe fn put(space: *mut Space, value: T) {
        if Self::BOXED {
            let at = Box::into_raw(Box::new(value));
            // SAFETY: by this function's contract; there is room for a pointer, and alignment.
            unsafe { space.cast::<*mut T>().write(at) };
        } else {
            // SAFETY: by this function's contract; the space is large and aligned enough, which `BOXED` compares.
            unsafe { space.cast::<T>().write(value) };
        }
    }

    /// Where it lies.
    ///
    /// # Safety
    ///
    /// `space` holds a `T`.
    #[inline]
    unsafe fn at(space: *mut Space) -> *mut T {
        match Self::BOXED {
            // SAFETY: by this function's contract there is a pointer.
            true => unsafe { space.cast::<*mut T>().read() },
            false => space.cast::<T>(),
        }
    }

    /// # Safety
    ///
    /// `space` holds a `T`, and from now on nothing.
    #[inline]
    unsafe fn take(space: *mut Space) -> T {
        if Self::BOXED {
            // SAFETY: by this function's contract there is a pointer.
            let at = unsafe { space.cast::<*mut T>().read() };
            // SAFETY: it came from `Box::into_raw`, and is used once.
            return *unsafe { Box::from_raw(at) };
        }
        // SAFETY: by this function's contract there is a `T`, which is read once.
        unsafe { space.cast::<T>().read() }
    }

    /// # Safety
    ///
    /// As [`take`](Self::take).
    unsafe fn drop(space: *mut Space) {
        // SAFETY: by this function's contract.
        drop(unsafe { Self::take(space) });
    }

    /// # Safety
    ///
    /// `space` holds a `T`, and nobody else uses it meanwhile.
    unsafe fn filled(space: *mut Space) {
        // SAFETY: by this function's contract.
        let at = unsafe { Self::at(space) };
        // SAFETY: as above.
        unsafe { &mut *at }.filled();
    }
}

impl Payload {
    pub(super) fn new() -> Self {
        Self {
            held: Cell::new(None),
            space: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Takes `value` in. There must be nothing in it.
    #[inline]
    pub(super) fn put<T: Hold>(&self, value: T) {
        debug_assert!(self.held.get().is_none());
        // SAFETY: the space is ours.
        unsafe { Layout::put(self.space.get(), value) };
        // INVARIANT: the value is there.
        self.held.set(Some(Layout::<T>::HELD));
    }

    /// What was put in, which stays where it is until it is taken out.
    ///
    /// # Safety
    ///
    /// A `T` was put in, and not taken out since; nobody else uses it meanwhile.
    #[expect(
        clippy::mut_from_ref,
        reason = "that nobody else uses it is the caller's promise"
    )]
    #[inline]
    pub(super) unsafe fn get<T: Hold>(&self) -> &mut T {
        // SAFETY: by this function's contract.
        let at = unsafe { Layout::<T>::at(self.space.get()) };
        // SAFETY: as above.
        unsafe { &mut *at }
    }

    /// Takes out what was put in.
    ///
    /// # Safety
    ///
    /// A `T` was put in, and not taken out since; SPDK has let go of its memory.
    #[inline]
    pub(super) unsafe fn take<T: Hold>(&self) -> T {
        self.held.set(None);
        // SAFETY: by this function's contract.
        unsafe { Layout::<T>::take(self.space.get()) }
    }

    /// Whether the value wants to know that a read has filled it.
    #[inline]
    pub(super) fn wants_filled(&self) -> bool {
        self.held.get().is_some_and(|held| held.filled.is_some())
    }

    /// Tells the value, if it wants to know, that a read has filled it.
    ///
    /// # Safety
    ///
    /// SPDK has let go of its memory, and nobody else uses the value.
    #[inline]
    pub(super) unsafe fn filled(&self) {
        if let Some(filled) = self.held.get().and_then(|held| held.filled) {
            // SAFETY: by the type invariant there is a value of that type, and by this function's contract it is ours.
            unsafe { filled(self.space.get()) };
        }
    }

    /// Moves the value out, whatever it is, to be dropped where that may run somebody's code. Not while SPDK has its
    /// memory.
    pub(super) fn detach(&self) -> Self {
        let held = self.held.take();
        let mut space = MaybeUninit::uninit();
        if held.is_some() {
            // SAFETY: the space is ours; the bytes are copied, and `held` says no more that there is a value.
            space = unsafe { self.space.get().read() };
        }
        Self {
            held: Cell::new(held),
            space: UnsafeCell::new(space),
        }
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            // SAFETY: by the type invariant there is a value of that type, which nobody uses any more.
            unsafe { (held.drop)(self.space.get()) };
        }
    }
}
