//! M1, M4: what `submit` returns completes a request, and nothing else.
use spdk_exec::spdk::AsyncBlockDevice;
use spdk_safe::module::{RequestStatus, TaskRequest};
use spdk_safe::prelude::*;

struct Eager;

impl AsyncBlockDevice for Eager {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    async fn submit(&self, _: &(), request: TaskRequest<'_>) -> RequestStatus {
        if let TaskRequest::Read(read) = request {
            read.complete(RequestStatus::Success);
        }
        RequestStatus::Success
    }
}

fn main() {}
