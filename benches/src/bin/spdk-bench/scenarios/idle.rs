//! What an attached executor costs when nobody uses it.

use std::cell::Cell;
use std::rc::Rc;

use spdk_benches::client::RigError;
use spdk_safe::thread::{Poller, PollerStatus};

use super::report::{Found, Report};
use super::{Scenarios, pause};

pub(super) async fn run(options: &Scenarios, report: &mut Report) -> Result<(), RigError> {
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
    let title = "A pass of the app thread's loop, nanoseconds by the wall's clock: what counts passes is a poller, too";
    let heads = ["without an executor", "with one attached", "difference"];
    report.table("idle", title.into(), &heads);
    let found: [Found<'_>; 3] = [
        ("without_ns", 1, &[&without]),
        ("attached_ns", 1, &[&with]),
        ("difference_ns", 1, &[&more]),
    ];
    report.row("a pass", &found);
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
