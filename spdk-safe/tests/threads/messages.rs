//! Messages and calls: T5 to T8, T13, T15.

use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use spdk_safe::app::yield_now;
use spdk_safe::error::{
    CallError, CoresError, JoinError, ThreadCreateError, ThreadError, TrySendError,
};
use spdk_safe::prelude::*;
use spdk_safe::thread;

use crate::{SPDK, block_on, here, migratable, pinned, poll_once};

#[test]
fn calls_run_on_their_thread_and_give_their_results() {
    SPDK.run(async |spdk| {
        let (one, two) = (pinned(&spdk, "one").await, migratable(&spdk, "two").await);
        assert_ne!(one.id(), two.id());
        assert_eq!(one.call(here).await.unwrap(), one.id().get());
        assert_eq!(two.call(here).await.unwrap(), two.id().get());
        let name = one.call(|| thread::current().unwrap().name().to_owned());
        assert_eq!(name.await.unwrap(), "one");
        assert_eq!(thread::by_id(two.id()).unwrap(), two.handle());
        assert_eq!(thread::current().unwrap(), thread::app().unwrap());
        assert_eq!(thread::app().unwrap().call(|| 1).await.unwrap(), 1);
        two.exit().await;
        one.exit().await;
    });
}

#[test]
fn t6_a_handle_that_outlives_its_thread_gives_errors() {
    SPDK.run(async |spdk| {
        let thread = pinned(&spdk, "t6").await;
        let handle = thread.handle();
        thread.exit().await;
        assert!(!handle.is_open());
        let exited = CallError::Exited {
            thread: "t6".into(),
        };
        assert_eq!(handle.send(|| ()).await, Err(exited.clone()));
        assert_eq!(handle.call(|| 1).await, Err(exited.clone()));
        assert_eq!(handle.stats().await.unwrap_err(), exited);
        assert_eq!(handle.spawn(|| async {}).await.unwrap_err(), exited);
        let kept = Rc::new(());
        let Err(TrySendError::Exited(closure)) = handle.try_send(|| ()) else {
            panic!("sent to a thread that has exited");
        };
        closure();
        drop(kept);
        assert!(thread::by_id(handle.id()).is_none());
        handle.exited().await;
    });
}

#[test]
fn t6_messages_that_were_accepted_before_the_exit_are_run() {
    SPDK.run(async |spdk| {
        let thread = pinned(&spdk, "t6-run").await;
        let count = Arc::new(AtomicUsize::new(0));
        for _ in 0..500 {
            let count = Arc::clone(&count);
            let count = move || _ = count.fetch_add(1, Ordering::SeqCst);
            thread.try_send(count).unwrap();
        }
        thread.exit().await;
        assert_eq!(count.load(Ordering::SeqCst), 500);
    });
}

#[test]
fn t7_a_full_thread_gives_the_closure_back_and_senders_wait_their_turn() {
    SPDK.run(async |spdk| {
        let builder = Thread::builder("t7").max_in_flight(2);
        let thread = builder.create(&spdk).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let note = |n: u32| {
            let order = Arc::clone(&order);
            move || order.lock().unwrap().push(n)
        };
        // Nothing of this runs meanwhile: both threads are on one reactor.
        thread.try_send(note(0)).unwrap();
        thread.try_send(note(1)).unwrap();
        let Err(TrySendError::Full(closure)) = thread.try_send(note(6)) else {
            panic!("there was no room");
        };
        let mut third = Box::pin(thread.send(note(2)));
        let mut fourth = Box::pin(thread.send(note(3)));
        let mut fifth = Box::pin(thread.call(note(4)));
        assert!(poll_once(third.as_mut()).is_pending());
        assert!(poll_once(fourth.as_mut()).is_pending());
        assert!(poll_once(fifth.as_mut()).is_pending());
        let mut forgotten = Box::pin(thread.send(note(5)));
        assert!(poll_once(forgotten.as_mut()).is_pending());
        std::mem::forget(forgotten);
        assert_eq!(thread.in_flight(), 2);
        drop(fourth); // takes its message back
        third.await.unwrap();
        fifth.await.unwrap();
        while order.lock().unwrap().len() < 5 {
            yield_now().await;
        }
        closure();
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 4, 5, 6]);
        thread.exit().await;
    });
}

