//! Random operations on the lists and on the timers, against what the standard library says.

use core::pin::Pin;
use std::boxed::Box;
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Wake;
use std::vec::Vec;

use proptest::prelude::*;

use crate::raw::header::{Header, HeaderRef};
use crate::raw::owned::OwnedList;
use crate::raw::remote_queue::RemoteQueue;
use crate::raw::run_queue::{Batch, RunQueue};
use crate::raw::state::Kind;
use crate::raw::timers::{TimerHeap, TimerNode, TimerState};

const HEADERS: usize = 8;
const TIMERS: usize = 16;

/// Headers live for ever, and a leak checker finds them.
fn headers() -> [HeaderRef; HEADERS] {
    static ALL: Mutex<Vec<[HeaderRef; HEADERS]>> = Mutex::new(Vec::new());
    let headers = core::array::from_fn(|_| &*Box::leak(Box::new(Header::new(Kind::Static))));
    ALL.lock().unwrap().push(headers);
    headers
}

fn index(headers: &[HeaderRef], header: HeaderRef) -> usize {
    headers
        .iter()
        .position(|other| core::ptr::eq(*other, header))
        .expect("a header of the test")
}

#[derive(Clone, Copy, Debug)]
enum QueueOp {
    Push(usize),
    Pop,
    /// A batch from the remote queue, newest first.
    Append([usize; 3]),
}

fn queue_op() -> impl Strategy<Value = QueueOp> {
    prop_oneof![
        3 => (0..HEADERS).prop_map(QueueOp::Push),
        3 => Just(QueueOp::Pop),
        1 => prop::array::uniform3(0..HEADERS).prop_map(QueueOp::Append),
    ]
}

#[derive(Clone, Copy, Debug)]
enum ListOp {
    Push(usize),
    Remove(usize),
    Front,
}

fn list_op() -> impl Strategy<Value = ListOp> {
    prop_oneof![
        3 => (0..HEADERS).prop_map(ListOp::Push),
        2 => (0..HEADERS).prop_map(ListOp::Remove),
        1 => Just(ListOp::Front),
    ]
}

#[derive(Clone, Copy, Debug)]
enum RemoteOp {
    Push(usize),
    TakeAll,
}

fn remote_op() -> impl Strategy<Value = RemoteOp> {
    prop_oneof![4 => (0..HEADERS).prop_map(RemoteOp::Push), 1 => Just(RemoteOp::TakeAll)]
}

#[derive(Clone, Copy, Debug)]
enum TimerOp {
    Insert(usize, u64),
    Remove(usize),
    Pass(u64),
}

fn timer_op() -> impl Strategy<Value = TimerOp> {
    // Few different times, so that many timers share one.
    prop_oneof![
        4 => (0..TIMERS, 0..12u64).prop_map(|(timer, after)| TimerOp::Insert(timer, after)),
        2 => (0..TIMERS).prop_map(TimerOp::Remove),
        1 => (0..6u64).prop_map(TimerOp::Pass),
    ]
}

struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

