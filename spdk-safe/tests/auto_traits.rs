//! What may go to another OS thread, what may be copied, and what neither (MISUSE T1, D1, I1, I8, M1).
//!
//! `tests/ui/threads` has the messages; here is the whole list.

use std::future::Future;

use spdk_safe::app::{Builder, OwnLoop, Shutdown};
use spdk_safe::bdev::{
    Aborts, Batch, BdevEvent, BdevEvents, IoLoop, IoTimeouts, Sequential, Uuid, Zcopy,
};
use spdk_safe::bdev::{BdevInfo, CloseDesc, Io, MallocBuilder, SharedDesc};
use spdk_safe::env::{AllocError, DmaPart, DmaPool, PooledBuf, UninitDmaBuf};
use spdk_safe::error::{CallError, JoinError, ThreadCreateError, ThreadError, TrySendError};
use spdk_safe::io_device::{DeviceChannel, IoDevice, RegisteredIoDevice, SharedIoDevice};
use spdk_safe::log::Line;
use spdk_safe::module::{
    BdevModule, BlockDeviceBuilder, ChildIos, Children, DataView, FanOut, OtherRequest, Quiesced,
    RangeRequest, ReadRequest, RegisteredBdev, Request, RequestData, ResetRequest, UnregisterBdev,
    WriteRequest,
};
use spdk_safe::prelude::*;
use spdk_safe::test::{Case, TestThread};
use spdk_safe::thread::{
    Call, Exited, JoinHandle, LocalTask, Migratable, Pinned, Poller, SendMessage, Spawn,
    ThreadBound, ThreadBuilder, ThreadHandle, ThreadStats, ThreadStorage,
};
use static_assertions::{assert_impl_all, assert_not_impl_any};

/// Waits for children.
struct Waits;

impl Children<WriteRequest> for Waits {
    fn ended(&self, _: u8, _: Result<(), IoError>) {}
    fn all_ended(self, _: WriteRequest) {}
}

