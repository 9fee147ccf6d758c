//! T2: a result comes back from the other thread.
use spdk_safe::prelude::*;

async fn misuse(thread: &Thread) {
    let _ = thread.call(|| std::rc::Rc::new(1)).await;
}

fn main() {}
