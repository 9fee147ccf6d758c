//! I1: a read can't fill memory that others look at.
use std::sync::Arc;

use spdk_safe::prelude::*;

async fn misuse(ch: IoChannel, shared: Arc<[u8]>) {
    let _ = ch.read(Lba(0), Arc::clone(&shared)).await;
}

fn main() {}
