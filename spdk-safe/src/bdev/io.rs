//! One I/O as a future that owns its data.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::abort::Batch;
use super::buf::IoBuf;
use super::channel_core::ChannelCore;
use super::data::{IoData, Repeat};
use super::op::{Ask, Flight, Outcome};
use crate::error::IoError;
use crate::thread::Bound;
use crate::units::Lba;

/// An I/O; resolves to its result, and to the data that it owned beside it.
///
/// Nothing happens before the first poll. From then on the data belongs to the I/O; dropping the future detaches it,
/// and the completion frees the data. -ENOMEM is waited out.
///
/// | what it owns | output |
/// | --- | --- |
/// | a buffer `B` | `(Result<R, IoError>, B)` |
/// | [`WithMetadata<B, M>`](super::WithMetadata), [`CompareWrite<C, W>`](super::CompareWrite) | the result and both |
/// | nothing | `Result<R, IoError>` |
#[must_use = "an I/O does nothing until it is awaited"]
pub struct Io<C = (), R = ()> {
    /// `None` once it was ready.
    flight: Bound<Option<Flight<C>>>,
    _found: PhantomData<fn() -> R>,
}

impl<C: IoData, R: Outcome> Io<C, R> {
    #[inline]
    pub(super) fn new(channel: &Rc<ChannelCore>, ask: Ask, data: C) -> Self {
        Self {
            flight: Bound::new(Some(Flight::new(channel, ask, data))),
            _found: PhantomData,
        }
    }
}

/// Reads or writes one after the other: [`IoChannel::read_loop`](super::IoChannel::read_loop).
pub type IoLoop<B, F> = Io<Repeat<B, F>>;

impl<B: IoBuf, F> Io<Repeat<B, F>>
where
    F: FnMut(Result<(), IoError>, &mut B) -> Option<Lba> + 'static,
{
    pub(super) fn repeat(channel: &Rc<ChannelCore>, ask: Ask, data: B, step: F) -> Self {
        let flight = Flight::new(channel, ask, Repeat { data, step }).repeat();
        Self {
            flight: Bound::new(Some(flight)),
            _found: PhantomData,
        }
    }
}

impl<C, R> Io<C, R> {
    /// Makes it one of those that `batch` can abort.
    pub fn in_batch(self, batch: &Batch) -> Self {
        if let Some(flight) = &*self.flight {
            batch.add(flight.slot());
        }
        self
    }

    /// Whether SPDK has it, or it waits for memory: it was polled, and is not done.
    #[must_use]
    pub fn is_in_flight(&self) -> bool {
        self.flight
            .as_ref()
            .is_some_and(|flight| flight.op().is_in_flight())
    }
}

impl<C: IoData, R: Outcome> Future for Io<C, R> {
    type Output = C::Output<R>;

    /// # Panics
    ///
    /// When polled again after it was ready.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(flight) = &*self.flight else {
            panic!("an I/O was polled after it had finished");
        };
        if !flight.poll(cx.waker()) {
            return Poll::Pending;
        }
        match self.flight.take() {
            // Each on its own, so that no room for an error is moved where there is none.
            Some(flight) if flight.op().has_failed() => Poll::Ready(failed(flight)),
            Some(flight) => {
                let (found, data) = flight.finish_well();
                Poll::Ready(data.give_back(Ok(found)))
            }
            None => Poll::Pending,
        }
    }
}

#[cold]
fn failed<C: IoData, R: Outcome>(flight: Flight<C>) -> C::Output<R> {
    let (result, data) = flight.finish();
    data.give_back(result)
}

/// It is not pinned: what SPDK points to lies elsewhere.
impl<C, R> Unpin for Io<C, R> {}

impl<C, R> fmt::Debug for Io<C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io")
            .field("op", &self.flight.as_ref().map(Flight::op))
            .finish_non_exhaustive()
    }
}
