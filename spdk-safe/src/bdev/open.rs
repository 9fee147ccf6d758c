//! Opening a descriptor, now or when the bdev comes.
//!
//! C function: `spdk_bdev_open_ext`. `spdk_bdev_open_async` came with 23.09; here a poller looks on every version, so
//! SPDK never opens a descriptor that nobody waits for any more.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::desc::{BdevDesc, DescMode, Opened, ReadOnly, ReadWrite};
use crate::app::Spdk;
use crate::error::{OpenError, ThreadError};
use crate::thread::{Poller, PollerStatus};

/// How often a bdev that is not there yet is looked for.
const PERIOD: Duration = Duration::from_millis(10);

/// A descriptor to be opened (`spdk_bdev_open_ext`).
#[derive(Debug)]
#[must_use = "say how to open it: `read_only()` or `read_write()`"]
pub struct OpenBdev<'a> {
    spdk: &'a Spdk,
    name: &'a str,
}

impl<'a> OpenBdev<'a> {
    pub(super) fn new(spdk: &'a Spdk, name: &'a str) -> Self {
        Self { spdk, name }
    }

    /// Waits for the bdev if it is not there yet, for that long at most.
    ///
    /// It is looked for every 10 ms.
    pub fn within(self, time: Duration) -> OpenBdevWithin<'a> {
        OpenBdevWithin { open: self, time }
    }

    /// Opens it for reading. Claims do not stand in the way.
    ///
    /// # Errors
    ///
    /// [`OpenError::NotFound`] and its like.
    pub fn read_only(self) -> Result<BdevDesc<ReadOnly, Opened>, OpenError> {
        self.open(false)
    }

    /// Opens it for reading and writing.
    ///
    /// # Errors
    ///
    /// [`OpenError::Claimed`] when somebody has claimed it, and as [`read_only`](Self::read_only).
    pub fn read_write(self) -> Result<BdevDesc<ReadWrite, Opened>, OpenError> {
        self.open(true)
    }

    fn open<M: DescMode>(&self, write: bool) -> Result<BdevDesc<M, Opened>, OpenError> {
        self.spdk.check()?;
        BdevDesc::open_now(self.name, write)
    }
}

/// A descriptor to be opened when its bdev is there; see [`OpenBdev::within`].
///
/// Its futures may be dropped at any time: a descriptor is opened only in the poll that returns it.
#[derive(Debug)]
#[must_use = "say how to open it: `read_only()` or `read_write()`"]
pub struct OpenBdevWithin<'a> {
    open: OpenBdev<'a>,
    time: Duration,
}

impl OpenBdevWithin<'_> {
    /// As [`OpenBdev::read_only`].
    ///
    /// # Errors
    ///
    /// [`OpenError::TimedOut`] when the bdev did not come in time.
    pub async fn read_only(self) -> Result<BdevDesc<ReadOnly, Opened>, OpenError> {
        self.wait(false).await
    }

    /// As [`OpenBdev::read_write`]. A claim is not waited for.
    ///
    /// # Errors
    ///
    /// [`OpenError::TimedOut`] when the bdev did not come in time.
    pub async fn read_write(self) -> Result<BdevDesc<ReadWrite, Opened>, OpenError> {
        self.wait(true).await
    }

    async fn wait<M: DescMode>(self, write: bool) -> Result<BdevDesc<M, Opened>, OpenError> {
        // None: for ever.
        let deadline = Instant::now().checked_add(self.time);
        loop {
            match self.open.open(write) {
                Err(OpenError::NotFound { .. }) => {}
                done => return done,
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(OpenError::TimedOut {
                    name: self.open.name.to_owned(),
                    after: self.time,
                });
            }
            pause(left.map_or(PERIOD, |left| left.min(PERIOD))).await?;
        }
    }
}

/// Waits on the current SPDK thread.
async fn pause(period: Duration) -> Result<(), ThreadError> {
    #[derive(Default)]
    struct Pause {
        over: bool,
        waker: Option<Waker>,
    }
    let shared = Rc::new(RefCell::new(Pause::default()));
    let told = Rc::clone(&shared);
    let _poller = Poller::register(Some(period), move || {
        let waker = {
            let mut pause = told.borrow_mut();
            pause.over = true;
            pause.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        PollerStatus::Busy
    })?;
    poll_fn(|cx| {
        // Cloned and dropped while nothing is borrowed: a waker is somebody's code.
        let waker = cx.waker().clone();
        if shared.borrow().over {
            return Poll::Ready(());
        }
        let old = shared.borrow_mut().waker.replace(waker);
        drop(old);
        Poll::Pending
    })
    .await;
    Ok(())
}
