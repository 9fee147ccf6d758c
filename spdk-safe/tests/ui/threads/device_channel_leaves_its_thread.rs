//! T1: the context of a device belongs to one thread.
use spdk_safe::io_device::{DeviceChannel, IoDevice};

fn misuse<D: IoDevice<Channel = u64>>(ch: DeviceChannel<D>) {
    std::thread::spawn(move || drop(ch));
}

fn main() {}
