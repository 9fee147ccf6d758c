//! One timer.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use crate::Spawner;
use crate::raw::timers::{TimerNode, TimerState};

/// Waits for a moment; made by [`Spawner::sleep`] and [`Spawner::sleep_until`].
///
/// The timer's node is in this future, and taken out of the executor's queue when it is dropped: to
/// set and to cancel a timer allocates nothing. It belongs to the executor's home thread, and may
/// be polled by any executor there. When its own closes it is ready at once.
#[must_use = "a Sleep does nothing unless awaited"]
pub struct Sleep {
    spawner: Spawner,
    /// In `spawner`'s heap if its state says that it is linked.
    node: TimerNode,
}

impl Sleep {
    /// Over already if `deadline` is not after `now`. After that the clock is not read again: a
    /// moment that passes before the first poll fires with the executor's next one.
    pub(crate) fn new(spawner: Spawner, deadline: u64, now: u64) -> Self {
        Self {
            spawner,
            node: TimerNode::new(deadline, deadline <= now),
        }
    }

    /// When it is over, in the clock's ticks.
    pub fn deadline(&self) -> u64 {
        self.node.deadline()
    }

    /// Waits for another moment from now on.
    pub fn reset(self: Pin<&mut Self>, deadline: u64) {
        self.unlink();
        self.node.rearm(deadline);
    }

    fn unlink(&self) {
        if self.node.state() == TimerState::Linked {
            // SAFETY: a linked node is in the heap of `spawner`'s engine, which is open, as closing
            // takes out every node; and this is its home thread, as a spawner can't leave it.
            unsafe { self.spawner.engine().timers().remove(&self.node) };
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.node.state() {
            TimerState::Fired => return Poll::Ready(()),
            TimerState::Linked => {}
            TimerState::Idle => {
                let Ok(engine) = self.spawner.open() else {
                    return Poll::Ready(());
                };
                // SAFETY: the node is not linked, pinned with `self`, taken out by `drop`, and this
                // is the heap's home thread.
                unsafe { engine.timers().insert(&self.node) };
            }
        }
        self.node.set_waker(cx.waker());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.unlink();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.deadline())
            .field("state", &self.node.state())
            .finish_non_exhaustive()
    }
}
