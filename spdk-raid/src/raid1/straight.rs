//! The straight path: reads and writes of an array that is whole, as nearly all are.
//!
//! Nothing here decides anything but which leg reads. What goes wrong is handed on, with the view that the request began
//! with: to `settle.rs`, and by [`Legs`].

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::rc::Rc;

use spdk_safe::bdev::IoChannel;
use spdk_safe::error::IoError;
use spdk_safe::module::{
    Children, FanOut, ReadRequest, RequestStatus, Route, Submit, WriteRequest,
};
use spdk_safe::prelude::ReadWrite;
use spdk_safe::units::{Blocks, Lba};

use super::data_path::{Legs, WriteTo};
use super::lane::{Here, Readers, View};
use super::settle::{self, Tried};

/// A leg in sync, as the straight path has it at hand.
pub(super) struct Straight {
    pub(super) here: Rc<Here>,
    pub(super) offset: u64,
}

/// Where block `lba` of the array is on a leg with this offset.
#[inline(always)] // on the path of each I/O
fn on(Lba(lba): Lba, offset: u64) -> Lba {
    // The array ends before its smallest leg does.
    Lba(lba + offset)
}

/// A read from that one of the `readers` of which less is being read.
pub(super) struct Read {
    readers: Rc<Readers>,
    /// It is the second one.
    is_second: Cell<bool>,
    /// Set if it failed, and taken then: nothing looks at it if it did not, which saves 3 instructions.
    error: Cell<ManuallyDrop<Option<Box<IoError>>>>,
}

impl Read {
    #[inline(always)] // on the path of each read
    pub(super) fn new(readers: Rc<Readers>) -> Self {
        Self {
            readers,
            is_second: Cell::new(false),
            error: Cell::new(ManuallyDrop::new(None)),
        }
    }

    #[inline(always)] // on the path of each read
    fn reader(&self) -> &Straight {
        &self.readers.legs[usize::from(self.is_second.get())]
    }

    /// The leg has done what it could.
    #[inline(always)] // on the path of each read
    fn is_read(&self, Blocks(blocks): Blocks) {
        let reading = &self.reader().here.reading;
        reading.set(reading.get() - blocks);
    }

    #[cold]
    fn failed(&self, error: IoError) {
        self.error.set(ManuallyDrop::new(Some(Box::new(error))));
    }

    /// The leg's place in the list.
    #[cold]
    fn place(&self) -> usize {
        let reader = Rc::as_ptr(&self.reader().here);
        let mut legs = self.readers.view.legs.iter();
        let at = legs.position(|leg| leg.here.as_ref().map(Rc::as_ptr) == Some(reader));
        at.expect("a reader is one of the legs")
    }
}

impl Route<ReadRequest> for Read {
    type Mode = ReadWrite;

    #[inline(always)] // on the path of each read
    fn to(&self, read: &ReadRequest) -> (&IoChannel<ReadWrite>, Lba) {
        let [one, two] = &self.readers.legs;
        let (first, second) = (&*one.here, &*two.here);
        let is_second = second.reading.get() < first.reading.get();
        self.is_second.set(is_second);
        // Both are at hand, so that neither has to be loaded when it is known which.
        let (Here { channel, reading }, offset) = match is_second {
            true => (second, two.offset),
            false => (first, one.offset),
        };
        reading.set(reading.get() + read.blocks().0);
        (channel, on(read.lba(), offset))
    }
}

impl Children<ReadRequest> for Read {
    #[inline(always)]
    fn ended(&self, _tag: u8, result: Result<(), IoError>) {
        if let Err(error) = result {
            self.failed(error);
        }
    }

    #[inline(always)]
    fn has_succeeded(&self, read: &ReadRequest) -> bool {
        self.is_read(read.blocks());
        true
    }

    fn all_ended(self, read: ReadRequest) {
        self.is_read(read.blocks());
        let at = self.place();
        match ManuallyDrop::into_inner(self.error.take()) {
            Some(error) => {
                let view = Rc::clone(&self.readers.view);
                drop(self.readers);
                settle::read_elsewhere(view, read, at, *error, Tried::default());
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
        let pair = ios.state().0.view.pair.as_ref();
        let [one, two] = pair.expect("it is made of a view that has one");
        let lba = ios.request().lba();
        ios.write(&one.here.channel, on(lba, one.offset), 0);
        ios.write(&two.here.channel, on(lba, two.offset), 1);
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