#[test]
fn t7_floods_from_all_sides_lose_nothing_and_keep_each_senders_order() {
    const EACH: u32 = 20_000;
    SPDK.run(async |spdk| {
        let thread = pinned(&spdk, "t7-flood").await;
        let seen = Arc::new(Mutex::new([const { Vec::new() }; 3]));
        let flood = |who: usize| {
            let (handle, seen) = (thread.handle(), Arc::clone(&seen));
            async move {
                for n in 0..EACH {
                    let seen = Arc::clone(&seen);
                    let note = move || seen.lock().unwrap()[who].push(n);
                    handle.send(note).await.unwrap();
                    assert!(handle.in_flight() <= 1024);
                }
            }
        };
        let others = [1, 2].map(|who| {
            let flood = flood(who);
            std::thread::spawn(move || block_on(flood))
        });
        flood(0).await;
        for other in others {
            while !other.is_finished() {
                yield_now().await;
            }
            other.join().unwrap();
        }
        thread.exit().await;
        let seen = seen.lock().unwrap();
        for who in &*seen {
            assert!(who.iter().copied().eq(0..EACH));
        }
    });
}

#[test]
fn t7_a_burst_that_is_larger_than_a_pass_is_run_to_its_end() {
    SPDK.run(async |spdk| {
        let thread = pinned(&spdk, "burst").await;
        let count = Arc::new(AtomicUsize::new(0));
        for _ in 0..1000 {
            let count = Arc::clone(&count);
            let add = move || _ = count.fetch_add(1, Ordering::SeqCst);
            thread.try_send(add).unwrap();
        }
        // Nothing else is sent that could help it along.
        while count.load(Ordering::SeqCst) < 1000 {
            yield_now().await;
        }
        thread.exit().await;
    });
}

#[test]
fn t7_100_000_messages_that_nobody_awaits_are_all_run() {
    SPDK.run(async |spdk| {
        let thread = pinned(&spdk, "t7-all").await;
        let count = Arc::new(AtomicUsize::new(0));
        let mut waiting: Vec<_> = (0..100_000)
            .map(|_| {
                let count = Arc::clone(&count);
                Box::pin(thread.send(move || _ = count.fetch_add(1, Ordering::Relaxed)))
            })
            .collect();
        for send in &mut waiting {
            let _ = poll_once(send.as_mut());
        }
        waiting.into_iter().for_each(std::mem::forget);
        thread.exit().await;
        assert_eq!(count.load(Ordering::Relaxed), 100_000);
    });
}

#[test]
fn t8_a_thread_is_made_on_the_app_thread_alone() {
    SPDK.run(async |spdk| {
        let smuggled = spdk.clone();
        let mut create = Box::pin(Thread::builder("t8").create(&smuggled));
        // SAFETY: only changes which SPDK thread is current on this OS thread, and is undone below.
        let thread = unsafe { spdk_sys::spdk_get_thread() };
        // SAFETY: as above.
        unsafe { spdk_sys::spdk_set_thread(std::ptr::null_mut()) };
        let polled = poll_once(create.as_mut());
        // SAFETY: as above.
        unsafe { spdk_sys::spdk_set_thread(thread) };
        let Poll::Ready(Err(error)) = polled else {
            panic!("no SPDK thread was current");
        };
        assert!(
            matches!(error, ThreadCreateError::Thread(ThreadError::NoThread)),
            "{error}"
        );
    });
    assert!(thread::current().is_none());
    assert_eq!(thread::stats().unwrap_err(), ThreadError::NoThread);
    assert_eq!(
        thread::spawn_local(async {}).unwrap_err(),
        ThreadError::NoThread
    );
}

