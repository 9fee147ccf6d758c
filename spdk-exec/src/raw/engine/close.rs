//! The end of an executor's life, and the beginning of the next.

use super::stack::Frame;
use super::{Engine, Notifier};
use crate::JoinError;
use crate::loom::atomic::Ordering::*;
use crate::loom::spin;
use crate::raw::header::HeaderRef;

impl Engine {
    /// 2 and 3; if a task of this executor runs below on the stack, as soon as it has returned.
    pub(crate) fn close(&'static self) {
        self.shared.gate.close();
        if self.home.depth.get() > 0 {
            self.home.close_requested.set(true);
            return;
        }
        let frame = Frame::enter(self);
        // Destructors may wake tasks, but none runs any more.
        self.home.in_future.set(true);
        loop {
            self.take_remote();
            while let Some(header) = self.home.owned.front() {
                self.drop_task(header);
            }
            // In this order: no task is left whose wakes could be under way, then no visitor, who
            // may have pushed a new task before it left.
            if self.home.zombies.get() == 0
                && self.shared.gate.is_empty()
                && self.shared.remote.is_empty()
            {
                break;
            }
            spin();
        }
        while let Some(header) = self.home.queue.pop() {
            let now = header.state.unlink();
            self.release_if_last(header, now);
        }
        // What still waits is in no task of this executor.
        while let Some(waker) = self.home.timers.pop_due(u64::MAX) {
            waker
                .into_iter()
                .for_each(|waker| self.wake_contained(waker));
        }
        self.home.in_future.set(false);
        self.home.clock.set(None);
        // Dropped last, as that runs another crate's code.
        let _notifier = self.home.notifier.with_mut(|notifier| {
            // SAFETY: no visitor is left, no header that could make one has REMOTE set.
            unsafe { notifier.replace(Notifier::None) }
        });
        drop(frame);
        self.home.thread.store(0, Relaxed);
        #[cfg(feature = "std")]
        self.home.os_thread.store(0, Relaxed);
        if self.shared.gate.next_epoch() {
            let on_loan = self.home.on_loan.get();
            // Release: pairs with the next bind.
            self.home.bound.store(false, Release);
            if on_loan {
                #[cfg(feature = "alloc")]
                crate::raw::shelf::put(self);
            }
        }
    }

    fn drop_task(&'static self, header: HeaderRef) {
        let (vtable, data) = header.task();
        // SAFETY: the task is live, this is its home thread, and no frame below polls it.
        let step = unsafe { (vtable.abort)(data, JoinError::Aborted) };
        self.finish(header, step);
    }
}