proptest! {
    #[test]
    fn the_run_queue_is_a_fifo_without_doubles(ops in prop::collection::vec(queue_op(), 0..200)) {
        let (headers, queue) = (headers(), RunQueue::new());
        let mut model = VecDeque::new();
        for op in ops {
            match op {
                QueueOp::Push(header) => {
                    let new = !model.contains(&header);
                    prop_assert_eq!(queue.push(headers[header]), new);
                    if new {
                        model.push_back(header);
                    }
                }
                QueueOp::Append(newest_first) => {
                    let mut batch = Batch::new();
                    let mut oldest_first = VecDeque::new();
                    for header in newest_first {
                        batch.push_front(headers[header]);
                        if !model.contains(&header) && !oldest_first.contains(&header) {
                            oldest_first.push_front(header);
                        }
                    }
                    let seen: Vec<_> = batch.iter().map(|header| index(&headers, header)).collect();
                    prop_assert_eq!(&seen, &Vec::from(oldest_first.clone()));
                    queue.append(batch);
                    model.extend(oldest_first);
                }
                QueueOp::Pop => {
                    let popped = queue.pop().map(|header| index(&headers, header));
                    prop_assert_eq!(popped, model.pop_front());
                }
            }
            queue.assert_valid();
            prop_assert_eq!(queue.len(), model.len());
            for (i, header) in headers.iter().enumerate() {
                prop_assert_eq!(header.is_queued(), model.contains(&i));
            }
        }
    }

    #[test]
    fn the_list_of_tasks_keeps_their_order(ops in prop::collection::vec(list_op(), 0..200)) {
        let (headers, list) = (headers(), OwnedList::new());
        let mut model = Vec::new();
        for op in ops {
            match op {
                ListOp::Push(header) if !model.contains(&header) => {
                    list.push_back(headers[header]);
                    model.push(header);
                }
                ListOp::Remove(header) if model.contains(&header) => {
                    list.remove(headers[header]);
                    model.retain(|other| *other != header);
                }
                _ => {
                    let front = list.front().map(|header| index(&headers, header));
                    prop_assert_eq!(front, model.first().copied());
                }
            }
            list.assert_valid();
            prop_assert_eq!(list.len(), model.len());
            for (i, header) in headers.iter().enumerate() {
                prop_assert_eq!(OwnedList::contains(header), model.contains(&i));
            }
        }
    }

    #[test]
    fn the_remote_queue_gives_all_newest_first(
        ops in prop::collection::vec(remote_op(), 0..100),
    ) {
        let (headers, queue) = (headers(), RemoteQueue::new());
        let mut model = Vec::new();
        for op in ops {
            match op {
                // The state's REMOTE bit keeps a header from being pushed twice.
                RemoteOp::Push(header) if !model.contains(&header) => {
                    let mut told = 0;
                    let first = queue.push(headers[header], || told += 1);
                    prop_assert_eq!(first, model.is_empty());
                    prop_assert_eq!(told, usize::from(model.is_empty()));
                    model.push(header);
                }
                RemoteOp::Push(_) => {}
                RemoteOp::TakeAll => {
                    let taken: Vec<_> = queue
                        .take_all()
                        .map(|header| index(&headers, header))
                        .collect();
                    model.reverse();
                    prop_assert_eq!(taken, core::mem::take(&mut model));
                }
            }
            prop_assert_eq!(queue.is_empty(), model.is_empty());
        }
    }

    #[test]
    fn timers_fire_in_the_order_of_time_then_of_setting(
        ops in prop::collection::vec(timer_op(), 0..200),
    ) {
        let heap = TimerHeap::new();
        let timers: Vec<Pin<Box<TimerNode>>> =
            (0..TIMERS).map(|_| Box::pin(TimerNode::new(0, false))).collect();
        let counters: Vec<_> = (0..TIMERS).map(|_| Arc::new(Counter(AtomicUsize::new(0)))).collect();
        // (deadline, sequence, timer)
        let mut model = BTreeSet::new();
        let (mut now, mut sequence) = (0, 0);
        for op in ops {
            match op {
                TimerOp::Insert(timer, after) => {
                    if timers[timer].state() == TimerState::Linked {
                        continue;
                    }
                    timers[timer].rearm(now + after);
                    timers[timer].set_waker(&counters[timer].clone().into());
                    // SAFETY: not linked, pinned in its box, removed below.
                    unsafe { heap.insert(&timers[timer]) };
                    model.insert((now + after, sequence, timer));
                    sequence += 1;
                }
                TimerOp::Remove(timer) => {
                    // SAFETY: of this heap, if it is linked.
                    unsafe { heap.remove(&timers[timer]) };
                    model.retain(|(_, _, other)| *other != timer);
                }
                TimerOp::Pass(time) => {
                    now += time;
                    let due = model.split_off(&(now + 1, 0, 0));
                    for (deadline, _, timer) in core::mem::replace(&mut model, due) {
                        prop_assert_eq!(heap.next_deadline(), Some(deadline));
                        let before = counters[timer].0.load(Ordering::Relaxed);
                        heap.pop_due(now).expect("one is due").expect("it has a waker").wake();
                        prop_assert_eq!(counters[timer].0.load(Ordering::Relaxed), before + 1);
                        prop_assert_eq!(timers[timer].state(), TimerState::Fired);
                    }
                    prop_assert!(heap.pop_due(now).is_none());
                }
            }
            prop_assert_eq!(heap.assert_valid(), model.len());
            prop_assert_eq!(heap.is_empty(), model.is_empty());
            prop_assert_eq!(heap.next_deadline(), model.first().map(|first| first.0));
        }
        for timer in &timers {
            // SAFETY: of this heap, if it is linked.
            unsafe { heap.remove(timer) };
        }
        prop_assert_eq!(heap.assert_valid(), 0);
    }
}
