//! What a ramdisk holds: shards of memory, which are there once something was written to them.
//!
//! A shard that is not there reads as zeroes and is a hole. Shards lie in stripes, each with a lock of its own, so that
//! threads that work on different parts seldom meet. What has to be one step (a compare-and-write) keeps all others out.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use spdk_safe::module::{DataError, DataView};
use spdk_safe::units::Bytes;

/// Bytes in a shard: a multiple of every block size.
pub(super) const SHARD: u64 = 64 * 1024;
const STRIPES: u64 = 16;
/// Bytes that go through the stack at a time.
const SCRATCH: usize = 4096;

type Shards = BTreeMap<u64, Box<[u8]>>;

#[derive(Default)]
pub(super) struct Memory {
    stripes: [Mutex<Shards>; STRIPES as usize],
    /// Read by what may be done in pieces, written by what may not.
    whole: RwLock<()>,
}

/// Why something was not done.
pub(super) enum Failure {
    /// There is no memory for a shard.
    NoRoom,
    /// The request's memory is not what it should be.
    Data,
}

impl From<DataError> for Failure {
    fn from(_: DataError) -> Self {
        Self::Data
    }
}

/// A part of a range that lies in one shard.
struct Part {
    shard: u64,
    /// Within the shard.
    from: usize,
    len: usize,
    /// Bytes of the range before it.
    done: u64,
}

/// The parts of `len` bytes from byte `at` on.
fn parts(at: u64, len: u64) -> impl Iterator<Item = Part> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let (shard, from) = ((at + done) / SHARD, (at + done) % SHARD);
        let here = (SHARD - from).min(len - done);
        let part = Part {
            shard,
            from: from as usize,
            len: here as usize,
            done,
        };
        done += here;
        (here != 0).then_some(part)
    })
}

