//! The twin without the mistakes.
use spdk_exec::spdk::{Async, AsyncBlockDevice};
use spdk_safe::module::{BdevModule, RequestStatus, TaskRequest};
use spdk_safe::prelude::*;

static MODULE: BdevModule = BdevModule::new(c"small").device::<Async<Small>>();

struct Small;

impl AsyncBlockDevice for Small {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    async fn submit(&self, _: &(), request: TaskRequest<'_>) -> RequestStatus {
        let small = [0_u8; 128];
        spdk_exec::yield_now().await;
        match request {
            TaskRequest::Read(read) if small[3] == 0 => {
                drop(read.view().fill(Bytes(0), Bytes(1), 1));
                RequestStatus::Success
            }
            _ => RequestStatus::Failed,
        }
    }
}

fn main() {
    let _ = &MODULE;
}
