//! What the cases beside this one do wrong, done right.
use spdk_safe::prelude::*;
use spdk_safe::rpc::{self, Method, RpcError, State};

async fn answer(_spdk: Spdk, (): ()) -> Result<u32, RpcError> {
    Ok(7)
}

static ANSWER: Method = rpc::method("ui_answer", State::Runtime, answer);

fn closure() -> Method {
    let handler = |_spdk: Spdk, (): ()| async { Ok::<_, RpcError>(7) };
    rpc::method("ui_closure", State::Runtime, handler)
}