#[test]
fn t13_a_panic_in_a_message_or_call_is_its_own_and_counted() {
    SPDK.run(async |spdk| {
        let thread = pinned(&spdk, "t13").await;
        let before = spdk_safe::contained_panics();
        thread.send(|| panic!("in a message")).await.unwrap();
        let error = thread.call(|| panic!("in a call")).await.unwrap_err();
        let CallError::Panicked {
            thread: at,
            message,
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!((&*at, &*message), ("t13", "in a call"));
        let task = thread
            .spawn(|| async { panic!("in a task") })
            .await
            .unwrap();
        assert!(matches!(task.await, Err(JoinError::Panicked { .. })));
        let made = |_: ()| -> std::future::Ready<()> { panic!("in a maker") };
        let task = thread.spawn(move || made(())).await.unwrap();
        assert!(matches!(task.await, Err(JoinError::Panicked { .. })));
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in a destructor");
            }
        }
        let bomb = Bomb;
        thread.send(move || drop(bomb)).await.unwrap();
        let task = thread.spawn(|| async { drop(Bomb) }).await.unwrap();
        assert!(matches!(task.await, Err(JoinError::Panicked { .. })));
        assert_eq!(thread.call(|| 1).await, Ok(1), "the thread goes on");
        assert_eq!(spdk_safe::contained_panics(), before + 6);
        thread.exit().await;
    });
}

#[test]
fn t15_cores_that_are_none_or_have_no_reactor_are_refused() {
    SPDK.run(async |spdk| {
        let no_reactor = |error| match error {
            ThreadCreateError::Cores {
                error: CoresError::NoReactor { core, .. },
                ..
            } => core,
            other => panic!("{other}"),
        };
        for core in [1000, 1023, 1024, 4096, u32::MAX] {
            let pinned = Thread::builder("t15").core(core).create(&spdk).await;
            assert_eq!(no_reactor(pinned.unwrap_err()), core);
            let mut cores: Vec<_> = Cores::of_reactors(&spdk).unwrap().iter().collect();
            cores.push(core);
            let many = Thread::builder("t15").migratable(Cores::of(cores));
            assert_eq!(no_reactor(many.create(&spdk).await.unwrap_err()), core);
        }
        let none = Thread::builder("t15").migratable(Cores::of([]));
        let error = none.create(&spdk).await.unwrap_err();
        assert!(
            matches!(
                error,
                ThreadCreateError::Cores {
                    error: CoresError::Empty,
                    ..
                }
            ),
            "{error}"
        );
        let thread = migratable(&spdk, "t15").await;
        assert!(thread.set_cores(Cores::of([1000])).await.is_err());
        assert!(thread.set_cores(Cores::of([])).await.is_err());
        thread.exit().await;
    });
}

#[test]
fn names_and_numbers_that_cant_be_are_refused() {
    SPDK.run(async |spdk| {
        for name in ["", "a\0b", &"x".repeat(257)] {
            let error = Thread::builder(name).create(&spdk).await.unwrap_err();
            assert!(matches!(error, ThreadCreateError::Name { .. }), "{error}");
        }
        let error = Thread::builder("room").max_in_flight(0).create(&spdk).await;
        assert!(matches!(error, Err(ThreadCreateError::NoRoom { .. })));
        let long = pinned(&spdk, &"x".repeat(256)).await;
        long.exit().await;
    });
}

#[test]
fn t7_more_threads_than_there_are_messages_for_are_refused() {
    if spdk_sys::VERSION < (22, 5, 0) {
        println!("skipped: before SPDK 22.05 the number of messages is fixed, and large");
        return;
    }
    SPDK.run(async |spdk| {
        let mut threads = Vec::new();
        let error = loop {
            match Thread::builder("many").create(&spdk).await {
                Ok(thread) => threads.push(thread),
                Err(error) => break error,
            }
        };
        assert!(
            matches!(error, ThreadCreateError::TooFewMessages { .. }),
            "{error}"
        );
        assert!(threads.len() > 8);
        // From a plain OS thread, which has no messages of its own.
        let handle = threads[0].handle();
        let other = std::thread::spawn(move || block_on(handle.call(|| 1)));
        while !other.is_finished() {
            yield_now().await;
        }
        assert_eq!(other.join().unwrap(), Ok(1));
        for thread in threads {
            thread.exit().await;
        }
    });
}

