//! Copies ranges from leg to leg, on a job's thread.

use std::sync::Arc;
use std::time::Duration;

use spdk_safe::bdev::IoChannel;
use spdk_safe::env::DmaBuf;
use spdk_safe::error::{ChannelError, IoError, IoType};
use spdk_safe::prelude::ReadWrite;
use spdk_safe::units::{Blocks, Bytes, Lba};
use thiserror::Error;

use super::array::Array;
use super::lock::LOOK;
use super::rescue::{Answer, What};
use super::snapshot::{Leg, Snapshot};
use super::state::{FaultReason, LegId};
use super::verdict::{self, Verdict};
use crate::split::Extent;

/// How long it waits at most before it tries again to get a channel.
const LONGEST: Duration = Duration::from_millis(40);

/// What a job needs to move data: channels of its own, and memory.
pub(super) struct Copier {
    array: Arc<Array>,
    channels: Vec<(LegId, IoChannel<ReadWrite>)>,
    spare: Option<Window>,
    /// Legs that could not read what another one could.
    unread: Vec<(LegId, Extent, FaultReason)>,
}

/// Memory for some blocks.
pub(super) struct Window {
    pub(super) data: DmaBuf,
    /// Their metadata, if bases have that in a buffer of its own.
    pub(super) metadata: Option<DmaBuf>,
}

