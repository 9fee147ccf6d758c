//! R5: a handler is an async function of the context and the parameters.
use spdk_safe::prelude::*;
use spdk_safe::rpc::{self, State};

async fn answer(_spdk: Spdk) -> u32 {
    7
}

fn main() {
    let _ = rpc::method::<(), _>("ui_answer", State::Runtime, answer);
}
