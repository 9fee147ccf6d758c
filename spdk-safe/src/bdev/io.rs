//! One I/O as a future that owns its data.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::channel::ChannelCore;
use super::op::{Flight, Payload};
use crate::env::DmaBuf;
use crate::error::{IoError, IoType};
use crate::module::RequestData;
use crate::thread::ThreadBound;
use crate::units::{Blocks, Bytes, Lba};

mod sealed {
    use super::{DmaBuf, Payload, RequestData};

    /// How data gets into the operation that owns it, and out again.
    pub trait Data {
        fn into_payload(self) -> Payload;
        fn from_payload(payload: Payload) -> Option<Self>
        where
            Self: Sized;
    }

    impl Data for () {
        fn into_payload(self) -> Payload {
            Payload::None
        }

        fn from_payload(_: Payload) -> Option<Self> {
            Some(())
        }
    }

    impl Data for DmaBuf {
        fn into_payload(self) -> Payload {
            Payload::Dma(self)
        }

        fn from_payload(payload: Payload) -> Option<Self> {
            match payload {
                Payload::Dma(buf) => Some(buf),
                _ => None,
            }
        }
    }

    impl Data for RequestData {
        fn into_payload(self) -> Payload {
            Payload::Request(self)
        }

        fn from_payload(payload: Payload) -> Option<Self> {
            match payload {
                Payload::Request(data) => Some(data),
                _ => None,
            }
        }
    }
}

/// What an I/O can own while it is in flight: a [`DmaBuf`], the data of a request ([`RequestData`]), or nothing.
#[diagnostic::on_unimplemented(
    message = "an I/O can't own `{Self}`",
    label = "not memory that a device may reach while the I/O is in flight",
    note = "take a buffer with `desc.alloc(..)` or `ch.alloc(..)` and give it to the I/O; it comes back with the result"
)]
pub trait IoData: sealed::Data + Unpin + 'static {}

impl IoData for () {}
impl IoData for DmaBuf {}
impl IoData for RequestData {}

/// An I/O; resolves to its result and the data that it owned.
///
/// Nothing happens before the first poll. From then on the data belongs to the I/O; dropping the future detaches it,
/// and the completion frees the data. -ENOMEM is waited out.
#[must_use = "an I/O does nothing until it is awaited"]
pub struct Io<B: IoData> {
    state: State<B>,
    _bound: ThreadBound,
}

enum State<B> {
    New {
        channel: Rc<ChannelCore>,
        io: IoType,
        lba: Lba,
        /// For I/O without data.
        blocks: Option<Blocks>,
        data: B,
    },
    Flying(Flight),
    Finished,
}

impl<B: IoData> Io<B> {
    pub(super) fn new(
        channel: &Rc<ChannelCore>,
        io: IoType,
        lba: Lba,
        blocks: Option<Blocks>,
        data: B,
    ) -> Self {
        Self {
            state: State::New {
                channel: Rc::clone(channel),
                io,
                lba,
                blocks,
                data,
            },
            _bound: ThreadBound::new(),
        }
    }
}

impl<B: IoData> Future for Io<B> {
    type Output = (Result<(), IoError>, B);

    /// # Panics
    ///
    /// When polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let flight = match std::mem::replace(&mut self.state, State::Finished) {
            State::New {
                channel,
                io,
                lba,
                blocks,
                data,
            } => {
                let payload = data.into_payload();
                match check(&channel, io, lba, blocks, &payload) {
                    Ok(blocks) => Flight::start(&channel, io, lba, blocks, payload),
                    Err(error) => return Poll::Ready((Err(error), returned(payload))),
                }
            }
            State::Flying(flight) => flight,
            State::Finished => panic!("an I/O was polled after it had finished"),
        };
        match flight.poll(cx.waker()) {
            Ok((result, payload)) => Poll::Ready((result, returned(payload))),
            Err(flight) => {
                self.state = State::Flying(flight);
                Poll::Pending
            }
        }
    }
}

/// The data comes back as what it was.
fn returned<B: IoData>(payload: Payload) -> B {
    B::from_payload(payload).expect("an operation returns the payload that it was started with")
}

/// Everything that SPDK does not check, or not well (design rule 11). Returns the number of blocks.
fn check(
    channel: &ChannelCore,
    io: IoType,
    lba: Lba,
    blocks: Option<Blocks>,
    payload: &Payload,
) -> Result<Blocks, IoError> {
    channel.check()?;
    let (info, capacity) = (&channel.desc.info, channel.desc.num_blocks());
    let supported = match io {
        IoType::Read | IoType::Write => true,
        IoType::Unmap => info.unmap,
        IoType::WriteZeroes => info.write_zeroes,
        IoType::Flush => info.flush,
        IoType::Reset => info.reset,
    };
    if !supported {
        return Err(IoError::Unsupported { io });
    }
    if io == IoType::Reset {
        return Ok(Blocks(0));
    }
    if matches!(payload, Payload::Request(data) if !data.may(io)) {
        return Err(IoError::Direction { io, lba });
    }
    let blocks = match blocks {
        Some(blocks) => blocks,
        None => {
            let (mut len, mut misaligned) = (0_u64, false);
            payload.for_each(&mut |base, part| {
                len += part as u64;
                misaligned |= (base as usize) % info.align.max(1) != 0;
            });
            if misaligned {
                return Err(IoError::Misaligned {
                    io,
                    lba,
                    align: info.align,
                });
            }
            Bytes(len).blocks(info.block_size).ok_or(IoError::Length {
                io,
                lba,
                len: Bytes(len),
                block_size: info.block_size,
            })?
        }
    };
    if blocks == Blocks(0) {
        return Err(IoError::Empty { io, lba });
    }
    if !lba.fits(blocks, capacity) {
        return Err(IoError::Range {
            io,
            lba,
            blocks,
            capacity,
        });
    }
    Ok(blocks)
}

impl<B: IoData> fmt::Debug for Io<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Io");
        match &self.state {
            State::New {
                io, lba, blocks, ..
            } => out
                .field("state", &"new")
                .field("io", io)
                .field("lba", lba)
                .field("blocks", blocks),
            State::Flying(_) => out.field("state", &"in flight"),
            State::Finished => out.field("state", &"finished"),
        };
        out.finish_non_exhaustive()
    }
}
