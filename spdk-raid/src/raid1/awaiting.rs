//! Arrays that wait for their bases.
//!
//! ```text
//!   (asked for) ──── 1 ───► (array)
//!        │                    ▲
//!        │ 2                  │ 4
//!        ▼                    │
//!     Waiting ──── 3 ────► Waiting, with all bases that it needs
//!        │  ▲                 │
//!        │  └────── 5 ────────┘
//!        └─ 6 ─► (deleted)
//!   1: create, all bases are there   2: create, some are not   3: examine; remove, of one that is not there   4: assemble
//!   5: assemble failed, or a base went   6: delete
//! ```
//!
//! A base that is there is opened and claimed at once, in its examination: it holds what was written through the array,
//! and whoever knows that by its looks (a store of logical volumes) would take the base for its own otherwise.
//!
//! A base can be taken away: its place is then one that the array begins without. None can be added: those that an array
//! begins with count as in sync, and what comes later has to be filled, which takes an array that works.
//!
//! The list is that of the app thread. It is borrowed for single looks, never across a call.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use spdk_safe::app::{self, Spdk};
use spdk_safe::bdev::{self, BdevEvent, BdevEvents, BdevInfo};
use spdk_safe::error::{OpenError, ThreadError};
use spdk_safe::thread;

use super::bases::Base;
use super::error::{ChangeError, CreateError};
use super::handle::{Raid1, Raid1Builder};
use super::layout::{Layout, LayoutError};
use super::list;
use super::options::Options;

spdk_safe::thread_storage! {
    static WAITING: RefCell<Waiting> = RefCell::default();
}

#[derive(Default)]
struct Waiting {
    next_id: u64,
    entries: Vec<Entry>,
}

struct Entry {
    /// Tells it from a later one of the same name.
    id: u64,
    asked: Raid1Builder,
    /// By their places.
    bases: Vec<Option<Base>>,
    /// Why it could not be assembled, or a base could not be had.
    last_error: Option<CreateError>,
    /// Its bases are somewhere else, for a moment.
    is_busy: bool,
}

/// When an array is to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// When all bases that are named are there.
    WhenAllAreThere,
    /// Now, with those that are there.
    Now,
}

/// An array that waits, as it was when somebody looked.
pub(super) struct Awaiting {
    pub(super) asked: Raid1Builder,
    /// Those that are there, by their places.
    pub(super) bases: Vec<Option<BdevInfo>>,
    pub(super) last_error: Option<CreateError>,
}

/// Looks at the list; a default answer where there is none, such as at the end of the app.
fn with<R: Default>(look: impl FnOnce(&mut Waiting) -> R) -> R {
    let looked: Result<R, ThreadError> = WAITING.with(|waiting| look(&mut waiting.borrow_mut()));
    looked.unwrap_or_default()
}

impl Waiting {
    fn by_id(&mut self, id: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.id == id)
    }

    fn by_name(&mut self, name: &str) -> Option<&mut Entry> {
        let mut entries = self.entries.iter_mut();
        entries.find(|entry| entry.asked.name == name)
    }

    fn take(&mut self, id: u64) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| entry.id == id)?;
        Some(self.entries.remove(at))
    }

    fn add(&mut self, asked: Raid1Builder, bases: Vec<Option<Base>>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.entries.push(Entry {
            id,
            asked,
            bases,
            last_error: None,
            is_busy: false,
        });
        id
    }
}

/// Creates an array, or notes that it is to come when its bases do: `None`.
pub(super) async fn create(
    spdk: &Spdk,
    asked: Raid1Builder,
    start: Start,
) -> Result<Option<Raid1>, CreateError> {
    asked.check()?;
    if is_taken(spdk, &asked.name) {
        return Err(CreateError::Exists { array: asked.name });
    }
    let mut bases = no_bases(asked.bases.len());
    // What is had so far is free again when this returns an error.
    fill(spdk, &asked, &mut bases)?;
    let is_complete = is_complete(&asked, &bases);
    if is_complete || start == Start::Now {
        if bases.iter().all(Option::is_none) {
            return Err(CreateError::NoBase { array: asked.name });
        }
        return asked.assemble(spdk, by_place(bases)).await.map(Some);
    }
    log::info!(
        "raid1 {:?} comes when its bases do: {}",
        asked.name,
        absent(&asked, &bases).join(", ")
    );
    let slots: Vec<_> = (0..bases.len()).collect();
    let id = with(|waiting| Some(waiting.add(asked, bases)));
    if let Some(id) = id {
        follow_all(id, &slots);
    }
    Ok(None)
}

/// Whether something has that name.
fn is_taken(spdk: &Spdk, name: &str) -> bool {
    let waits = with(|waiting| waiting.entries.iter().any(|entry| entry.asked.name == name));
    waits || list::find(name).is_some() || matches!(bdev::find(spdk, name), Ok(Some(_)))
}

