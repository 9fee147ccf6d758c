//! What an attached executor costs when nobody uses it.

use std::cell::Cell;
use std::rc::Rc;

use spdk_benches::client::RigError;
use spdk_safe::thread::{Poller, PollerStatus};

use super::{Scenarios, bracketed, pause};

pub(super) async fn run(options: &Scenarios) -> Result<(), RigError> {
    let (mut without, mut with, mut more) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let idle = pass(options).await?;
        let attached = spdk_exec::spdk::attach()?;
        let busy = pass(options).await?;
        drop(attached);
        without.push(idle);
        with.push(busy);
        more.push(busy - idle);
    }
    println!(
        "A pass of the app thread's loop, nanoseconds by the wall's clock: what counts passes is a poller, too\n\n\
         | without an executor | with one attached | difference |\n| --- | --- | --- |\n| {} | {} | {} |",
        bracketed(&without, 1),
        bracketed(&with, 1),
        bracketed(&more, 1)
    );
    Ok(())
}

/// Nanoseconds that a pass takes.
async fn pass(options: &Scenarios) -> Result<f64, RigError> {
    let passes = Rc::new(Cell::new(0_u64));
    let count = Rc::clone(&passes);
    let _poller = Poller::register(None, move || {
        count.set(count.get() + 1);
        PollerStatus::Idle
    })?;
    pause(options.turn()).await?;
    Ok(options.turn().as_secs_f64() * 1e9 / passes.get().max(1) as f64)
}
