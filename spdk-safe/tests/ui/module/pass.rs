//! Each request has what its type has, and is completed once.
use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use spdk_safe::bdev::SharedDesc;
use spdk_safe::module::{BdevModule, BlockDevice, BlockDeviceBuilder, Request, RequestStatus};
use spdk_safe::prelude::*;

static MODULE: BdevModule = BdevModule::new(c"ui");

struct Disk(SharedDesc<ReadWrite>);

struct State {
    base: IoChannel<ReadWrite>,
    written: Cell<u64>,
}

impl BlockDevice for Disk {
    type Channel = State;
    fn create_channel(&self) -> Result<State, ChannelError> {
        let (base, written) = (self.0.channel()?, Cell::new(0));
        Ok(State { base, written })
    }
    fn submit(&self, state: &Rc<State>, request: Request) {
        match request {
            Request::Write(write) => {
                state.written.set(state.written.get() + write.blocks().0);
                let below = pin!(state.base.write(write.lba(), write.data()));
                let _ = below.poll(&mut Context::from_waker(Waker::noop()));
                write.complete(RequestStatus::Success);
            }
            Request::Flush(flush) => {
                assert!(flush.lba().fits(flush.blocks(), Blocks(64)));
                flush.complete(RequestStatus::Success);
            }
            other => other.complete(RequestStatus::Failed),
        }
    }
}

async fn registered_then_unregistered(spdk: &Spdk, disk: Disk) -> Result<(), BdevError> {
    let builder = BlockDeviceBuilder::new("disk").blocks(Blocks(64));
    builder.register(spdk, &MODULE, disk)?.unregister().await;
    Ok(())
}