/// What a comparison has found.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// Blocks that differ from those of the first leg, on all others together.
    pub(super) differing: u64,
    /// Blocks that no leg could read.
    pub(super) unreadable: u64,
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
    /// By nobody's fault: there was no memory for a window or a channel, or a user's RESET aborted it. Try again.
    #[error("there is no memory for it now, or a RESET has aborted it")]
    Later,
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
            spare: None,
            unread: Vec::new(),
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

    /// Whether a RESET of a user's, and no fault of the leg, has aborted what began when `resets` had.
    fn was_reset(&self, error: Option<&IoError>, resets: Option<u64>) -> bool {
        let is_abort =
            error.is_some_and(|error| verdict::of(error, true) != verdict::of(error, false));
        is_abort && (resets.is_none() || self.array.resets.begun() != resets)
    }

    /// Sees to it that there is a channel to a leg, unless it is gone.
    fn reach(&mut self, leg: &Leg) -> Result<(), CopyError> {
        match self.channel(leg) {
            Ok(_) | Err(ChannelError::Removed { .. }) => Ok(()),
            // Requests hold all memory: that is nobody's fault.
            Err(_) => Err(CopyError::Later),
        }
    }

    /// Has channels to all legs, and so `spdk_bdev_io`s of this thread's own: before requests are parked, which may then
    /// hold all others.
    pub(super) async fn prepare(&mut self) {
        let mut wait = LOOK;
        loop {
            let snapshot = self.array.published.get();
            self.keep(&snapshot);
            let mut legs = snapshot.legs.iter();
            if legs.all(|leg| self.reach(leg).is_ok()) {
                return;
            }
            drop(snapshot);
            // SPDK's log has a line for each time.
            spdk_exec::sleep(wait).await;
            wait = (wait * 2).min(LONGEST);
        }
    }

    /// Does to one leg what a request is to do, for the first `blocks` blocks of it.
    pub(super) async fn carry_out(
        &mut self,
        leg: &Leg,
        lba: Lba,
        blocks: Blocks,
        what: What,
    ) -> (Answer, What) {
        // It has other channels of this thread, so that does not take long.
        while self.reach(leg).is_err() {
            spdk_exec::sleep(LOOK).await;
        }
        match what {
            What::Write(window) => {
                let (answer, window) = self.write_first(leg, lba, blocks, window).await;
                (answer, What::Write(window))
            }
            What::Unmap => (self.clear(leg, lba, blocks, true).await, What::Unmap),
            What::Zeroes => (self.clear(leg, lba, blocks, false).await, What::Zeroes),
        }
    }

    /// Has legs repaired, or let go of, that could not read what others could. Without a range lock.
    pub(super) fn report(&mut self) {
        for (leg, extent, reason) in self.unread.drain(..) {
            match reason {
                FaultReason::Gone => self.array.report(leg, reason),
                _ => self.array.repair(leg, extent),
            }
        }
    }

    /// Reads `extent` from the first leg of `from` that can, and writes it to all of `to`. It is locked.
    ///
    /// If none can read all of it, each of its blocks may still be readable somewhere: it is cut until that is known.
    pub(super) async fn copy(
        &mut self,
        extent: Extent,
        from: &[LegId],
        to: &[LegId],
    ) -> Result<(), CopyError> {
        let mut parts = vec![extent];
        while let Some(part) = parts.pop() {
            match (self.copy_part(part, from, to).await, part.halves()) {
                (Err(CopyError::Source { error: Some(_), .. }), Some((first, second))) => {
                    parts.extend([second, first]);
                }
                (copied, _) => copied?,
            }
        }
        Ok(())
    }

    async fn copy_part(
        &mut self,
        extent: Extent,
        from: &[LegId],
        to: &[LegId],
    ) -> Result<(), CopyError> {
        let snapshot = self.array.published.get();
        self.keep(&snapshot);
        let find = |id: &LegId| snapshot.legs.iter().find(|leg| leg.id == *id);
        for target in to.iter().filter_map(find) {
            self.reach(target)?;
        }
        let resets = self.array.resets.begun();
        let mut later = false;
        let mut window = self.window(extent.blocks())?;
        let mut last = None;
        let mut is_read = false;
        let mut unread = Vec::new();
        for source in from.iter().filter_map(find) {
            if self.reach(source).is_err() {
                later = true;
                continue;
            }
            let (result, back) = self.read(source, extent.lba(), window).await;
            window = back;
            match result {
                Ok(()) => {
                    is_read = true;
                    break;
                }
                Err(error) if self.was_reset(error.as_ref(), resets) => later = true,
                Err(Some(error)) => {
                    if let Verdict::Leg(reason) = verdict::of(&error, false) {
                        unread.push((source.id, extent, reason));
                    }
                    last = Some(error);
                }
                Err(None) => {}
            }
        }
        self.array.counters.read_errors.add(unread.len() as u64);
        if !is_read {
            self.spare = Some(window);
            return Err(match later {
                true => CopyError::Later,
                false => CopyError::Source {
                    extent,
                    error: last,
                },
            });
        }
        self.unread.append(&mut unread);
        let mut bad = Vec::new();
        let mut refused = None;
        later = false;
        for id in to {
            let Some(target) = find(id) else {
                bad.push((*id, FaultReason::Gone));
                continue;
            };
            let (result, back) = self.write(target, extent.lba(), window).await;
            window = back;
            match result {
                Ok(()) => {}
                Err(None) => bad.push((*id, FaultReason::NoChannel)),
                Err(error) if self.was_reset(error.as_ref(), resets) => later = true,
                Err(Some(error)) => match verdict::of(&error, false) {
                    Verdict::Leg(reason) => bad.push((*id, reason)),
                    Verdict::Request => refused = Some(error),
                },
            }
        }
        self.spare = Some(window);
        match refused {
            _ if !bad.is_empty() => Err(CopyError::Targets(bad)),
            _ if later => Err(CopyError::Later),
            Some(error) => Err(CopyError::Refused(error)),
            None => Ok(()),
        }
    }

    /// Reads `extent` from all legs in sync, and counts the blocks in which they differ from the first one that can be
    /// read; with `repair` those are written, as are blocks that can't be read. It is locked.
    pub(super) async fn compare(
        &mut self,
        extent: Extent,
        repair: bool,
    ) -> Result<Compared, CopyError> {
        let mut compared = Compared::default();
        let mut parts = vec![extent];
        while let Some(part) = parts.pop() {
            let is_whole = self.compare_part(part, repair, &mut compared).await?;
            if let (false, Some((first, second))) = (is_whole, part.halves()) {
                parts.extend([second, first]);
            }
        }
        Ok(compared)
    }

    /// False if a leg could not read all of it, and there is more than one block to look at: then it was not compared.
    async fn compare_part(
        &mut self,
        extent: Extent,
        repair: bool,
        compared: &mut Compared,
    ) -> Result<bool, CopyError> {
        let snapshot = self.array.published.get();
        self.keep(&snapshot);
        let resets = self.array.resets.begun();
        let mut first: Option<Window> = None;
        let (mut unlike, mut differing, mut unread) = (Vec::new(), 0, 0);
        for leg in snapshot.legs.iter().filter(|leg| leg.is_in_sync()) {
            self.reach(leg)?;
            let window = self.window(extent.blocks())?;
            let (result, window) = self.read(leg, extent.lba(), window).await;
            match (result, &first) {
                (Err(None), _) => {}
                (Err(error), _) if self.was_reset(error.as_ref(), resets) => {
                    return Err(CopyError::Later);
                }
                (Err(Some(error)), _) => match verdict::of(&error, false) {
                    Verdict::Leg(FaultReason::Gone) => {
                        self.unread.push((leg.id, extent, FaultReason::Gone));
                    }
                    _ if extent.blocks().0 > 1 => {
                        self.spare = Some(window);
                        return Ok(false);
                    }
                    _ => {
                        unread += 1;
                        unlike.push(leg);
                    }
                },
                (Ok(()), None) => {
                    first = Some(window);
                    continue;
                }
                (Ok(()), Some(first)) => {
                    let count = self.differing(first, &window);
                    if count != 0 {
                        differing += count;
                        unlike.push(leg);
                    }
                }
            }
            self.spare = Some(window);
        }
        self.array.counters.read_errors.add(unread);
        compared.differing += differing;
        let Some(mut window) = first else {
            if unread == 0 {
                return Err(CopyError::Source {
                    extent,
                    error: None,
                });
            }
            log::error!(
                "raid1 {:?}: no base can read {}",
                self.array.name,
                name(extent)
            );
            compared.unreadable += 1;
            return Ok(true);
        };
        for leg in unlike.into_iter().filter(|_| repair) {
            let (result, back) = self.write(leg, extent.lba(), window).await;
            window = back;
            if let Err(error) = result {
                if self.was_reset(error.as_ref(), resets) {
                    return Err(CopyError::Later);
                }
                let reason = error.map(|error| verdict::of(&error, false));
                match reason {
                    Some(Verdict::Leg(reason)) => compared.bad.push((leg.id, reason)),
                    Some(Verdict::Request) => {}
                    None => compared.bad.push((leg.id, FaultReason::NoChannel)),
                }
            }
        }
        Ok(true)
    }

    /// How many blocks differ, in their data or metadata.
    fn differing(&self, one: &Window, other: &Window) -> u64 {
        let size = self.array.block_size as usize;
        let data = one.data.chunks(size).zip(other.data.chunks(size));
        let differ = |(one, other): (&[u8], &[u8])| one != other;
        let count = match (&one.metadata, &other.metadata) {
            (Some(one), Some(other)) => {
                let size = self.array.separate_metadata as usize;
                let metadata = one.chunks(size).zip(other.chunks(size));
                data.zip(metadata)
                    .filter(|(data, metadata)| differ(*data) || differ(*metadata))
                    .count()
            }
            _ => data.filter(|data| differ(*data)).count(),
        };
        count as u64
    }

    /// Memory for exactly as many blocks.
    fn window(&mut self, blocks: Blocks) -> Result<Window, CopyError> {
        let buffer = |size: u32| {
            let bytes = blocks.bytes(size);
            let bytes = bytes.ok_or(CopyError::Later)?;
            DmaBuf::zeroed(Bytes(bytes.0), self.array.align.max(1)).map_err(|_| CopyError::Later)
        };
        let size = self.array.block_size;
        let bytes = blocks.bytes(size).map(|bytes| bytes.0);
        match self.spare.take() {
            Some(window) if Some(window.data.len() as u64) == bytes => Ok(window),
            _ => Ok(Window {
                data: buffer(size)?,
                metadata: match self.array.separate_metadata {
                    0 => None,
                    size => Some(buffer(size)?),
                },
            }),
        }
    }

    /// Reads from one leg; `Err(None)` if there is no channel to it.
    async fn read(
        &mut self,
        leg: &Leg,
        lba: Lba,
        window: Window,
    ) -> (Result<(), Option<IoError>>, Window) {
        let at = Lba(lba.0 + leg.offset);
        let Ok(channel) = self.channel(leg) else {
            return (Err(None), window);
        };
        let Window { data, metadata } = window;
        let (result, data, metadata) = match metadata {
            None => {
                let (result, data) = channel.read(at, data).await;
                (result, data, None)
            }
            Some(metadata) => {
                let (result, data, metadata) = channel.read_with_md(at, data, metadata).await;
                (result, data, Some(metadata))
            }
        };
        (result.map_err(Some), Window { data, metadata })
    }

    /// Writes to one leg; `Err(None)` if there is no channel to it.
    async fn write(
        &mut self,
        leg: &Leg,
        lba: Lba,
        window: Window,
    ) -> (Result<(), Option<IoError>>, Window) {
        let at = Lba(lba.0 + leg.offset);
        let Ok(channel) = self.channel(leg) else {
            return (Err(None), window);
        };
        let Window { data, metadata } = window;
        let (result, data, metadata) = match metadata {
            None => {
                let (result, data) = channel.write(at, data).await;
                (result, data, None)
            }
            Some(metadata) => {
                let (result, data, metadata) = channel.write_with_md(at, data, metadata).await;
                (result, data, Some(metadata))
            }
        };
        (result.map_err(Some), Window { data, metadata })
    }

    /// Writes the first `blocks` blocks of a window.
    async fn write_first(
        &mut self,
        leg: &Leg,
        lba: Lba,
        blocks: Blocks,
        window: Window,
    ) -> (Answer, Window) {
        let first = |buffer: &DmaBuf, size: u32| {
            let len = blocks.0 as usize * size as usize;
            let mut first = DmaBuf::zeroed(Bytes(len as u64), self.array.align.max(1)).ok()?;
            first.copy_from_slice(buffer.get(..len)?);
            Some(first)
        };
        let size = u64::from(self.array.block_size);
        if blocks.0 * size >= window.data.len() as u64 {
            return self.write(leg, lba, window).await;
        }
        let part = loop {
            let data = first(&window.data, self.array.block_size);
            let metadata = window.metadata.as_ref();
            let metadata = metadata.map(|data| first(data, self.array.separate_metadata));
            match (data, metadata) {
                (Some(data), None) => {
                    break Window {
                        data,
                        metadata: None,
                    };
                }
                (Some(data), Some(Some(metadata))) => {
                    break Window {
                        data,
                        metadata: Some(metadata),
                    };
                }
                _ => spdk_exec::sleep(LOOK).await,
            }
        };
        (self.write(leg, lba, part).await.0, window)
    }

    /// Unmaps blocks of a leg, or makes them zeroes.
    async fn clear(&mut self, leg: &Leg, lba: Lba, blocks: Blocks, unmap: bool) -> Answer {
        let at = Lba(lba.0 + leg.offset);
        let channel = self.channel(leg).map_err(|_| None)?;
        let cleared = match unmap && channel.supports(IoType::Unmap) {
            true => channel.unmap(at, blocks).await,
            false => channel.write_zeroes(at, blocks).await,
        };
        cleared.map_err(Some)
    }

    /// Has a leg make durable what it has.
    pub(super) async fn flush(&mut self, leg: &Leg, blocks: Blocks) -> Result<(), Option<IoError>> {
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
