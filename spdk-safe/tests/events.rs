//! What happens to open bdevs, and opening those that are yet to come.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join;
use spdk_safe::app::yield_now;
use spdk_safe::bdev::{self, BdevEvent, BdevEvents, NullBdev, PassthruBdev};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static SPDK: Harness = Harness::new(&[]);

async fn null(spdk: &Spdk, name: &str) {
    NullBdev::builder(name)
        .blocks(64)
        .create(spdk)
        .await
        .unwrap();
}

fn open(spdk: &Spdk, name: &str) -> BdevDesc<ReadOnly> {
    BdevDesc::open(spdk, name).read_only().unwrap()
}

/// One look at a stream.
fn look(events: &mut BdevEvents) -> Poll<Option<BdevEvent>> {
    events.poll_next_unpin(&mut Context::from_waker(Waker::noop()))
}

fn resized(num_blocks: u64) -> BdevEvent {
    BdevEvent::Resized {
        num_blocks: Blocks(num_blocks),
    }
}

#[test]
fn resizes_are_told_in_order_and_those_that_nobody_looked_at_become_one() {
    SPDK.run(async |spdk| {
        null(&spdk, "resize").await;
        let desc = open(&spdk, "resize");
        let (mut fast, mut slow) = (desc.events(), desc.events());
        assert_eq!(look(&mut fast), Poll::Pending);
        for blocks in 65..1065 {
            NullBdev::resize(&spdk, "resize", blocks).unwrap();
            assert_eq!(fast.next().await, Some(resized(blocks)));
        }
        assert_eq!(look(&mut fast), Poll::Pending);
        assert_eq!(
            look(&mut slow),
            Poll::Ready(Some(resized(1064))),
            "one for all"
        );
        assert_eq!(look(&mut slow), Poll::Pending);

        // A burst, of which nobody knows how many are told: the last one is.
        for blocks in 2000..3000 {
            NullBdev::resize(&spdk, "resize", blocks).unwrap();
        }
        let mut last = 0;
        while last != 2999 {
            match fast.next().await {
                Some(BdevEvent::Resized { num_blocks }) => {
                    assert!(num_blocks.0 >= last);
                    last = num_blocks.0;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(desc.num_blocks(), Blocks(2999));
        desc.close().await;
        NullBdev::delete(&spdk, "resize").await.unwrap();
    });
}

#[test]
fn a_removal_is_the_last_event_and_every_stream_hears_of_it() {
    SPDK.run(async |spdk| {
        null(&spdk, "removed").await;
        let desc = open(&spdk, "removed");
        let (mut early, shared) = (desc.events(), desc.share());
        NullBdev::resize(&spdk, "removed", 100).unwrap();
        NullBdev::delete(&spdk, "removed").await.unwrap();
        let told: Vec<_> = early.by_ref().collect().await;
        assert_eq!(told, [resized(100), BdevEvent::Removed]);
        assert_eq!(early.next().await, None);
        for mut late in [desc.events(), shared.events()] {
            assert_eq!(late.next().await, Some(BdevEvent::Removed));
            assert_eq!(late.next().await, None);
        }
        assert!(format!("{early:?}").contains("removed"));
    });
}

#[test]
fn a_stream_ends_when_its_descriptor_is_closed_and_does_not_keep_it_open() {
    SPDK.run(async |spdk| {
        null(&spdk, "closed").await;
        let desc = open(&spdk, "closed");
        let mut events = desc.events();
        let end = async {
            yield_now().await;
            desc.close().await;
        };
        assert_eq!(join(events.next(), end).await.0, None);
        assert_eq!(look(&mut events), Poll::Ready(None));
        NullBdev::delete(&spdk, "closed").await.unwrap();
        assert_eq!(
            events.next().await,
            None,
            "that it was removed later is not its business"
        );
    });
}

/// Panics when it is woken.
struct Bomb;

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        panic!("on purpose");
    }
}

#[test]
fn d8_streams_that_nobody_reads_or_whose_wakers_panic_hold_up_no_removal() {
    SPDK.run(async |spdk| {
        null(&spdk, "d8").await;
        let desc = open(&spdk, "d8");
        let (unread, mut bad, mut good) = (desc.events(), desc.events(), desc.events());
        std::mem::forget(desc.events());
        let bomb = Waker::from(Arc::new(Bomb));
        let mut bad_cx = Context::from_waker(&bomb);
        assert!(bad.poll_next_unpin(&mut bad_cx).is_pending());
        let before = spdk_safe::contained_panics();
        let (event, deleted) = join(good.next(), NullBdev::delete(&spdk, "d8")).await;
        deleted.unwrap();
        assert_eq!(event, Some(BdevEvent::Removed));
        assert_eq!(spdk_safe::contained_panics(), before + 1);
        assert!(desc.is_removed());
        drop((unread, desc));
    });
}

#[test]
fn t1_a_stream_is_read_on_a_plain_os_thread() {
    SPDK.run(async |spdk| {
        null(&spdk, "os").await;
        let desc = open(&spdk, "os");
        let events = desc.share().events();
        let reader =
            std::thread::spawn(move || futures::executor::block_on(events.collect::<Vec<_>>()));
        let mut own = desc.events();
        NullBdev::resize(&spdk, "os", 65).unwrap();
        own.next().await;
        NullBdev::delete(&spdk, "os").await.unwrap();
        let told = reader.join().unwrap();
        assert_eq!(told.last(), Some(&BdevEvent::Removed), "{told:?}");
    });
}

#[test]
fn events_under_load_while_streams_and_bdevs_come_and_go() {
    SPDK.run(async |spdk| {
        for round in 0..20 {
            null(&spdk, "load").await;
            let desc = open(&spdk, "load");
            let ch = desc.channel().unwrap();
            let mut streams: Vec<_> = (0..8).map(|_| desc.events()).collect();
            let resize = async {
                for blocks in 65..165_u64 {
                    NullBdev::resize(&spdk, "load", blocks).unwrap();
                    let io = ch.read(Lba(0), desc.alloc(Blocks(1)).unwrap());
                    io.await.0.unwrap();
                    if blocks % 10 == round % 10 {
                        drop(streams.swap_remove(0));
                        streams.push(desc.events());
                        assert!(look(&mut streams[7]).is_pending());
                    }
                }
                NullBdev::delete(&spdk, "load").await.unwrap();
            };
            let mut reader = desc.events();
            let read = async {
                let (mut last, mut removed) = (Blocks(0), false);
                while let Some(event) = reader.next().await {
                    assert!(!removed, "nothing after the end");
                    match event {
                        BdevEvent::Resized { num_blocks } => last = num_blocks,
                        _ => removed = true,
                    }
                }
                assert!(removed && last == Blocks(164));
            };
            join(read, resize).await;
            for mut stream in streams {
                while stream.next().await != Some(BdevEvent::Removed) {}
            }
        }
    });
}

#[test]
fn b11_media_events_are_told_to_a_writable_descriptor() {
    SPDK.run(async |spdk| {
        null(&spdk, "media").await;
        // SAFETY: this is the app thread, and the bdev is not deleted before the end.
        let raw = unsafe { spdk_sys::spdk_bdev_get_by_name(c"media".as_ptr()) };
        // SAFETY: the bdev is there, and nobody has it open.
        unsafe { spdk_sys::spdk_shim_test_set_media_events(raw) };
        let push = |count: u64| {
            let events: Vec<_> = (0..count)
                .map(|at| spdk_sys::spdk_bdev_media_event {
                    offset: at * 8,
                    num_blocks: 8,
                })
                .collect();
            // SAFETY: as above; the events live across the call.
            let pushed = unsafe {
                spdk_sys::spdk_bdev_push_media_events(raw, events.as_ptr(), events.len())
            };
            // SAFETY: as above.
            unsafe { spdk_sys::spdk_bdev_notify_media_management(raw) };
            pushed
        };
        let desc = BdevDesc::open(&spdk, "media").read_write().unwrap();
        assert!(desc.info().media_events);
        let mut events = desc.events();
        assert_eq!(desc.media_events().unwrap(), []);
        assert_eq!(push(3), 3);
        assert_eq!(events.next().await, Some(BdevEvent::MediaManagement));
        let media = desc.media_events().unwrap();
        assert_eq!(
            (media.len(), media[2].lba, media[2].blocks),
            (3, Lba(16), Blocks(8))
        );
        assert_eq!(desc.media_events().unwrap(), []);
        assert_eq!(look(&mut events), Poll::Pending);
        // Nobody reads: SPDK keeps what it has room for, and no more.
        let kept = push(1000);
        assert!((1..1000).contains(&kept));
        assert_eq!(push(1), 0);
        while look(&mut events).is_pending() {
            yield_now().await;
        }
        assert_eq!(desc.media_events().unwrap().len(), kept as usize);
        desc.close().await;
        NullBdev::delete(&spdk, "media").await.unwrap();
    });
}

#[test]
fn a_bdev_that_is_yet_to_come_is_waited_for() {
    SPDK.run(async |spdk| {
        let minute = Duration::from_secs(60);
        let wait = BdevDesc::open(&spdk, "late").within(minute).read_write();
        let create = async {
            for _ in 0..100 {
                yield_now().await;
            }
            null(&spdk, "late").await;
        };
        let (desc, ()) = join(wait, create).await;
        let desc = desc.unwrap();
        assert_eq!(desc.info().name, "late");
        // What is there is opened at once, without a time.
        let again = BdevDesc::open(&spdk, "late")
            .within(Duration::ZERO)
            .read_only();
        again.await.unwrap().close().await;
        desc.close().await;

        // Claims are not waited for.
        PassthruBdev::builder("over", "late")
            .create(&spdk)
            .await
            .unwrap();
        let claimed = BdevDesc::open(&spdk, "late")
            .within(Duration::MAX)
            .read_write();
        assert!(matches!(claimed.await, Err(OpenError::Claimed { .. })));
        PassthruBdev::delete(&spdk, "over").await.unwrap();
        NullBdev::delete(&spdk, "late").await.unwrap();
    });
}

#[test]
fn a_bdev_that_does_not_come_in_time_is_an_error_that_says_so() {
    SPDK.run(async |spdk| {
        for ms in [0, 1, 25] {
            let after = Duration::from_millis(ms);
            let error = BdevDesc::open(&spdk, "never")
                .within(after)
                .read_only()
                .await;
            let error = error.unwrap_err();
            assert_eq!(
                error,
                OpenError::TimedOut {
                    name: "never".into(),
                    after
                }
            );
            assert!(error.to_string().contains(&format!("{ms} ms")), "{error}");
        }
        for name in ["", "ne\0ver"] {
            let error = BdevDesc::open(&spdk, name)
                .within(Duration::ZERO)
                .read_only();
            assert!(matches!(error.await, Err(OpenError::TimedOut { .. })));
        }
    });
}

#[test]
fn i2_an_opening_that_is_dropped_opens_nothing() {
    SPDK.run(async |spdk| {
        let forever = Duration::MAX;
        let mut dropped = Box::pin(BdevDesc::open(&spdk, "drop").within(forever).read_only());
        let mut kept = pin!(BdevDesc::open(&spdk, "drop").within(forever).read_only());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(dropped.as_mut().poll(&mut cx).is_pending());
        assert!(kept.as_mut().poll(&mut cx).is_pending());
        drop(dropped);
        null(&spdk, "drop").await;
        let desc = kept.await.unwrap();
        desc.close().await;
        // Waits for every descriptor (B-09).
        NullBdev::delete(&spdk, "drop").await.unwrap();
    });
}

#[test]
fn a_bdev_that_comes_and_goes_while_it_is_waited_for() {
    SPDK.run(async |spdk| {
        let done = Cell::new(false);
        let churn = async {
            let mut round = 0;
            while !done.get() {
                null(&spdk, "churn").await;
                // Held by somebody else, so that its removal takes a while. Now shorter than the time between two looks,
                // now longer.
                let holder = open(&spdk, "churn");
                let until = Instant::now() + Duration::from_millis(round % 16);
                while Instant::now() < until {
                    yield_now().await;
                }
                let (deleted, ()) = join(NullBdev::delete(&spdk, "churn"), yield_now()).await;
                deleted.unwrap();
                drop(holder);
                round += 5;
            }
        };
        let opens = async {
            for _ in 0..20 {
                let open = BdevDesc::open(&spdk, "churn").within(Duration::from_secs(60));
                let desc = open.read_only().await.unwrap();
                let mut events = desc.events();
                assert_eq!(events.next().await, Some(BdevEvent::Removed));
            }
            done.set(true);
        };
        join(churn, opens).await;
        assert!(bdev::find(&spdk, "churn").unwrap().is_none());
    });
}
