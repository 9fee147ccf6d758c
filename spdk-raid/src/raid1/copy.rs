//! Copies ranges from leg to leg, on a job's thread.

use std::sync::Arc;

use spdk_safe::bdev::IoChannel;
use spdk_safe::env::{AllocError, DmaBuf};
use spdk_safe::error::{ChannelError, IoError};
use spdk_safe::prelude::ReadWrite;
use spdk_safe::units::{Blocks, Bytes, Lba};
use thiserror::Error;

use super::array::Array;
use super::snapshot::{Leg, Snapshot};
use super::state::{FaultReason, LegId};
use super::verdict::{self, Verdict};
use crate::split::Extent;

/// What a job needs to move data: channels of its own, and memory for one window.
pub(super) struct Copier {
    array: Arc<Array>,
    channels: Vec<(LegId, IoChannel<ReadWrite>)>,
    buf: Option<DmaBuf>,
}

/// What a comparison has found.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// Blocks that differ from those of the first leg, on all others together.
    pub(super) differing: u64,
    /// Legs that could not be made equal.
    pub(super) bad: Vec<(LegId, FaultReason)>,
}

/// Why a range was not copied.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum CopyError {
    /// No leg could read it.
    #[error("no base can read {}: {}", name(*.extent), why(.error.as_ref()))]
    Source {
        extent: Extent,
        error: Option<IoError>,
    },
    /// These legs could not write it, by their own fault, or went.
    #[error("bases can't write it")]
    Targets(Vec<(LegId, FaultReason)>),
    /// The I/O was refused, by nobody's fault.
    #[error("it is refused: {0}")]
    Refused(IoError),
    /// There is no memory for a window.
    #[error("there is no memory for a window: {0}")]
    NoMemory(AllocError),
}

/// The blocks of a range, for people.
fn name(extent: Extent) -> String {
    let first = extent.lba().0;
    match extent.blocks().0 {
        1 => format!("block {first}"),
        blocks => format!("blocks {first} to {}", first + (blocks - 1)),
    }
}

fn why(error: Option<&IoError>) -> String {
    error.map_or_else(
        || "there is none that can be reached".into(),
        ToString::to_string,
    )
}

impl Copier {
    pub(super) fn new(array: &Arc<Array>) -> Self {
        Self {
            array: Arc::clone(array),
            channels: Vec::new(),
            buf: None,
        }
    }

    /// Forgets channels of legs that have left, which keep their bdevs open: also before a pause.
    pub(super) fn tidy(&mut self) {
        let snapshot = self.array.published.get();
        self.keep(&snapshot);
    }

    fn keep(&mut self, snapshot: &Snapshot) {
        self.channels
            .retain(|(id, _)| snapshot.legs.iter().any(|leg| leg.id == *id));
    }

    fn channel(&mut self, leg: &Leg) -> Result<&IoChannel<ReadWrite>, ChannelError> {
        let found = self.channels.iter().position(|(id, _)| *id == leg.id);
        let at = match found {
            Some(at) => at,
            None => {
                self.channels.push((leg.id, leg.desc.channel()?));
                self.channels.len() - 1
            }
        };
        Ok(&self.channels[at].1)
    }

    /// Reads `extent` from the first leg of `from` that can, and writes it to all of `to`. It is locked.
    pub(super) async fn copy(
        &mut self,
        extent: Extent,
        from: &[LegId],
        to: &[LegId],
    ) -> Result<(), CopyError> {
        let snapshot = self.array.published.get();
        self.keep(&snapshot);
        let legs = |ids: &[LegId]| -> Vec<Leg> {
            let legs = ids
                .iter()
                .map(|id| snapshot.legs.iter().find(|leg| leg.id == *id));
            legs.flatten().cloned().collect()
        };
        let sources = legs(from);
        let mut buf = self.buffer(extent.blocks())?;
        let mut last = None;
        let mut is_read = false;
        for source in &sources {
            let (result, back) = self.read(source, extent.lba(), buf).await;
            buf = back;
            match result {
                Ok(()) => {
                    is_read = true;
                    break;
                }
                Err(error) => last = error,
            }
        }
        if !is_read {
            self.buf = Some(buf);
            return Err(CopyError::Source {
                extent,
                error: last,
            });
        }
        let mut bad = Vec::new();
        let mut refused = None;
        for id in to {
            let Some(target) = snapshot.legs.iter().find(|leg| leg.id == *id) else {
                bad.push((*id, FaultReason::Gone));
                continue;
            };
            let (result, back) = self.write(target, extent.lba(), buf).await;
            buf = back;
            match result {
                Ok(()) => {}
                Err(None) => bad.push((*id, FaultReason::NoChannel)),
                Err(Some(error)) => match verdict::of(&error, false) {
                    Verdict::Leg(reason) => bad.push((*id, reason)),
                    Verdict::Request => refused = Some(error),
                },
            }
        }
        self.buf = Some(buf);
        match refused {
            _ if !bad.is_empty() => Err(CopyError::Targets(bad)),
            Some(error) => Err(CopyError::Refused(error)),
            None => Ok(()),
        }
    }

