//! One I/O as a future that owns its data.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::abort::{Batch, BatchCore};
use super::channel_core::ChannelCore;
use super::data::IoData;
use super::op::{Ask, Flight, Outcome};
use crate::thread::ThreadBound;

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
    _bound: ThreadBound,
    state: State<C>,
    _found: std::marker::PhantomData<fn() -> R>,
}

enum State<C> {
    New {
        channel: Rc<ChannelCore>,
        ask: Ask,
        data: C,
        batch: Option<Rc<BatchCore>>,
    },
    Flying(Flight<C>),
    Finished,
}

impl<C, R> Io<C, R> {
    #[inline]
    pub(super) fn new(channel: &Rc<ChannelCore>, ask: Ask, data: C) -> Self {
        Self {
            state: State::New {
                channel: Rc::clone(channel),
                ask,
                data,
                batch: None,
            },
            _bound: ThreadBound::new(),
            _found: std::marker::PhantomData,
        }
    }

    /// Makes it one of those that `batch` can abort. Before the first poll; later it changes nothing.
    pub fn in_batch(mut self, batch: &Batch) -> Self {
        if let State::New { batch: of, .. } = &mut self.state {
            *of = Some(Rc::clone(batch.core()));
        }
        self
    }

    /// Whether SPDK has it, or it waits for memory: it was polled, and is not done.
    #[must_use]
    pub fn is_in_flight(&self) -> bool {
        matches!(self.state, State::Flying(_))
    }
}

impl<C: IoData, R: Outcome> Future for Io<C, R> {
    type Output = C::Output<R>;

    /// # Panics
    ///
    /// When polled again after it was ready.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let State::New { .. } = self.state {
            let State::New {
                channel,
                ask,
                data,
                batch,
            } = std::mem::replace(&mut self.state, State::Finished)
            else {
                unreachable!("it was new just now");
            };
            match Flight::start(channel, ask, data) {
                Ok(flight) => {
                    if let Some(batch) = batch {
                        batch.add(flight.slot());
                    }
                    self.state = State::Flying(flight);
                }
                Err((error, data)) => return Poll::Ready(data.give_back(Err(error))),
            }
        }
        let State::Flying(flight) = &self.state else {
            panic!("an I/O was polled after it had finished");
        };
        if !flight.poll(cx.waker()) {
            return Poll::Pending;
        }
        let State::Flying(flight) = std::mem::replace(&mut self.state, State::Finished) else {
            unreachable!("it flew just now");
        };
        let (result, data) = flight.finish();
        Poll::Ready(data.give_back(result))
    }
}

impl<C, R> fmt::Debug for Io<C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Io");
        match &self.state {
            State::New { ask, .. } => out
                .field("state", &"new")
                .field("io", &ask.io)
                .field("lba", &ask.lba)
                .field("blocks", &ask.blocks),
            State::Flying(_) => out.field("state", &"in flight"),
            State::Finished => out.field("state", &"finished"),
        };
        out.finish_non_exhaustive()
    }
}
