//! A future that is made at its first poll.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

pin_project! {
    /// A closure from another thread, then the future that it made at home.
    #[project = LazyProj]
    pub(crate) enum Lazy<C, F> {
        Closure { make: Option<C> },
        Future { #[pin] future: F },
    }
}

impl<C: FnOnce() -> F, F: Future> Lazy<C, F> {
    pub(crate) fn new(make: C) -> Self {
        Self::Closure { make: Some(make) }
    }
}

impl<C: FnOnce() -> F, F: Future> Future for Lazy<C, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        loop {
            match self.as_mut().project() {
                LazyProj::Closure { make } => {
                    let make = make.take().expect("a task is not polled after a panic");
                    let future = make();
                    self.set(Self::Future { future });
                }
                LazyProj::Future { future } => return future.poll(cx),
            }
        }
    }
}
