//! Every order of drops, hot removal, and the wrong thread.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use spdk_safe::app::yield_now;
use spdk_safe::bdev::Io;
use spdk_safe::error::ThreadError;
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;
use spdk_safe::thread::{Poller, PollerStatus};

static SPDK: Harness = Harness::new(&[]);

async fn disk(spdk: &Spdk, name: &str) -> BdevDesc<ReadWrite> {
    MallocBdev::builder(name)
        .blocks(64)
        .create(spdk)
        .await
        .unwrap();
    BdevDesc::open(spdk, name).read_write().unwrap()
}

/// Starts an I/O, and leaves it in flight.
fn start(io: &mut std::pin::Pin<Box<Io<DmaBuf>>>) {
    assert!(
        io.as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
}

#[test]
fn d4_a_descriptor_closes_when_its_last_channel_is_gone_in_whatever_order_they_are_dropped() {
    SPDK.run(async |spdk| {
        for order in 0..3 {
            let name = format!("d4-{order}");
            let desc = disk(&spdk, &name).await;
            let (ch, share) = (desc.channel().unwrap(), desc.share());
            match order {
                0 => drop((desc, share, ch)),
                1 => drop((ch, share, desc)),
                _ => drop((share, ch, desc)),
            }
            // Waits until the descriptor is closed: contract B-09.
            MallocBdev::delete(&spdk, &name).await.unwrap();
        }
    });
}

#[test]
fn d4_close_waits_for_channels() {
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "d4-close").await;
        let ch = desc.channel().unwrap();
        let mut close = pin!(desc.close());
        for _ in 0..10 {
            assert!(
                close
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
            );
            yield_now().await;
        }
        drop(ch);
        close.await;
        MallocBdev::delete(&spdk, "d4-close").await.unwrap();
    });
}

#[test]
fn d4_a_close_that_revokes_waits_for_io_in_flight_alone() {
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "d4-revoke").await;
        let (ch, share) = (desc.channel().unwrap(), desc.share());
        let mut io = Box::pin(ch.write(Lba(0), desc.alloc(Blocks(8)).unwrap()));
        start(&mut io);
        let close = desc.close();
        close.revoke().unwrap();
        io.await.0.unwrap();
        close.await;
        // Whoever has kept something has kept nothing.
        let late = ch.write(Lba(0), vec![0_u8; 512]).await.0;
        assert!(matches!(late, Err(IoError::Removed { .. })), "{late:?}");
        let late = share.channel().err().unwrap();
        assert!(matches!(late, ChannelError::Removed { .. }), "{late:?}");
        let again = BdevDesc::open(&spdk, "d4-revoke").read_write().unwrap();
        again.close().await;
        MallocBdev::delete(&spdk, "d4-revoke").await.unwrap();
        drop((ch, share));
    });
}

#[test]
fn i2_futures_dropped_before_during_and_after_their_io_lose_nothing() {
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "i2").await;
        let ch = desc.channel().unwrap();
        for turns in 0..4 {
            let mut io = Box::pin(ch.read(Lba(0), desc.alloc(Blocks(8)).unwrap()));
            if turns > 0 {
                start(&mut io);
            }
            for _ in 1..turns {
                yield_now().await;
            }
            drop(io);
        }
        // All of it may go while the last I/O is in flight.
        let mut io = Box::pin(ch.write(Lba(0), desc.alloc(Blocks(8)).unwrap()));
        start(&mut io);
        drop((io, ch, desc));
        MallocBdev::delete(&spdk, "i2").await.unwrap();
    });
}

#[test]
fn i2_a_write_whose_future_was_dropped_in_flight_is_still_whole() {
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "i2-whole").await;
        let ch = desc.channel().unwrap();
        let mut buf = desc.alloc(Blocks(8)).unwrap();
        buf.fill(3);
        let mut io = Box::pin(ch.write(Lba(0), buf));
        start(&mut io);
        drop(io);
        // Memory that was freed under the write would be handed out again here.
        let mut other = desc.alloc(Blocks(8)).unwrap();
        other.fill(4);
        let data = loop {
            let (result, data) = ch.read(Lba(0), desc.alloc(Blocks(8)).unwrap()).await;
            result.unwrap();
            if data.iter().any(|byte| *byte != 0) {
                break data;
            }
        };
        assert!(data.iter().all(|byte| *byte == 3));
        drop((ch, desc));
        MallocBdev::delete(&spdk, "i2-whole").await.unwrap();
    });
}

#[test]
fn d8_a_removed_bdev_goes_although_nobody_reacts() {
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "d8").await;
        let ch = desc.channel().unwrap();
        let mut flying = Box::pin(ch.read(Lba(0), desc.alloc(Blocks(8)).unwrap()));
        start(&mut flying);
        // Leaked in flight, and never polled again.
        let mut leaked = Box::pin(ch.read(Lba(0), desc.alloc(Blocks(8)).unwrap()));
        start(&mut leaked);
        std::mem::forget(leaked);
        MallocBdev::delete(&spdk, "d8").await.unwrap();

        assert!(desc.is_removed());
        let (_result, buf) = flying.await;
        let (result, buf) = ch.read(Lba(0), buf).await;
        assert_eq!(
            result,
            Err(IoError::Removed {
                io: IoType::Read,
                lba: Lba(0)
            })
        );
        drop(buf);
        assert!(matches!(desc.channel(), Err(ChannelError::Removed { .. })));
        desc.close().await;
    });
}

/// Runs `f` as code that some other SPDK thread, or none, would run on this OS thread.
fn on_no_thread<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: only changes which SPDK thread is current on this OS thread, and is undone below.
    let thread = unsafe { spdk_sys::spdk_get_thread() };
    // SAFETY: as above.
    unsafe { spdk_sys::spdk_set_thread(std::ptr::null_mut()) };
    let value = f();
    // SAFETY: as above.
    unsafe { spdk_sys::spdk_set_thread(thread) };
    value
}

