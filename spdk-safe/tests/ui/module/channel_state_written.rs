//! M7: several requests share the state of a channel.
use std::rc::Rc;

use spdk_safe::module::{BlockDevice, Request};
use spdk_safe::prelude::*;

struct Counting;

impl BlockDevice for Counting {
    type Channel = u64;
    fn create_channel(&self) -> Result<u64, ChannelError> {
        Ok(0)
    }
    fn submit(&self, requests: &Rc<u64>, _: Request) {
        **requests += 1;
    }
}

fn main() {}
