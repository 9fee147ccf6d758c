//! Giving way.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

/// Lets every other task that waits for its turn go first.
///
/// # Examples
/// ```
/// # async fn work(chunks: Vec<u32>) {
/// for chunk in chunks {
///     // ... work on it ...
///     spdk_exec::yield_now().await;
/// }
/// # }
/// ```
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// Made by [`yield_now`].
#[derive(Debug)]
#[must_use = "it yields only when awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
