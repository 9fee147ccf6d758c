//! What may be in each block: a history of writes, and which of them a read may see.
//!
//! Each block of each write is a value of its own, which fills the block. A write is *over* when it was acknowledged,
//! failed, or its data came back; it is *gone* when a write that was acknowledged began after it was over. A read may
//! see what was begun before the read was over, and was not gone when the read began.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

/// How many blocks were looked at.
pub(crate) static SEEN: AtomicUsize = AtomicUsize::new(0);

/// Bytes in a block.
pub(crate) const BLOCK: usize = 512;

/// One life of a disk, from its creation to its removal.
pub(crate) type Disk = u32;

#[derive(Debug, Clone)]
struct Entry {
    value: u64,
    id: u64,
    over: Option<u64>,
    gone: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Write {
    disk: Disk,
    lba: u64,
    blocks: u64,
    begun: u64,
    /// Of a copy.
    from: Option<u64>,
    is_over: bool,
}

/// The history of a case.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    now: u64,
    disks: HashMap<Disk, Vec<Vec<Entry>>>,
    names: HashMap<Disk, &'static str>,
    /// Disks on which I/O may fail.
    disturbed: Vec<Disk>,
    writes: Vec<Write>,
    /// Writes of earlier cases, some of which may still be told of.
    before: u64,
    /// What was wrong.
    failures: Vec<String>,
    /// No disk is removed while I/O is in flight.
    pub(crate) may_lock: bool,
    /// Several OS threads: what one reads while another writes may be some of both.
    torn: bool,
}

static ORACLE: Mutex<Option<Oracle>> = Mutex::new(None);

