//! T2: what is not `Send` stays where it is.
use spdk_safe::prelude::*;

async fn misuse(thread: &Thread) {
    let shared = std::rc::Rc::new(1);
    let _ = thread.send(move || println!("{shared}")).await;
}

fn main() {}
