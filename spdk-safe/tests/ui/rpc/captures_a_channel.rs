//! R5: a handler captures nothing.
use spdk_safe::prelude::*;
use spdk_safe::rpc::{self, RpcError, State};

fn misuse(channel: std::rc::Rc<IoChannel>) {
    let handler = move |_spdk: Spdk, (): ()| {
        let _ = &channel;
        async { Ok::<_, RpcError>(7) }
    };
    let _ = rpc::method("ui_answer", State::Runtime, handler);
}

fn main() {}
