//! T3: the task goes along when the thread is moved to another core.
use spdk_safe::prelude::*;
use spdk_safe::thread::Migratable;

async fn misuse(thread: &Thread<Migratable>) {
    let task = || async {
        let local = std::rc::Rc::new(1);
        std::future::ready(()).await;
        *local
    };
    let _ = thread.spawn(task).await;
}

fn main() {}
