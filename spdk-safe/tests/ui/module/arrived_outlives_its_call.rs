//! A request that has just come is kept as such: what is known of it would not be true any more.

use std::cell::RefCell;
use std::rc::Rc;

use spdk_safe::error::ChannelError;
use spdk_safe::module::{Arrived, BlockDevice, ReadRequest, Request};

struct Device;

impl BlockDevice for Device {
    type Channel = RefCell<Vec<Arrived<'static, ReadRequest>>>;

    fn create_channel(&self) -> Result<Self::Channel, ChannelError> {
        Ok(RefCell::default())
    }

    fn submit(&self, _channel: &Rc<Self::Channel>, _request: Request) {}

    fn read(&self, channel: &Rc<Self::Channel>, read: Arrived<'_, ReadRequest>) {
        channel.borrow_mut().push(read);
    }
}

fn main() {}
