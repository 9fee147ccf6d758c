//! Per-thread storage: T14.

use std::cell::{Cell, RefCell};

use spdk_safe::error::ThreadError;
use spdk_safe::thread_storage;

use crate::{Court, SPDK, Witness, here, migratable, pinned};

thread_storage! {
    static COUNT: Cell<u64> = Cell::new(here());
    static FIRST: RefCell<Option<Witness>> = RefCell::new(None);
    static SECOND: RefCell<Option<Witness>> = RefCell::new(None);
    static RECURSIVE: u64 = RECURSIVE.with(|n| *n).unwrap_or(7);
    static PANICS: u64 = match COUNT.with(|count| count.replace(0)) {
        Ok(0) => 1,
        _ => panic!("on purpose"),
    };
    static AT_EXIT: RefCell<Option<OnDrop>> = RefCell::new(None);
    static NEVER: Cell<u64> = Cell::new(0);
}

/// Runs its closure when it is dropped.
struct OnDrop(Option<Box<dyn FnOnce()>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        (self.0.take().unwrap())();
    }
}

#[test]
fn t14_each_spdk_thread_has_a_value_of_its_own_though_they_share_an_os_thread() {
    SPDK.run(async |spdk| {
        let threads = [pinned(&spdk, "a").await, pinned(&spdk, "b").await];
        for thread in &threads {
            let id = thread.id().get();
            let count = || COUNT.with(|count| count.replace(count.get() + 1)).unwrap();
            assert_eq!(thread.call(count).await, Ok(id));
            assert_eq!(thread.call(count).await, Ok(id + 1));
        }
        assert_eq!(COUNT.with(Cell::get), Ok(here()), "the app thread's own");
        for thread in threads {
            thread.exit().await;
        }
    });
}

#[test]
fn t14_values_are_dropped_on_their_thread_the_last_one_first() {
    SPDK.run(async |spdk| {
        let thread = pinned(&spdk, "drops").await;
        let court = Court::new();
        let (first, second) = (court.witness("first"), court.witness("second"));
        let fill = move || {
            FIRST.with(|slot| slot.replace(Some(first))).unwrap();
            SECOND.with(|slot| slot.replace(Some(second))).unwrap();
        };
        thread.call(fill).await.unwrap();
        let id = thread.id().get();
        thread.exit().await;
        assert_eq!(court.said(), [("second", id), ("first", id)]);
    });
}

#[test]
fn t14_a_value_that_asks_for_itself_while_it_is_made_gets_an_error() {
    SPDK.run(async |spdk| {
        let thread = pinned(&spdk, "recursive").await;
        let value = thread.call(|| RECURSIVE.with(|n| *n)).await.unwrap();
        assert_eq!(value, Ok(7));
        thread.exit().await;
    });
}

#[test]
fn t14_a_value_whose_maker_panics_may_be_made_again() {
    SPDK.run(async |spdk| {
        let thread = pinned(&spdk, "panics").await;
        assert!(thread.call(|| PANICS.with(|n| *n)).await.is_err());
        assert_eq!(thread.call(|| PANICS.with(|n| *n)).await, Ok(Ok(1)));
        thread.exit().await;
    });
}

#[test]
fn t14_destructors_see_what_is_left_and_errors_for_the_rest() {
    SPDK.run(async |spdk| {
        let thread = pinned(&spdk, "re-entry").await;
        let (send, seen) = std::sync::mpsc::channel();
        let fill = move || {
            // Made first, so that it is still there.
            COUNT.with(|count| count.set(5)).unwrap();
            AT_EXIT
                .with(|slot| {
                    slot.replace(Some(OnDrop(Some(Box::new(move || {
                        let own = AT_EXIT.with(|_| ());
                        let later = SECOND.with(|_| ());
                        let unmade = NEVER.with(|_| ());
                        let _ = send.send((own, later, unmade, COUNT.with(Cell::get)));
                    })))))
                })
                .unwrap();
            SECOND.with(|_| ()).unwrap();
        };
        thread.call(fill).await.unwrap();
        thread.exit().await;
        let gone = Err(ThreadError::Exiting);
        assert_eq!(seen.recv().unwrap(), (gone, gone, gone, Ok(5)));
    });
}

#[test]
fn t8_t14_there_is_no_value_without_a_thread_that_stays() {
    assert_eq!(COUNT.with(Cell::get), Err(ThreadError::NoThread));
    SPDK.run(async |spdk| {
        let thread = migratable(&spdk, "moves").await;
        let value = thread.call(|| COUNT.with(Cell::get)).await.unwrap();
        assert_eq!(value, Err(ThreadError::Migratable));
        thread.exit().await;
    });
}