#[test]
fn t5_the_owner_may_be_dropped_anywhere_and_the_thread_exits() {
    SPDK.run(async |spdk| {
        let thread = pinned(&spdk, "t5-os").await;
        let exited = thread.exited();
        std::thread::spawn(move || drop(thread)).join().unwrap();
        exited.await;
        // By itself, in a message.
        let thread = pinned(&spdk, "t5-own").await;
        let (exited, handle) = (thread.exited(), thread.handle());
        handle.send(move || drop(thread)).await.unwrap();
        exited.await;
        // By itself, in a task that is dropped with it.
        let thread = pinned(&spdk, "t5-task").await;
        let (exited, handle) = (thread.exited(), thread.handle());
        let task = handle.spawn(move || async move {
            thread.exit().await;
            unreachable!("the task goes first");
        });
        let task = task.await.unwrap();
        exited.await;
        assert!(matches!(task.await, Err(JoinError::Exited { .. })));
        // Never made to its end.
        let mut create = Box::pin(Thread::builder("t5-half").create(&spdk));
        assert!(poll_once(create.as_mut()).is_pending());
        drop(create);
    });
}

#[test]
fn a_thread_that_was_left_open_fails_its_test() {
    let caught = std::panic::catch_unwind(|| {
        SPDK.run(async |spdk| std::mem::forget(pinned(&spdk, "left").await));
    });
    let message = caught.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("SPDK thread \"left\""), "{message}");
    SPDK.run(async |_spdk| ());
}

/// Fills SPDK's own ring to `thread` with messages that do nothing.
fn fill_ring(thread: *mut spdk_sys::spdk_thread) -> usize {
    unsafe extern "C" fn nothing(_ctx: *mut std::ffi::c_void) {}
    let send = || {
        // SAFETY: the thread has not exited, and the message touches nothing.
        unsafe { spdk_sys::spdk_thread_send_msg(thread, Some(nothing), std::ptr::null_mut()) }
    };
    (0..100_000).take_while(|_| send() == 0).count()
}

#[test]
fn t7_where_spdk_itself_is_full_nothing_is_lost() {
    if spdk_sys::VERSION >= (26, 1, 0) {
        println!(
            "skipped: from 26.01 on a full ring aborts the process, and the bound of ours keeps it from that"
        );
        return;
    }
    SPDK.run(async |spdk| {
        let thread = pinned(&spdk, "full").await;
        // SAFETY: reads a thread-local.
        let raw = || unsafe { spdk_sys::spdk_get_thread() }.expose_provenance();
        let raw = thread.call(raw).await.unwrap();
        // Nobody takes from it meanwhile: both threads are on one reactor.
        let sent = fill_ring(std::ptr::with_exposed_provenance_mut(raw));
        assert!((1..100_000).contains(&sent));
        let order = Arc::new(Mutex::new(Vec::new()));
        for n in 0..100 {
            let order = Arc::clone(&order);
            thread
                .try_send(move || order.lock().unwrap().push(n))
                .unwrap();
        }
        while order.lock().unwrap().len() < 100 {
            yield_now().await;
        }
        assert!(order.lock().unwrap().iter().copied().eq(0..100));
        thread.exit().await;
    });
}

/// A waker whose destructor asks the thread something.
struct Asks(thread::ThreadHandle);

impl std::task::Wake for Asks {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Asks {
    fn drop(&mut self) {
        assert_eq!(self.0.in_flight(), 1);
    }
}

#[test]
fn t7_the_waker_of_a_message_that_waits_is_dropped_with_nothing_locked() {
    SPDK.run(async |spdk| {
        let builder = Thread::builder("asked").max_in_flight(1);
        let thread = builder.create(&spdk).await.unwrap();
        let handle: thread::ThreadHandle = thread.handle().into();
        // Our OS thread is the thread's, so this stays in flight.
        handle.try_send(|| ()).unwrap();
        let mut send = Box::pin(handle.send(|| ()));
        for _ in 0..2 {
            let waker = std::task::Waker::from(Arc::new(Asks(handle.clone())));
            let mut cx = std::task::Context::from_waker(&waker);
            assert!(send.as_mut().poll(&mut cx).is_pending());
        }
        drop(send);
        thread.exit().await;
    });
}