impl Memory {
    fn stripe(&self, shard: u64) -> MutexGuard<'_, Shards> {
        let stripe = &self.stripes[(shard % STRIPES) as usize];
        stripe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_pieces<T>(&self, work: impl FnOnce() -> T) -> T {
        let _shared = self.whole.read().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    fn in_one_step<T>(&self, work: impl FnOnce() -> T) -> T {
        let _alone = self.whole.write().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    /// Fills the first `len` bytes of `view` with what is at `at`.
    pub(super) fn read(&self, at: u64, len: u64, view: &DataView<'_>) -> Result<(), Failure> {
        self.in_pieces(|| {
            for part in parts(at, len) {
                match self.stripe(part.shard).get(&part.shard) {
                    Some(bytes) => {
                        view.copy_from(Bytes(part.done), &bytes[part.from..][..part.len])?
                    }
                    None => view.fill(Bytes(part.done), Bytes(part.len as u64), 0)?,
                }
            }
            Ok(())
        })
    }

    /// Takes over the first `len` bytes of `view`.
    pub(super) fn write(&self, at: u64, len: u64, view: &DataView<'_>) -> Result<(), Failure> {
        self.in_pieces(|| self.put(at, len, view))
    }

    fn put(&self, at: u64, len: u64, view: &DataView<'_>) -> Result<(), Failure> {
        for part in parts(at, len) {
            self.change(&part, |bytes| Ok(view.copy_to(Bytes(part.done), bytes)?))?;
        }
        Ok(())
    }

    /// Has `change` change a part, which is there then.
    fn change(
        &self,
        part: &Part,
        change: impl FnOnce(&mut [u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut shards = self.stripe(part.shard);
        let bytes = match shards.entry(part.shard) {
            Entry::Occupied(shard) => shard.into_mut(),
            Entry::Vacant(hole) => {
                let size = SHARD as usize;
                let mut bytes = Vec::new();
                let room = bytes.try_reserve_exact(size);
                room.map_err(|_| Failure::NoRoom)?;
                bytes.resize(size, 0);
                hole.insert(bytes.into_boxed_slice())
            }
        };
        change(&mut bytes[part.from..][..part.len])
    }

    /// Makes bytes zeroes. Shards that are all in the range are given back.
    pub(super) fn zero(&self, at: u64, len: u64) {
        self.in_pieces(|| {
            for part in parts(at, len) {
                let mut shards = self.stripe(part.shard);
                if part.len as u64 == SHARD {
                    shards.remove(&part.shard);
                } else if let Some(bytes) = shards.get_mut(&part.shard) {
                    bytes[part.from..][..part.len].fill(0);
                }
            }
        });
    }

    /// Whether what is at `at` is what is in the first `len` bytes of `view`.
    pub(super) fn equals(&self, at: u64, len: u64, view: &DataView<'_>) -> Result<bool, Failure> {
        self.in_pieces(|| self.is_equal(at, len, view))
    }

    fn is_equal(&self, at: u64, len: u64, view: &DataView<'_>) -> Result<bool, Failure> {
        let mut scratch = [0; SCRATCH];
        for part in parts(at, len) {
            let shards = self.stripe(part.shard);
            let bytes = shards.get(&part.shard);
            let mut from = 0;
            while from < part.len {
                let theirs = &mut scratch[..SCRATCH.min(part.len - from)];
                view.copy_to(Bytes(part.done + from as u64), theirs)?;
                let is_equal = match bytes {
                    Some(bytes) => bytes[part.from + from..][..theirs.len()] == *theirs,
                    None => theirs.iter().all(|&byte| byte == 0),
                };
                if !is_equal {
                    return Ok(false);
                }
                from += theirs.len();
            }
        }
        Ok(true)
    }

    /// Takes over the first `len` bytes of `write` if `compare` is what is there. Whether it was.
    pub(super) fn compare_and_write(
        &self,
        at: u64,
        len: u64,
        compare: &DataView<'_>,
        write: &DataView<'_>,
    ) -> Result<bool, Failure> {
        self.in_one_step(|| {
            if !self.is_equal(at, len, compare)? {
                return Ok(false);
            }
            self.put(at, len, write)?;
            Ok(true)
        })
    }

    /// Copies bytes, also where the two ranges overlap.
    pub(super) fn copy(&self, from: u64, to: u64, len: u64) -> Result<(), Failure> {
        self.in_one_step(|| {
            let mut scratch = [0; SCRATCH];
            let mut done = 0;
            while done < len {
                let here = (len - done).min(SCRATCH as u64);
                // What will be written over is read before.
                let skip = if to <= from { done } else { len - done - here };
                let bytes = &mut scratch[..here as usize];
                self.get(from + skip, bytes);
                for part in parts(to + skip, here) {
                    let source = &bytes[part.done as usize..][..part.len];
                    self.change(&part, |bytes| {
                        bytes.copy_from_slice(source);
                        Ok(())
                    })?;
                }
                done += here;
            }
            Ok(())
        })
    }

    fn get(&self, at: u64, into: &mut [u8]) {
        for part in parts(at, into.len() as u64) {
            let into = &mut into[part.done as usize..][..part.len];
            match self.stripe(part.shard).get(&part.shard) {
                Some(bytes) => into.copy_from_slice(&bytes[part.from..][..part.len]),
                None => into.fill(0),
            }
        }
    }

    /// The byte at `at`.
    pub(super) fn byte(&self, at: u64) -> u8 {
        let mut byte = [0];
        self.get(at, &mut byte);
        byte[0]
    }

    /// Inverts the byte at `at`.
    pub(super) fn flip(&self, at: u64) -> Result<(), Failure> {
        let part = parts(at, 1).next().ok_or(Failure::Data)?;
        self.change(&part, |bytes| {
            bytes[0] = !bytes[0];
            Ok(())
        })
    }

    /// The first byte from `at` on that is in a shard which is there, and before `end`.
    pub(super) fn data_from(&self, at: u64, end: u64) -> Option<u64> {
        let first = at / SHARD;
        let next = |stripe: &Mutex<Shards>| {
            let shards = stripe.lock().unwrap_or_else(PoisonError::into_inner);
            shards.range(first..).next().map(|(&shard, _)| shard)
        };
        let found = self.stripes.iter().filter_map(next).min()?;
        let found = at.max(found * SHARD);
        (found < end).then_some(found)
    }

    /// The first byte from `at` on that is in no shard, and before `end`.
    pub(super) fn hole_from(&self, at: u64, end: u64) -> Option<u64> {
        let mut shard = at / SHARD;
        while shard * SHARD < end && self.stripe(shard).contains_key(&shard) {
            shard += 1;
        }
        let found = at.max(shard * SHARD);
        (found < end).then_some(found)
    }

    /// Gives back what is at `end` and behind it.
    pub(super) fn truncate(&self, end: u64) {
        self.in_one_step(|| {
            let (whole, rest) = (end.div_ceil(SHARD), end % SHARD);
            for stripe in &self.stripes {
                let mut shards = stripe.lock().unwrap_or_else(PoisonError::into_inner);
                drop(shards.split_off(&whole));
            }
            if rest != 0 {
                if let Some(bytes) = self.stripe(end / SHARD).get_mut(&(end / SHARD)) {
                    bytes[rest as usize..].fill(0);
                }
            }
        });
    }

    /// How much memory it has.
    pub(super) fn used(&self) -> Bytes {
        let count =
            |stripe: &Mutex<Shards>| stripe.lock().unwrap_or_else(PoisonError::into_inner).len();
        Bytes(self.stripes.iter().map(count).sum::<usize>() as u64 * SHARD)
    }
}
