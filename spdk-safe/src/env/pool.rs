//! Buffers that are used again.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::{AllocError, DmaBuf};
use crate::panic::contain;
use crate::units::Bytes;

/// A fixed number of equal buffers, for one OS thread: taking one allocates nothing.
///
/// A buffer goes back by being dropped, also after the pool is gone. What the last user wrote is still in it.
#[derive(Debug, Clone)]
pub struct DmaPool {
    core: Rc<PoolCore>,
}

#[derive(Debug)]
struct PoolCore {
    idle: RefCell<Vec<DmaBuf>>,
    waiting: RefCell<VecDeque<Waker>>,
}

impl DmaPool {
    /// Takes `count` zeroed buffers of `len` bytes, aligned to `align`.
    ///
    /// # Errors
    ///
    /// See [`AllocError`].
    pub fn new(count: usize, len: Bytes, align: usize) -> Result<Self, AllocError> {
        let idle = (0..count)
            .map(|_| DmaBuf::zeroed(len, align))
            .collect::<Result<_, _>>()?;
        let core = PoolCore {
            idle: RefCell::new(idle),
            waiting: RefCell::default(),
        };
        Ok(Self {
            core: Rc::new(core),
        })
    }

    /// A buffer; `None` when all are in use.
    #[must_use]
    pub fn take(&self) -> Option<PooledBuf> {
        let buf = self.core.idle.borrow_mut().pop()?;
        Some(PooledBuf {
            buf: Some(buf),
            pool: Rc::clone(&self.core),
        })
    }

    /// A buffer, as soon as there is one. Of several that wait, the first that is polled again gets it; a pool of no
    /// buffers never has one.
    pub async fn get(&self) -> PooledBuf {
        poll_fn(|cx| match self.take() {
            Some(buf) => Poll::Ready(buf),
            None => {
                // Cloned first: a waker is somebody's code, and nothing is borrowed while that runs.
                let waker = cx.waker().clone();
                let mut waiting = self.core.waiting.borrow_mut();
                let known = waiting.iter().any(|have| have.will_wake(&waker));
                let spare = match known {
                    true => Some(waker),
                    false => {
                        waiting.push_back(waker);
                        None
                    }
                };
                drop(waiting);
                drop(spare);
                Poll::Pending
            }
        })
        .await
    }

    /// How many buffers are not in use.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.core.idle.borrow().len()
    }
}

/// A buffer of a [`DmaPool`]; dropping it gives it back.
#[derive(Debug)]
pub struct PooledBuf {
    /// There until the drop.
    buf: Option<DmaBuf>,
    pool: Rc<PoolCore>,
}

impl Deref for PooledBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buf.as_deref().unwrap_or_default()
    }
}

impl DerefMut for PooledBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.buf.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for PooledBuf {
    fn drop(&mut self) {
        if let Some(buf) = self.buf.take() {
            self.pool.idle.borrow_mut().push(buf);
        }
        // All of them: one whose future is gone must not swallow the others' turn.
        let waiting = std::mem::take(&mut *self.pool.waiting.borrow_mut());
        for waker in waiting {
            contain("a waker", || waker.wake());
        }
    }
}
