//! D1: a descriptor that was closed is gone.
use spdk_safe::prelude::*;

async fn misuse(desc: BdevDesc) {
    desc.close().await;
    let _ch = desc.channel();
}

fn main() {}