// T1: what belongs to one SPDK thread.
assert_not_impl_any!(ThreadBound: Send, Sync);
assert_not_impl_any!(Spdk: Send, Sync);
assert_not_impl_any!(Poller: Send, Sync);
assert_not_impl_any!(OwnLoop: Send, Sync, Clone);
assert_not_impl_any!(Shutdown: Send, Sync);
assert_not_impl_any!(Case: Send, Sync);
assert_not_impl_any!(BdevDesc<ReadOnly>: Send, Sync);
assert_not_impl_any!(BdevDesc<ReadWrite>: Send, Sync);
assert_not_impl_any!(BdevDesc<ReadWrite, Claimed>: Send, Sync);
assert_not_impl_any!(CloseDesc: Send, Sync);
assert_not_impl_any!(IoChannel<ReadOnly>: Send, Sync);
assert_not_impl_any!(IoChannel<ReadWrite>: Send, Sync);
assert_not_impl_any!(Io<()>: Send, Sync);
assert_not_impl_any!(Io<DmaBuf>: Send, Sync);
assert_not_impl_any!(Io<RequestData>: Send, Sync);
assert_not_impl_any!(IoLoop<DmaBuf, fn()>: Send, Sync);
assert_not_impl_any!(Zcopy: Send, Sync, Clone);
assert_not_impl_any!(Batch: Send, Sync);
assert_not_impl_any!(Sequential<'static, ReadOnly>: Send, Sync);
assert_not_impl_any!(IoTimeouts: Send, Sync);
assert_not_impl_any!(DeviceChannel<Device>: Send, Sync);
assert_not_impl_any!(DmaPool: Send, Sync);
assert_not_impl_any!(PooledBuf: Send, Sync);
assert_not_impl_any!(Request: Send, Sync);
assert_not_impl_any!(ReadRequest: Send, Sync);
assert_not_impl_any!(WriteRequest: Send, Sync);
assert_not_impl_any!(ChildIos<WriteRequest, Waits>: Send, Sync);
assert_not_impl_any!(FanOut<'static, WriteRequest, Waits>: Send, Sync);
assert_not_impl_any!(DataView<'static>: Send, Sync);
assert_impl_all!(Quiesced: Send, Sync);
assert_not_impl_any!(RangeRequest: Send, Sync);
assert_not_impl_any!(ResetRequest: Send, Sync);
assert_not_impl_any!(OtherRequest: Send, Sync);
assert_not_impl_any!(RequestData: Send, Sync);

assert_not_impl_any!(LocalTask: Send, Sync);
assert_not_impl_any!(JoinHandle<std::rc::Rc<u8>>: Send, Sync);

// What travels instead.
assert_impl_all!(Thread<Pinned>: Send, Sync);
assert_impl_all!(Thread<Migratable>: Send, Sync);
assert_impl_all!(ThreadHandle<Pinned>: Send, Sync, Clone);
assert_impl_all!(ThreadHandle<Migratable>: Send, Sync, Clone);
assert_impl_all!(ThreadHandle: Send, Sync, Clone);
assert_impl_all!(ThreadBuilder: Send);
assert_impl_all!(Call<u8>: Future, Send, Unpin);
assert_impl_all!(Spawn<u8>: Future, Send, Unpin);
assert_impl_all!(SendMessage: Future, Send, Unpin);
assert_impl_all!(Exited: Future, Send, Sync, Unpin);
assert_impl_all!(JoinHandle<u8>: Future, Send, Sync, Unpin);
assert_impl_all!(ThreadStorage<std::rc::Rc<u8>>: Send, Sync);
assert_impl_all!(ThreadStats: Send, Sync, Copy);
assert_impl_all!(SharedDesc<ReadOnly>: Send, Sync, Clone);
assert_impl_all!(SharedDesc<ReadWrite>: Send, Sync, Clone);
assert_impl_all!(DmaBuf: Send, Sync);
assert_impl_all!(UninitDmaBuf: Send);
assert_impl_all!(DmaPart: Send);
assert_impl_all!(Aborts: Send, Sync, Copy);
assert_impl_all!(RegisteredIoDevice<Device>: Send, Sync);
assert_impl_all!(SharedIoDevice<Device>: Send, Sync, Clone);
assert_impl_all!(TestThread: Send, Sync, Clone);
assert_impl_all!(Line<'static>: Send, Sync, Clone);
assert_impl_all!(RegisteredBdev: Send, Sync);
assert_impl_all!(UnregisterBdev: Send, Sync);
assert_impl_all!(BdevModule: Sync);
assert_impl_all!(BdevInfo: Send, Sync, Clone);
assert_impl_all!(BdevEvents: Send, Sync, Unpin);
assert_impl_all!(BdevEvent: Send, Sync, Copy);
assert_impl_all!(Uuid: Send, Sync, Copy);
assert_impl_all!(Builder: Send, Sync);
assert_impl_all!(MallocBuilder: Send, Sync);
assert_impl_all!(BlockDeviceBuilder: Send, Sync);
assert_impl_all!(AppError: std::error::Error, Send, Sync);
assert_impl_all!(AllocError: std::error::Error, Send, Sync);
assert_impl_all!(BdevError: std::error::Error, Send, Sync);
assert_impl_all!(ChannelError: std::error::Error, Send, Sync);
assert_impl_all!(ClaimError: std::error::Error, Send, Sync);
assert_impl_all!(IoError: std::error::Error, Send, Sync);
assert_impl_all!(OpenError: std::error::Error, Send, Sync);
assert_impl_all!(ThreadError: std::error::Error, Send, Sync);
assert_impl_all!(ThreadCreateError: std::error::Error, Send, Sync);
assert_impl_all!(TrySendError<fn()>: std::error::Error, Send, Sync);
assert_impl_all!(CallError: std::error::Error, Send, Sync);
assert_impl_all!(JoinError: std::error::Error, Send, Sync);

// T6: a thread has one owner.
assert_not_impl_any!(Thread<Pinned>: Clone);
assert_not_impl_any!(Thread<Migratable>: Clone);

// D1, I1, I8, M1: there is one of each, since a second one would use, free or complete it again.
assert_not_impl_any!(BdevDesc<ReadOnly>: Clone);
assert_not_impl_any!(BdevDesc<ReadWrite, Claimed>: Clone);
assert_not_impl_any!(DmaBuf: Clone);
assert_not_impl_any!(Io<DmaBuf>: Clone);
assert_not_impl_any!(Request: Clone);
assert_not_impl_any!(ReadRequest: Clone);
assert_not_impl_any!(RangeRequest: Clone);
assert_not_impl_any!(ResetRequest: Clone);
assert_not_impl_any!(OtherRequest: Clone);
assert_not_impl_any!(RegisteredBdev: Clone);
assert_not_impl_any!(BdevModule: Clone);

// D9: none is made of nothing.
assert_not_impl_any!(Spdk: Default);
assert_not_impl_any!(BdevDesc<ReadOnly>: Default);
assert_not_impl_any!(IoChannel<ReadOnly>: Default);
assert_not_impl_any!(RequestData: Default);

// M11: whoever sent a request may write its data at any time.
assert_not_impl_any!(RequestData: AsRef<[u8]>, std::ops::Deref, std::borrow::Borrow<[u8]>);

// An I/O is polled where it lies: `pin!` and `Box` both do.
assert_impl_all!(Io<DmaBuf>: Future, Unpin);

struct Device;

impl IoDevice for Device {
    type Channel = std::rc::Rc<u8>;
    fn create_channel(&self) -> Result<Self::Channel, Box<dyn std::error::Error + Send + Sync>> {
        Ok(std::rc::Rc::new(0))
    }
}