/// The oracle of the case that runs.
pub(crate) struct The(MutexGuard<'static, Option<Oracle>>);

impl std::ops::Deref for The {
    type Target = Oracle;
    fn deref(&self) -> &Oracle {
        self.0.as_ref().expect("a case runs")
    }
}

impl std::ops::DerefMut for The {
    fn deref_mut(&mut self) -> &mut Oracle {
        self.0.as_mut().expect("a case runs")
    }
}

/// The oracle. Not to be kept across a call into the library.
pub(crate) fn oracle() -> The {
    let mut guard = ORACLE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    guard.get_or_insert_default();
    The(guard)
}

/// The value that block `lba` of write `id` has.
pub(crate) fn value(id: u64, lba: u64) -> u64 {
    (id << 16) | lba
}

impl Oracle {
    /// Begins a case.
    pub(crate) fn reset(&mut self, torn: bool) {
        *self = Self {
            torn,
            before: self.next_id() - 1,
            ..Self::default()
        };
    }

    fn next_id(&self) -> u64 {
        self.before + self.writes.len() as u64 + 1
    }

    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    /// A new disk of zeroes.
    pub(crate) fn create(&mut self, blocks: u64, name: &'static str) -> Disk {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
        let disk = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let begun = self.tick();
        let zero = Entry {
            value: 0,
            id: u64::MAX,
            over: Some(begun),
            gone: None,
        };
        self.disks.insert(disk, vec![vec![zero]; blocks as usize]);
        self.names.insert(disk, name);
        disk
    }

    /// From now on I/O on `disk` may fail: somebody injects errors, resets it, aborts, or removes it.
    pub(crate) fn disturb(&mut self, disk: Disk) {
        if !self.disturbed.contains(&disk) {
            self.disturbed.push(disk);
        }
    }

    pub(crate) fn is_disturbed(&self, disk: Disk) -> bool {
        self.disturbed.contains(&disk)
    }

    pub(crate) fn name(&self, disk: Disk) -> &'static str {
        self.names.get(&disk).copied().unwrap_or("an earlier disk")
    }

    pub(crate) fn fail(&mut self, what: String) {
        if self.failures.len() < 8 {
            self.failures.push(what);
        }
    }

    pub(crate) fn failures(&self) -> &[String] {
        &self.failures
    }

    /// A write begins; what it writes is `value(id, lba)`, or zeroes.
    pub(crate) fn write(&mut self, disk: Disk, lba: u64, blocks: u64, zeroes: bool) -> u64 {
        let (begun, id) = (self.tick(), self.next_id());
        self.writes.push(Write {
            disk,
            lba,
            blocks,
            begun,
            from: None,
            is_over: false,
        });
        for lba in lba..lba.saturating_add(blocks) {
            let value = if zeroes { 0 } else { value(id, lba) };
            self.add(disk, lba, value, id);
        }
        id
    }

    /// A copy begins.
    pub(crate) fn copy(&mut self, disk: Disk, lba: u64, from: u64, blocks: u64) -> u64 {
        let (begun, id) = (self.tick(), self.next_id());
        self.writes.push(Write {
            disk,
            lba,
            blocks,
            begun,
            from: Some(from),
            is_over: false,
        });
        for at in 0..blocks {
            let Some(entries) = self.entries(disk, from + at) else {
                continue;
            };
            let values: Vec<u64> = entries
                .iter()
                .filter(|e| e.gone.is_none())
                .map(|e| e.value)
                .collect();
            for value in values {
                self.add(disk, lba + at, value, id);
            }
        }
        id
    }

    fn entries(&mut self, disk: Disk, lba: u64) -> Option<&mut Vec<Entry>> {
        self.disks
            .get_mut(&disk)?
            .get_mut(usize::try_from(lba).ok()?)
    }

    /// From now on `value` may be in a block, and where a copy takes it.
    fn add(&mut self, disk: Disk, lba: u64, value: u64, id: u64) {
        let Some(entries) = self.entries(disk, lba) else {
            return;
        };
        if entries.iter().any(|e| e.value == value && e.id == id) {
            return;
        }
        entries.push(Entry {
            value,
            id,
            over: None,
            gone: None,
        });
        let copies: Vec<(u64, u64)> = (self.before + 1..)
            .zip(&self.writes)
            .filter(|(_, w)| !w.is_over && w.disk == disk)
            .filter_map(|(id, w)| {
                let at = lba.checked_sub(w.from?)?;
                (at < w.blocks).then_some((id, w.lba + at))
            })
            .collect();
        for (id, to) in copies {
            self.add(disk, to, value, id);
        }
    }

    fn find(&mut self, id: u64) -> Option<&mut Write> {
        let at = id.checked_sub(self.before + 1)?;
        self.writes.get_mut(at as usize)
    }

    /// The write is over: it was done, or in part, or not at all.
    pub(crate) fn over(&mut self, id: u64) {
        let Some(write) = self.find(id) else { return };
        if std::mem::replace(&mut write.is_over, true) {
            return;
        }
        let write = *write;
        let now = self.tick();
        for lba in write.lba..write.lba.saturating_add(write.blocks) {
            for entry in self.entries(write.disk, lba).into_iter().flatten() {
                if entry.id == id && entry.over.is_none() {
                    entry.over = Some(now);
                }
            }
        }
    }

    /// The write was acknowledged.
    pub(crate) fn done(&mut self, id: u64) {
        let Some(&mut write) = self.find(id) else {
            return;
        };
        self.over(id);
        let now = self.tick();
        for lba in write.lba..write.lba.saturating_add(write.blocks) {
            for entry in self.entries(write.disk, lba).into_iter().flatten() {
                let before = entry.over.is_some_and(|over| over < write.begun);
                if entry.id != id && before && entry.gone.is_none() {
                    entry.gone = Some(now);
                }
            }
        }
    }

    /// The write did not happen.
    pub(crate) fn undone(&mut self, id: u64) {
        let Some(&mut write) = self.find(id) else {
            return;
        };
        self.over(id);
        for entries in self.disks.get_mut(&write.disk).into_iter().flatten() {
            entries.retain(|entry| entry.value >> 16 != id);
        }
    }

    /// Nothing is in flight on `disk` any more.
    pub(crate) fn all_over(&mut self, disk: Disk) {
        let ids = (self.before + 1..)
            .zip(&self.writes)
            .filter(|(_, w)| w.disk == disk && !w.is_over);
        for id in ids.map(|(id, _)| id).collect::<Vec<_>>() {
            self.over(id);
        }
    }

    /// A read begins.
    pub(crate) fn read(&mut self) -> u64 {
        self.tick()
    }

    /// Whether `value` may have been in a block since `since`.
    fn may_be(&mut self, disk: Disk, lba: u64, since: u64, value: u64) -> bool {
        let Some(entries) = self.entries(disk, lba) else {
            return false;
        };
        entries
            .iter()
            .any(|e| e.value == value && e.gone.is_none_or(|gone| gone >= since))
    }

    /// A read that began at `since` found `data`.
    pub(crate) fn found(&mut self, what: &str, disk: Disk, lba: u64, since: u64, data: &[u8]) {
        self.tick();
        for (at, block) in data.chunks(BLOCK).enumerate() {
            SEEN.fetch_add(1, Ordering::Relaxed);
            let lba = lba + at as u64;
            let words: Vec<u64> = block
                .chunks(8)
                .map(|w| u64::from_le_bytes(w.try_into().unwrap()))
                .collect();
            let torn = words.iter().any(|word| *word != words[0]);
            if torn && !self.torn {
                self.fail(format!(
                    "{what}: block {lba} of disk {disk} is torn: {words:x?}"
                ));
                continue;
            }
            for word in if torn { &words[..] } else { &words[..1] } {
                if !self.may_be(disk, lba, since, *word) {
                    let may = self.entries(disk, lba).cloned();
                    self.fail(format!(
                        "{what}: block {lba} of disk {disk} holds {word:#x} at {since}, not one of {may:x?}"
                    ));
                    break;
                }
            }
        }
    }

    /// A comparison with the value of write `id` ended.
    pub(crate) fn compared(&mut self, disk: Disk, lba: u64, since: u64, with: u64, is_equal: bool) {
        self.tick();
        let others = match self.entries(disk, lba) {
            Some(entries) => entries
                .iter()
                .any(|e| e.value != with && e.gone.is_none_or(|gone| gone >= since)),
            None => true,
        };
        if is_equal && !self.may_be(disk, lba, since, with) {
            self.fail(format!(
                "block {lba} of disk {disk} is said to hold {with:#x}"
            ));
        }
        if !is_equal && !others {
            self.fail(format!(
                "block {lba} of disk {disk} is said not to hold {with:#x}"
            ));
        }
    }

    /// Something that may be in the block, for a comparison that has a chance.
    pub(crate) fn guess(&mut self, disk: Disk, lba: u64) -> u64 {
        let entries = self.entries(disk, lba);
        entries.and_then(|e| e.last()).map_or(0, |e| e.value)
    }
}