/// Whether all places that have a name have their base.
fn is_complete(asked: &Raid1Builder, bases: &[Option<Base>]) -> bool {
    let mut places = asked.bases.iter().zip(bases);
    places.all(|(name, base)| name.is_none() || base.is_some())
}

fn absent(asked: &Raid1Builder, bases: &[Option<Base>]) -> Vec<String> {
    let places = asked.bases.iter().zip(bases);
    let absent = places.filter(|(_, base)| base.is_none());
    absent.filter_map(|(name, _)| name.clone()).collect()
}

fn by_place(bases: Vec<Option<Base>>) -> Vec<(usize, Base)> {
    let places = bases.into_iter().enumerate();
    places
        .filter_map(|(slot, base)| base.map(|base| (slot, base)))
        .collect()
}

/// Opens and claims bases that are there, into places that have none. One that can't be had is let go of.
fn fill(spdk: &Spdk, asked: &Raid1Builder, bases: &mut [Option<Base>]) -> Result<(), CreateError> {
    let layout_error = |source| CreateError::Layout {
        array: asked.name.clone(),
        source,
    };
    for slot in 0..bases.len() {
        let Some(name) = asked.bases[slot].as_ref().filter(|_| bases[slot].is_none()) else {
            continue;
        };
        let Ok(Some(info)) = bdev::find(spdk, name) else {
            continue;
        };
        // By another name.
        if bases.iter().flatten().any(|base| base.name == info.name) {
            return Err(layout_error(LayoutError::Twice { name: info.name }));
        }
        let base = match Base::open(spdk, &asked.name, &info.name, asked.data_offset.0) {
            Ok(base) => base,
            Err(CreateError::Open {
                source: OpenError::NotFound { .. },
                ..
            }) => continue,
            Err(error) => return Err(error),
        };
        let mut layouts: Vec<_> = bases.iter().flatten().map(Base::layout).collect();
        layouts.push(base.layout());
        Layout::of(&layouts).map_err(layout_error)?;
        bases[slot] = Some(base);
    }
    Ok(())
}

/// A bdev is there: arrays that wait for it take it, and start if it was the last one.
pub(super) fn examine(spdk: &Spdk, info: &BdevInfo) {
    let uuid = info.uuid.to_string();
    let is_meant = |name: &str| {
        name == info.name
            || info.aliases.iter().any(|alias| alias == name)
            || name.eq_ignore_ascii_case(&uuid)
    };
    let ids = with(|waiting| {
        let mut ids = Vec::new();
        for entry in &waiting.entries {
            let mut places = entry.asked.bases.iter().flatten();
            if places.any(|name| is_meant(name)) {
                ids.push(entry.id);
            }
        }
        ids
    });
    for id in ids {
        try_to_start(spdk, id);
    }
}

/// Takes what bases there are, and starts the array if these are all.
fn try_to_start(spdk: &Spdk, id: u64) {
    let taken = with(|waiting| {
        let entry = waiting.by_id(id).filter(|entry| !entry.is_busy)?;
        entry.is_busy = true;
        Some((entry.asked.clone(), std::mem::take(&mut entry.bases)))
    });
    let Some((asked, mut bases)) = taken else {
        return;
    };
    let had = slots_of(&bases);
    let filled = fill(spdk, &asked, &mut bases);
    let new: Vec<_> = slots_of(&bases).difference(&had).copied().collect();
    if filled.is_ok() && is_complete(&asked, &bases) {
        let spdk = spdk.clone();
        // At once, in the examination of the last base. What is left is rare: an error that has to let go of something.
        let mut start: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
            let places = asked.bases.len();
            match asked.assemble(&spdk, by_place(bases)).await {
                Ok(_) => drop(with(|waiting| waiting.take(id))),
                Err(error) => put_back(id, no_bases(places), Some(error)),
            }
        });
        let polled = start.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_pending() {
            // The app ends if there can be no task.
            let _ = thread::spawn_local(start);
        }
        return;
    }
    put_back(id, bases, filled.err());
    follow_all(id, &new);
}

fn no_bases(places: usize) -> Vec<Option<Base>> {
    let mut bases = Vec::new();
    bases.resize_with(places, || None);
    bases
}

fn slots_of(bases: &[Option<Base>]) -> BTreeSet<usize> {
    let places = bases.iter().enumerate();
    let there = places.filter(|(_, base)| base.is_some());
    there.map(|(slot, _)| slot).collect()
}

/// The entry waits on, with these bases.
fn put_back(id: u64, bases: Vec<Option<Base>>, error: Option<CreateError>) {
    if let Some(error) = &error {
        // Nobody waits for an answer.
        log::error!("it does not come with its bases: {error}");
    }
    let mut bases = Some(bases);
    with(|waiting| {
        if let Some(entry) = waiting.by_id(id) {
            entry.bases = bases.take().unwrap_or_default();
            entry.last_error = error;
            entry.is_busy = false;
        }
    });
    // Those of an entry that was deleted, without the borrow.
    drop(bases);
}

