//! The straight path: reads and writes of an array that is whole, as nearly all are.
//!
//! Nothing here decides anything but which leg reads. What goes wrong is handed on, with the view that the request began
//! with: to `settle.rs`, and by [`Legs`].

use std::cell::Cell;
use std::rc::Rc;

use spdk_safe::error::IoError;
use spdk_safe::module::{Children, FanOut, ReadRequest, RequestStatus, Submit, WriteRequest};
use spdk_safe::units::{Blocks, Lba};

use super::data_path::{Legs, WriteTo};
use super::lane::{Here, View};
use super::settle::{self, Tried};

/// A leg in sync, as the straight path has it at hand.
#[derive(Clone)]
pub(super) struct Straight {
    pub(super) here: Rc<Here>,
    pub(super) offset: u64,
}

impl Straight {
    /// Where block `lba` of the array is on it.
    #[inline(always)] // on the path of each I/O
    fn on(&self, lba: Lba) -> Lba {
        // The array ends before its smallest leg does.
        Lba(lba.0 + self.offset)
    }
}

/// A read from that one of the view's `readers` of which less is being read. Its tag says which.
pub(super) struct Read {
    view: Rc<View>,
    blocks: u64,
    /// Set if it failed: of which one, and why.
    error: Cell<Option<Box<(u8, IoError)>>>,
}

impl Read {
    #[inline(always)] // on the path of each read
    pub(super) fn new(view: Rc<View>, Blocks(blocks): Blocks) -> Self {
        Self {
            view,
            blocks,
            error: Cell::new(None),
        }
    }

    #[inline(always)] // on the path of each read
    fn reader(&self, tag: u8) -> Option<&Straight> {
        let readers = self.view.readers.as_ref()?;
        Some(&readers[usize::from(tag & 1)])
    }

    #[cold]
    fn failed(&self, tag: u8, error: IoError) {
        self.error.set(Some(Box::new((tag, error))));
    }

    /// Its place in the list of legs.
    #[cold]
    fn place(&self, tag: u8) -> usize {
        let reader = self.reader(tag).map(|reader| Rc::as_ptr(&reader.here));
        let mut legs = self.view.legs.iter();
        let at = legs.position(|leg| leg.here.as_ref().map(Rc::as_ptr) == reader);
        at.expect("a reader is one of the legs")
    }
}

impl Submit<ReadRequest> for Read {
    #[inline(always)] // on the path of each read
    fn submit(ios: &FanOut<'_, ReadRequest, Self>) {
        let this = ios.state();
        if let Some(readers) = &this.view.readers {
            let [one, two] = readers;
            let is_second = two.here.reading.get() < one.here.reading.get();
            let leg = &readers[usize::from(is_second)];
            let Here { channel, reading } = &*leg.here;
            reading.set(reading.get() + this.blocks);
            ios.read(channel, leg.on(ios.request().lba()), is_second.into());
        }
    }
}

impl Children<ReadRequest> for Read {
    #[inline(always)]
    fn ended(&self, tag: u8, result: Result<(), IoError>) {
        if let Some(Straight { here, .. }) = self.reader(tag) {
            here.reading.set(here.reading.get() - self.blocks);
        }
        if let Err(error) = result {
            self.failed(tag, error);
        }
    }

    #[inline(always)]
    fn has_succeeded(&self, _read: &ReadRequest) -> bool {
        true
    }

    fn all_ended(self, read: ReadRequest) {
        match self.error.take() {
            Some(failed) => {
                let (tag, error) = *failed;
                let at = self.place(tag);
                settle::read_elsewhere(self.view, read, at, error, Tried::default());
            }
            None => read.complete(RequestStatus::Success),
        }
    }
}

/// A write to both legs of the view's `pair`.
pub(super) struct Write(Legs<WriteTo>);

impl Write {
    #[inline(always)]
    pub(super) fn new(view: Rc<View>) -> Self {
        Self(Legs::new(view, WriteTo))
    }
}

impl Submit<WriteRequest> for Write {
    #[inline(always)] // on the path of each write
    fn submit(ios: &FanOut<'_, WriteRequest, Self>) {
        if let Some([one, two]) = &ios.state().0.view.pair {
            let lba = ios.request().lba();
            ios.write(&one.here.channel, one.on(lba), 0);
            ios.write(&two.here.channel, two.on(lba), 1);
        }
    }
}

impl Children<WriteRequest> for Write {
    #[inline(always)]
    fn ended(&self, tag: u8, result: Result<(), IoError>) {
        self.0.ended(tag, result);
    }

    #[inline(always)]
    fn has_succeeded(&self, _write: &WriteRequest) -> bool {
        true
    }

    fn all_ended(self, write: WriteRequest) {
        self.0.all_ended(write);
    }
}
