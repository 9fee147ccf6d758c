//! The state word and the wakers made from it, step by step.

use crate::raw::header::{Header, HeaderRef};
use crate::raw::state::{DropHandle, JoinAccess, Kind, RemoteWake, State, TAG_MASK};
use crate::raw::waker;
use crate::{Budget, LocalExecutor};

fn live(handle: bool) -> State {
    let state = State::vacant(Kind::Static);
    assert!(state.claim());
    state.publish(handle, false);
    state
}

#[test]
fn a_claimed_header_is_busy_until_all_let_go() {
    let state = State::vacant(Kind::Static);
    assert!(state.claim());
    assert!(!state.claim());
    let tag = state.publish(true, false).tag();
    assert_eq!(state.wake_remote(tag), RemoteWake::Push);
    let (now, waker) = state.complete(true, || unreachable!("no join waker was left"));
    assert!(now.is_complete() && now.is_remote() && waker.is_none());

    // Handle, remote queue and run queue let go one after the other.
    assert_eq!(state.drop_handle(), DropHandle::Output);
    assert!(!state.release_handle().is_releasable());
    assert!(!state.claim());
    assert!(!state.take_remote().is_releasable());
    assert!(!state.claim());
    assert!(state.unlink().is_releasable());
    state.vacate();
    assert!(state.claim());
}

#[test]
fn wakes_coalesce_until_the_queue_is_taken() {
    let state = live(false);
    let tag = state.load().tag();
    assert_eq!(state.wake_remote(tag), RemoteWake::Push);
    assert_eq!(state.wake_remote(tag), RemoteWake::Coalesced);
    state.take_remote();
    assert_eq!(state.wake_remote(tag), RemoteWake::Push);
    assert_eq!(state.wake_remote(tag ^ 1), RemoteWake::Stale);
    let _ = state.complete(false, || ());
    assert_eq!(state.wake_remote(tag), RemoteWake::Stale);
    assert_eq!(state.abort_remote(), RemoteWake::Stale);
}

#[test]
fn the_join_waker_is_taken_by_one_side() {
    let state = live(true);
    assert_eq!(state.open_join(), JoinAccess::Empty);
    assert!(state.close_join());
    assert_eq!(state.open_join(), JoinAccess::Full);
    assert!(state.close_join());
    let (now, waker) = state.complete(false, || "taken");
    assert_eq!(waker, Some("taken"));
    assert!(now.has_handle() && !now.is_releasable());
    assert_eq!(state.open_join(), JoinAccess::Complete);
    assert!(!state.close_join());
}

#[test]
fn a_task_outlives_its_handle() {
    let state = live(true);
    assert_eq!(state.drop_handle(), DropHandle::Detached);
    let (now, _) = state.complete(false, || ());
    assert!(!now.has_handle() && now.is_releasable());
}

#[test]
fn every_life_has_a_tag_of_its_own_for_64_lives() {
    let state = State::vacant(Kind::Pool);
    let mut last = state.load();
    for life in 0..200 {
        assert!(state.claim());
        let now = state.publish(false, false);
        assert_eq!(now.tag(), life & TAG_MASK);
        assert_eq!(now.kind(), Kind::Pool);
        assert!(!now.is_same_life(last));
        assert!(now.is_same_life(state.load()));
        last = now;
        let _ = state.complete(false, || ());
        state.vacate();
        assert!(!state.load().is_same_life(last));
    }
}

#[test]
fn wakers_name_the_header_and_the_life() {
    static HEADER: Header = Header::new(Kind::Static);
    let header: HeaderRef = &HEADER;
    for life in 0..100 {
        assert!(header.state.claim());
        let now = header.state.publish(false, false);
        let waker = waker::waker(header, now);
        let (back, tag) = waker::header_of(&waker).expect("one of ours");
        assert!(core::ptr::eq(back, header));
        assert_eq!(tag, life & TAG_MASK);
        assert!(waker.will_wake(&waker.clone()));
        let _ = header.state.complete(false, || ());
        header.state.vacate();
    }
    assert!(waker::header_of(core::task::Waker::noop()).is_none());
}

/// An engine's own lists hold together while tasks come and go.
#[test]
fn an_executor_stays_valid() {
    let executor = LocalExecutor::new();
    for round in 0..20 {
        let tasks: std::vec::Vec<_> = (0..round)
            .map(|_| executor.spawn(crate::yield_now()))
            .collect();
        executor.engine().assert_valid();
        tasks.iter().step_by(2).for_each(|task| task.abort());
        executor.engine().assert_valid();
        let _ = executor.poll(Budget(round / 2));
        executor.engine().assert_valid();
        drop(tasks);
        let _ = executor.poll(Budget::ALL);
        executor.engine().assert_valid();
    }
    while executor.poll(Budget::ALL).is_busy() {}
    assert_eq!(executor.stats().alive, 0);
}