#[test]
fn t4_handles_used_where_their_thread_is_not_current_are_clean_errors() {
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "t4").await;
        let ch = desc.channel().unwrap();
        let mut io = Box::pin(ch.read(Lba(0), desc.alloc(Blocks(1)).unwrap()));
        on_no_thread(|| {
            let Poll::Ready((result, _)) =
                io.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            else {
                panic!("refused at once");
            };
            assert_eq!(result, Err(IoError::Thread(ThreadError::NoThread)));
            assert!(matches!(desc.channel(), Err(ChannelError::Thread(_))));
            assert!(matches!(
                BdevDesc::open(&spdk, "t4").read_only(),
                Err(OpenError::Thread(_))
            ));
            assert!(Poller::register(None, || PollerStatus::Idle).is_err());
        });
        drop((ch, desc));
        MallocBdev::delete(&spdk, "t4").await.unwrap();
    });
}

#[test]
fn t5_handles_dropped_where_their_thread_is_not_current_go_home() {
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "t5").await;
        let ch = desc.channel().unwrap();
        let poller = Poller::register(None, || PollerStatus::Idle).unwrap();
        let mut io = Box::pin(ch.read(Lba(0), desc.alloc(Blocks(1)).unwrap()));
        start(&mut io);
        on_no_thread(|| drop((io, ch, poller, desc)));
        MallocBdev::delete(&spdk, "t5").await.unwrap();
    });
}

#[test]
fn t5_a_share_dropped_on_a_plain_os_thread_closes_the_descriptor_at_home() {
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "t5-os").await;
        let share = desc.share();
        drop(desc);
        std::thread::spawn(move || {
            assert!(matches!(
                share.channel(),
                Err(ChannelError::Thread(ThreadError::NoThread))
            ));
            drop(share);
        })
        .join()
        .unwrap();
        MallocBdev::delete(&spdk, "t5-os").await.unwrap();
    });
}

#[test]
fn a_poller_runs_until_it_is_dropped_also_by_itself() {
    thread_local!(static OWN: RefCell<Option<Poller>> = const { RefCell::new(None) });
    SPDK.run(async |_spdk| {
        let calls = std::rc::Rc::new(std::cell::Cell::new(0));
        let count = std::rc::Rc::clone(&calls);
        let poller = Poller::register(None, move || {
            count.set(count.get() + 1);
            if count.get() == 3 {
                drop(OWN.take());
            }
            PollerStatus::Busy
        });
        OWN.set(Some(poller.unwrap()));
        for _ in 0..100 {
            yield_now().await;
        }
        assert_eq!(calls.get(), 3);
        assert_eq!(std::rc::Rc::strong_count(&calls), 1, "the closure is gone");
    });
}

#[test]
fn t13_a_poller_that_panics_is_stopped_and_counted() {
    SPDK.run(async |_spdk| {
        let before = spdk_safe::contained_panics();
        let poller = Poller::register(None, || panic!("on purpose")).unwrap();
        while !poller.is_faulted() {
            yield_now().await;
        }
        assert_eq!(spdk_safe::contained_panics(), before + 1);
        for _ in 0..10 {
            yield_now().await;
        }
        assert_eq!(
            spdk_safe::contained_panics(),
            before + 1,
            "it does not run again"
        );
    });
}

#[test]
fn t13_a_panic_in_a_test_fails_that_test_and_the_next_one_runs() {
    let caught = std::panic::catch_unwind(|| {
        SPDK.run(async |_spdk| {
            yield_now().await;
            panic!("on purpose");
        })
    });
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"on purpose"));
    assert_eq!(SPDK.run(async |_spdk| 1), 1);
}

#[test]
fn a_test_that_leaves_a_descriptor_open_fails() {
    let caught = std::panic::catch_unwind(|| {
        SPDK.run(async |spdk| {
            let desc = disk(&spdk, "left").await;
            std::mem::forget(desc);
        })
    });
    let message = caught.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("descriptor of \"left\""), "{message}");
    SPDK.run(async |spdk| MallocBdev::delete(&spdk, "left").await.unwrap());
}

#[test]
fn t13_a_closure_whose_captures_panic_when_they_are_dropped_is_contained() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("on purpose");
        }
    }
    thread_local!(static OWN: RefCell<Option<Poller>> = const { RefCell::new(None) });
    SPDK.run(async |_spdk| {
        let (before, bomb) = (spdk_safe::contained_panics(), Bomb);
        let poller = Poller::register(None, move || {
            let _bomb = &bomb;
            drop(OWN.take());
            PollerStatus::Busy
        });
        OWN.set(Some(poller.unwrap()));
        while spdk_safe::contained_panics() == before {
            yield_now().await;
        }
    });
}

#[test]
fn i2_futures_dropped_while_they_wait_for_memory_lose_nothing() {
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "i2-wait").await;
        let ch = desc.channel().unwrap();
        let start = |io: &mut std::pin::Pin<Box<Io<()>>>| {
            let _ = io.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        };
        // The harness has 8191 `spdk_bdev_io`s: the last ones wait.
        let mut all: Vec<_> = (0..10_000)
            .map(|_| Box::pin(ch.flush(Lba(0), Blocks(1))))
            .collect();
        all.iter_mut().for_each(start);
        all.drain(9_000..9_500);
        all.drain(100..200);
        let mut last = all.pop().unwrap();
        (&mut last).await.unwrap();
        drop((all, last, ch, desc));
        MallocBdev::delete(&spdk, "i2-wait").await.unwrap();
    });
}
