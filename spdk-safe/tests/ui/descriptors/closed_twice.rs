//! D1: a descriptor is closed once.
use spdk_safe::prelude::*;

async fn misuse(desc: BdevDesc) {
    desc.close().await;
    desc.close().await;
}

fn main() {}
