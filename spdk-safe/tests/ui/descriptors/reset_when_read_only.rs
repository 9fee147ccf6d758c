//! D2: what was opened for reading is not reset.
use spdk_safe::prelude::*;

async fn misuse(ch: IoChannel<ReadOnly>) {
    let _ = ch.reset().await;
}

fn main() {}