/// Follows what happens to the bases in `slots`.
fn follow_all(id: u64, slots: &[usize]) {
    for &slot in slots {
        let events = with(|waiting| {
            let base = waiting.by_id(id)?.bases.get(slot)?.as_ref()?;
            Some(base.desc.events())
        });
        if let Some(events) = events {
            let _ = thread::spawn_local(follow(id, slot, events));
        }
    }
}

/// Lets go of a base that is being removed while the array waits for others.
async fn follow(id: u64, slot: usize, mut events: BdevEvents) {
    while let Some(event) = events.next().await {
        if event == BdevEvent::Removed {
            let gone = with(|waiting| {
                let place = waiting.by_id(id)?.bases.get_mut(slot)?;
                place.take_if(|base| base.desc.is_removed())
            });
            // Without the borrow.
            drop(gone);
            return;
        }
    }
}

/// The options of one that waits.
pub(super) fn options(name: &str) -> Option<Options> {
    with(|waiting| Some(waiting.by_name(name)?.asked.options.clone()))
}

pub(super) fn set_options(name: &str, options: &Options) {
    with(|waiting| {
        if let Some(entry) = waiting.by_name(name) {
            entry.asked.options = options.clone();
        }
    });
}

impl Entry {
    /// The place of a base, by its own name if it is there, and otherwise by the name that was asked for.
    fn place_of(&self, name: &str) -> Option<usize> {
        let has = |base: &Option<Base>| base.as_ref().is_some_and(|base| base.name == name);
        let there = self.bases.iter().position(has);
        let asked = self.asked.bases.iter();
        there.or_else(|| {
            asked
                .map(Option::as_deref)
                .position(|known| known == Some(name))
        })
    }
}

/// The array that waits, and has the base `name`.
pub(super) fn owner(name: &str) -> Option<String> {
    with(|waiting| {
        let has = |entry: &&Entry| entry.bases.iter().flatten().any(|base| base.name == name);
        let entry = waiting.entries.iter().find(has)?;
        Some(entry.asked.name.clone())
    })
}

/// The oldest array that waits for the base `name`.
pub(super) fn waits_for(name: &str) -> Option<String> {
    with(|waiting| {
        let entry = waiting.entries.iter();
        let entry = entry
            .into_iter()
            .find(|entry| entry.place_of(name).is_some())?;
        Some(entry.asked.name.clone())
    })
}

/// Takes the base `name` away from the array `array`, which begins without it, perhaps now; waits until it is free.
pub(super) async fn remove(spdk: &Spdk, array: &str, name: &str) -> Result<(), ChangeError> {
    loop {
        let is_busy = with(|waiting| waiting.by_name(array).is_some_and(|entry| entry.is_busy));
        if !is_busy {
            break;
        }
        app::yield_now().await;
    }
    let taken = with(|waiting| {
        let Some(entry) = waiting.by_name(array) else {
            return Some(Err(ChangeError::Ending));
        };
        let name = || name.to_owned();
        let Some(slot) = entry.place_of(&name()) else {
            return Some(Err(ChangeError::NotMember { name: name() }));
        };
        if entry.asked.bases.iter().flatten().count() == 1 {
            return Some(Err(ChangeError::Last { name: name() }));
        }
        entry.asked.bases[slot] = None;
        Some(Ok((entry.id, entry.bases[slot].take())))
    });
    let (id, base) = taken.unwrap_or(Err(ChangeError::Ending))?;
    log::info!("raid1 {array:?} comes without base {name:?}, which is taken away");
    if let Some(base) = base {
        base.desc.close().await;
    }
    try_to_start(spdk, id);
    Ok(())
}

/// Deletes an array that waits: lets go of its bases. False if there is none of that name.
pub(super) async fn delete(name: &str) -> bool {
    let entry = with(|waiting| {
        let id = waiting.by_name(name)?.id;
        waiting.take(id)
    });
    let Some(entry) = entry else {
        return false;
    };
    close(entry).await;
    true
}

async fn close(entry: Entry) {
    for base in entry.bases.into_iter().flatten() {
        base.desc.close().await;
    }
}

/// Deletes them all.
pub(super) async fn clear() {
    let entries = with(|waiting| std::mem::take(&mut waiting.entries));
    for entry in entries {
        close(entry).await;
    }
}

/// Those that wait, the oldest first.
pub(super) fn all() -> Vec<Awaiting> {
    with(|waiting| {
        let of = |entry: &Entry| Awaiting {
            asked: entry.asked.clone(),
            bases: entry
                .bases
                .iter()
                .map(|base| base.as_ref().map(|base| base.desc.info().clone()))
                .collect(),
            last_error: entry.last_error.clone(),
        };
        waiting.entries.iter().map(of).collect()
    })
}
