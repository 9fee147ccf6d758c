//! Pollers that pause, on threads that come and go.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use spdk_safe::app::yield_now;
use spdk_safe::error::ThreadError;
use spdk_safe::thread::{Poller, PollerStatus};

use crate::{SPDK, migratable, pinned};

thread_local!(static OWN: RefCell<Option<Poller>> = const { RefCell::new(None) });

/// Passes of the loop that are enough for a poller to be called in, or not.
async fn passes() {
    for _ in 0..100 {
        yield_now().await;
    }
}

#[test]
fn a_poller_that_is_paused_is_not_called_until_it_is_resumed() {
    SPDK.run(async |_spdk| {
        for period in [None, Some(Duration::from_micros(1))] {
            let calls = Rc::new(Cell::new(0));
            let count = Rc::clone(&calls);
            let poller = Poller::register_named(c"pauses", period, move || {
                count.set(count.get() + 1);
                PollerStatus::Busy
            });
            let poller = poller.unwrap();
            passes().await;
            assert!(calls.get() > 0);
            poller.pause().unwrap();
            poller.pause().unwrap();
            assert!(poller.is_paused());
            let before = calls.get();
            passes().await;
            assert_eq!(calls.get(), before);
            poller.resume().unwrap();
            poller.resume().unwrap();
            passes().await;
            assert!(calls.get() > before);
            // Never told to SPDK: it changed its mind.
            poller.pause().unwrap();
            poller.resume().unwrap();
            let before = calls.get();
            passes().await;
            assert!(calls.get() > before);
            // Paused, and dropped before SPDK has put it aside.
            poller.pause().unwrap();
            drop(poller);
            passes().await;
            assert_eq!(Rc::strong_count(&calls), 1);
        }
    });
}

#[test]
fn a_poller_may_pause_itself_and_be_dropped_in_the_same_call() {
    SPDK.run(async |_spdk| {
        for (period, dropped) in [
            (None, false),
            (None, true),
            (Some(Duration::from_micros(1)), false),
            (Some(Duration::from_micros(1)), true),
        ] {
            let calls = Rc::new(Cell::new(0));
            let count = Rc::clone(&calls);
            // A neighbour on the same list, which must not be lost.
            let neighbours = Rc::new(Cell::new(0));
            let neighbour = Rc::clone(&neighbours);
            let poller = Poller::register(period, move || {
                count.set(count.get() + 1);
                let own = OWN.take().unwrap();
                own.pause().unwrap();
                match dropped {
                    true => drop(own),
                    false => OWN.set(Some(own)),
                }
                PollerStatus::Busy
            });
            OWN.set(Some(poller.unwrap()));
            let other = Poller::register(period, move || {
                neighbour.set(neighbour.get() + 1);
                PollerStatus::Busy
            });
            passes().await;
            assert_eq!(calls.get(), 1);
            if let Some(own) = OWN.take() {
                own.resume().unwrap();
                OWN.set(Some(own));
                passes().await;
                assert_eq!(calls.get(), 2, "resumed once");
                drop(OWN.take());
            }
            passes().await;
            assert_eq!(Rc::strong_count(&calls), 1);
            let before = neighbours.get();
            passes().await;
            assert!(neighbours.get() > before);
            drop(other);
        }
    });
}

#[test]
fn t4_a_poller_is_paused_on_its_own_thread_alone() {
    SPDK.run(async |spdk| {
        let thread = pinned(&spdk, "t4").await;
        OWN.set(Some(Poller::register(None, || PollerStatus::Idle).unwrap()));
        // The same OS thread, so the thread-local smuggles it.
        let smuggled = thread.call(|| {
            let poller = OWN.take().unwrap();
            let paused = (poller.pause(), poller.resume());
            drop(poller);
            paused
        });
        let wrong = Err(ThreadError::WrongThread);
        assert_eq!(smuggled.await.unwrap(), (wrong, wrong));
        passes().await;
        thread.exit().await;
    });
}

#[test]
fn t3_a_poller_is_refused_where_it_could_be_moved_away() {
    SPDK.run(async |spdk| {
        let thread = migratable(&spdk, "moves").await;
        let made = thread.call(|| Poller::register(None, || PollerStatus::Idle).err());
        assert_eq!(made.await.unwrap(), Some(ThreadError::Migratable));
        thread.exit().await;
    });
}

#[test]
fn t5_t7_pollers_dropped_on_another_thread_fill_no_ring() {
    thread_local!(static MANY: RefCell<Vec<Poller>> = const { RefCell::new(Vec::new()) });
    SPDK.run(async |spdk| {
        let alive = Rc::new(());
        let mut all = Vec::new();
        for _ in 0..70_000 {
            let mine = Rc::clone(&alive);
            let idle = move || {
                let _ = &mine;
                PollerStatus::Idle
            };
            all.push(Poller::register(Some(Duration::from_secs(1000)), idle).unwrap());
        }
        MANY.set(all);
        // On the same reactor, so on the same OS thread.
        let thread = pinned(&spdk, "drops").await;
        thread.call(|| drop(MANY.take())).await.unwrap();
        thread.exit().await;
        while Rc::strong_count(&alive) != 1 {
            yield_now().await;
        }
    });
}

#[test]
fn a_period_of_centuries_is_long() {
    SPDK.run(async |_spdk| {
        let seconds = (1u128 << 64).div_ceil(u128::from(spdk_safe::thread::ticks_per_second()));
        for period in [Duration::from_secs(seconds as u64), Duration::MAX] {
            let calls = Rc::new(Cell::new(0));
            let count = Rc::clone(&calls);
            let poller = Poller::register(Some(period), move || {
                count.set(count.get() + 1);
                PollerStatus::Idle
            });
            for _ in 0..100 {
                passes().await;
            }
            assert_eq!(calls.get(), 0);
            drop(poller);
        }
    });
}
