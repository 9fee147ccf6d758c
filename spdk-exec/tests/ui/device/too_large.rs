//! Whether the future fits into a request is known when the program is compiled.
use spdk_exec::spdk::{Async, AsyncBlockDevice};
use spdk_safe::module::{BdevModule, RequestStatus, TaskRequest};
use spdk_safe::prelude::*;

static MODULE: BdevModule = BdevModule::new(c"large").device::<Async<Large>>();

struct Large;

impl AsyncBlockDevice for Large {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    async fn submit(&self, _: &(), _: TaskRequest<'_>) -> RequestStatus {
        let large = [0_u8; 4096];
        spdk_exec::yield_now().await;
        if large[3] == 0 { RequestStatus::Success } else { RequestStatus::Failed }
    }
}

fn main() {
    let _ = &MODULE;
}
