//! M8: the state of a channel has one type.
use std::rc::Rc;

use spdk_safe::module::{BlockDevice, Request};
use spdk_safe::prelude::*;

struct Mirror;

impl BlockDevice for Mirror {
    type Channel = IoChannel<ReadWrite>;
    fn create_channel(&self) -> Result<Self::Channel, ChannelError> {
        Err(ChannelError::Device("no base".into()))
    }
    fn submit(&self, _: &Rc<IoChannel<ReadOnly>>, _: Request) {}
}

fn main() {}
