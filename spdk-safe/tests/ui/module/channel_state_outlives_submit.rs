//! M7: what runs after `submit` has a count of the channel's state.
use std::rc::Rc;

use spdk_safe::module::{BlockDevice, Request};
use spdk_safe::prelude::*;
use spdk_safe::thread::{Poller, PollerStatus};

struct Later;

impl BlockDevice for Later {
    type Channel = u64;
    fn create_channel(&self) -> Result<u64, ChannelError> {
        Ok(0)
    }
    fn submit(&self, state: &Rc<u64>, _: Request) {
        let poll = move || {
            assert!(**state > 0);
            PollerStatus::Busy
        };
        std::mem::forget(Poller::register(None, poll));
    }
}

fn main() {}
