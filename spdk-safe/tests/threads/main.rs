//! SPDK threads (MISUSE T2 to T15), on the harness's one reactor; on two in `processes`.

mod exit;
mod messages;
mod pollers;
mod processes;
mod storage;
mod tasks;

use std::future::Future;
use std::num::NonZeroU64;
use std::pin::{Pin, pin};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};

use spdk_safe::module::BdevModule;
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;
use spdk_safe::thread::{Migratable, current_id};

static MODULE: BdevModule = BdevModule::new(c"rust_threads");
static SPDK: Harness = Harness::new(&[&MODULE]);

async fn pinned(spdk: &Spdk, name: &str) -> Thread {
    Thread::builder(name).create(spdk).await.unwrap()
}

async fn migratable(spdk: &Spdk, name: &str) -> Thread<Migratable> {
    let cores = Cores::of_reactors(spdk).unwrap();
    let builder = Thread::builder(name).migratable(cores);
    builder.create(spdk).await.unwrap()
}

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// The id of the SPDK thread that is current, 0 for none.
fn here() -> u64 {
    current_id().map_or(0, NonZeroU64::get)
}

/// Waits on a plain OS thread.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Says that it was dropped, and on which SPDK thread.
struct Witness(&'static str, mpsc::Sender<(&'static str, u64)>);

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.1.send((self.0, here()));
    }
}

/// Hands out witnesses, and collects what they said.
struct Court(
    mpsc::Sender<(&'static str, u64)>,
    mpsc::Receiver<(&'static str, u64)>,
);

impl Court {
    fn new() -> Self {
        let (send, said) = mpsc::channel();
        Self(send, said)
    }

    fn witness(&self, name: &'static str) -> Witness {
        Witness(name, self.0.clone())
    }

    fn said(&self) -> Vec<(&'static str, u64)> {
        self.1.try_iter().collect()
    }
}
