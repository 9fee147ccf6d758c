//! T3: a thread that stays on its core is given no others.
use spdk_safe::prelude::*;

async fn misuse(thread: &Thread) {
    let _ = thread.set_cores(Cores::of([0, 1])).await;
}

fn main() {}