/// A block that is full of `value`.
pub(crate) fn fill(block: &mut [u8], value: u64) {
    for word in block.chunks_mut(8) {
        word.copy_from_slice(&value.to_le_bytes()[..word.len()]);
    }
}

/// An oracle that finds nothing wrong must be one that would have.
mod controls {
    use super::{BLOCK, Oracle, fill, value};

    /// A disk with one write that was acknowledged.
    fn written() -> (Oracle, u32, u64) {
        let mut oracle = Oracle::default();
        let disk = oracle.create(2, "control");
        let id = oracle.write(disk, 0, 2, false);
        oracle.done(id);
        (oracle, disk, id)
    }

    fn block(value: u64) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        fill(&mut block, value);
        block
    }

    fn is_seen(mut oracle: Oracle, disk: u32, data: &[u8]) -> bool {
        let since = oracle.read();
        oracle.found("a control", disk, 0, since, data);
        !oracle.failures().is_empty()
    }

    #[test]
    fn control_what_was_written_is_right() {
        let (oracle, disk, id) = written();
        let data = [block(value(id, 0)), block(value(id, 1))].concat();
        assert!(!is_seen(oracle, disk, &data));
    }

    #[test]
    fn control_a_lost_write_is_seen() {
        let (oracle, disk, _) = written();
        assert!(is_seen(oracle, disk, &block(0)));
    }

    #[test]
    fn control_a_write_that_went_to_another_block_is_seen() {
        let (oracle, disk, id) = written();
        assert!(is_seen(oracle, disk, &block(value(id, 1))));
    }

    #[test]
    fn control_a_torn_block_is_seen() {
        let (mut oracle, disk, id) = written();
        let again = oracle.write(disk, 0, 1, false);
        let mut torn = block(value(id, 0));
        torn[..BLOCK / 2].copy_from_slice(&block(value(again, 0))[..BLOCK / 2]);
        assert!(is_seen(oracle, disk, &torn));
    }

    #[test]
    fn control_memory_that_was_let_go_of_too_early_is_seen() {
        let (oracle, disk, _) = written();
        // What `Tracked` leaves behind.
        assert!(is_seen(oracle, disk, &[0xdb; BLOCK]));
    }

    #[test]
    fn control_a_stale_read_is_seen() {
        let (mut oracle, disk, id) = written();
        let newer = oracle.write(disk, 0, 1, false);
        oracle.done(newer);
        assert!(is_seen(oracle, disk, &block(value(id, 0))));
    }
}