    /// Reads `extent` from all legs in sync, and counts the blocks in which they differ from the first one that can be
    /// read; with `repair` those are written, as are ranges that can't be read. It is locked.
    pub(super) async fn compare(
        &mut self,
        extent: Extent,
        repair: bool,
    ) -> Result<Compared, CopyError> {
        let snapshot = self.array.published.get();
        self.keep(&snapshot);
        let mut compared = Compared::default();
        let mut first: Option<DmaBuf> = None;
        let mut unlike = Vec::new();
        for leg in snapshot.legs.iter().filter(|leg| leg.is_in_sync()) {
            let buf = self.buffer(extent.blocks())?;
            let (result, buf) = self.read(leg, extent.lba(), buf).await;
            match (result, &first) {
                (Err(_), _) => unlike.push(leg),
                (Ok(()), None) => {
                    first = Some(buf);
                    continue;
                }
                (Ok(()), Some(first)) => {
                    let size = self.array.block_size as usize;
                    let pairs = first.chunks(size).zip(buf.chunks(size));
                    let differing = pairs.filter(|(one, other)| one != other).count();
                    if differing != 0 {
                        compared.differing += differing as u64;
                        unlike.push(leg);
                    }
                }
            }
            self.buf = Some(buf);
        }
        let Some(mut buf) = first else {
            return Err(CopyError::Source {
                extent,
                error: None,
            });
        };
        for leg in unlike.into_iter().filter(|_| repair) {
            let (result, back) = self.write(leg, extent.lba(), buf).await;
            buf = back;
            if let Err(error) = result {
                let reason = error.map(|error| verdict::of(&error, false));
                match reason {
                    Some(Verdict::Leg(reason)) => compared.bad.push((leg.id, reason)),
                    Some(Verdict::Request) => {}
                    None => compared.bad.push((leg.id, FaultReason::NoChannel)),
                }
            }
        }
        Ok(compared)
    }

    /// A buffer of exactly as many blocks.
    pub(super) fn buffer(&mut self, blocks: Blocks) -> Result<DmaBuf, CopyError> {
        let bytes = blocks
            .bytes(self.array.block_size)
            .ok_or(CopyError::NoMemory(AllocError::Overflow))?;
        match self.buf.take() {
            Some(buf) if buf.len() as u64 == bytes.0 => Ok(buf),
            _ => {
                DmaBuf::zeroed(Bytes(bytes.0), self.array.align.max(1)).map_err(CopyError::NoMemory)
            }
        }
    }

    /// Reads from one leg; `Err(None)` if there is no channel to it.
    pub(super) async fn read(
        &mut self,
        leg: &Leg,
        lba: Lba,
        buf: DmaBuf,
    ) -> (Result<(), Option<IoError>>, DmaBuf) {
        let at = Lba(lba.0 + leg.offset);
        match self.channel(leg) {
            Ok(channel) => {
                let (result, buf) = channel.read(at, buf).await;
                (result.map_err(Some), buf)
            }
            Err(_) => (Err(None), buf),
        }
    }

    /// Writes to one leg; `Err(None)` if there is no channel to it.
    pub(super) async fn write(
        &mut self,
        leg: &Leg,
        lba: Lba,
        buf: DmaBuf,
    ) -> (Result<(), Option<IoError>>, DmaBuf) {
        let at = Lba(lba.0 + leg.offset);
        match self.channel(leg) {
            Ok(channel) => {
                let (result, buf) = channel.write(at, buf).await;
                (result.map_err(Some), buf)
            }
            Err(_) => (Err(None), buf),
        }
    }

    /// Has a leg make durable what it has.
    pub(super) async fn flush(&mut self, leg: &Leg, blocks: Blocks) -> Result<(), Option<IoError>> {
        use spdk_safe::error::IoType;
        let at = Lba(leg.offset);
        match self.channel(leg) {
            Ok(channel) if channel.supports(IoType::Flush) => {
                channel.flush(at, blocks).await.map_err(Some)
            }
            Ok(_) => Ok(()),
            Err(_) => Err(None),
        }
    }
}
