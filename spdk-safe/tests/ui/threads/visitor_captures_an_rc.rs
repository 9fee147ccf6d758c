//! T2: a visitor of a device's channels goes from thread to thread.
use std::rc::Rc;

use spdk_safe::io_device::{IoDevice, SharedIoDevice};

fn misuse<D: IoDevice<Channel = u64>>(device: SharedIoDevice<D>, seen: Rc<u64>) {
    let _visit = device.for_each_channel(move |channel| match channel == &*seen {
        true => Ok(()),
        false => Err("another one"),
    });
}

fn main() {}
