//! T2: one device serves all threads; what belongs to one of them is the device's `Channel`.
use std::rc::Rc;

use spdk_safe::module::{BlockDevice, Request};
use spdk_safe::prelude::*;

struct Mirror {
    base: IoChannel<ReadWrite>,
}

impl BlockDevice for Mirror {
    type Channel = ();
    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }
    fn submit(&self, _: &Rc<()>, _: Request) {}
}

fn main() {}
