//! M4: a request can't be used by what outlives it.
use spdk_exec::spdk::{AsyncBlockDevice, attach};
use spdk_safe::module::{RequestStatus, TaskRequest};
use spdk_safe::prelude::*;

struct Late;

impl AsyncBlockDevice for Late {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    async fn submit(&self, _: &(), request: TaskRequest<'_>) -> RequestStatus {
        let executor = attach().unwrap();
        executor.spawn(async move { println!("{request:?}") }).detach();
        RequestStatus::Success
    }
}

fn main() {}
