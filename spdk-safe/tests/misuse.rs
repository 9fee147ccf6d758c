//! Rows of the list of misuses (`docs/safety-model.md`) that no other test is about.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_util::future::{Either, MaybeDone, maybe_done, select};
use spdk_safe::app::yield_now;
use spdk_safe::bdev::{AioBdev, Io, NullBdev};
use spdk_safe::error::{BdevCallError, ThreadError};
use spdk_safe::prelude::*;
use spdk_safe::test::{Calls, Harness};
use spdk_safe::thread::{self, Poller, PollerStatus};

static SPDK: Harness = Harness::new(&[]);

/// A malloc bdev of 64 blocks, open for writing.
async fn disk(spdk: &Spdk, name: &str, block_size: u32) -> BdevDesc<ReadWrite> {
    MallocBdev::builder(name)
        .blocks(64)
        .block_size(block_size)
        .create(spdk)
        .await
        .unwrap();
    BdevDesc::open(spdk, name).read_write().unwrap()
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn t4_handles_that_a_thread_local_carries_to_another_spdk_thread_are_refused_there() {
    type Smuggled = (
        Spdk,
        BdevDesc<ReadWrite>,
        IoChannel<ReadWrite>,
        MaybeDone<Io<DmaBuf>>,
        Poller,
    );
    thread_local!(static POCKET: RefCell<Option<Smuggled>> = const { RefCell::new(None) });
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "t4-pocket", 512).await;
        let ch = desc.channel().unwrap();
        let mut started = maybe_done(ch.read(Lba(0), ch.alloc(Blocks(1)).unwrap()));
        assert!(poll_once(&mut started).is_pending());
        let poller = Poller::register(None, || PollerStatus::Idle).unwrap();
        POCKET.set(Some((spdk.clone(), desc, ch, started, poller)));

        // On the same OS thread: the compiler can't know.
        let other = Thread::builder("t4-pocket").create(&spdk).await.unwrap();
        let look = || {
            let (spdk, desc, ch, mut started, poller) = POCKET.take().unwrap();
            let wrong = Err(IoError::Thread(ThreadError::WrongThread));
            let mut io = ch.write(Lba(0), vec![1_u8; 512]);
            let Poll::Ready((result, data)) = poll_once(&mut io) else {
                panic!("refused at once");
            };
            assert_eq!((result, data), (wrong.clone(), vec![1; 512]));
            let Err((error, data)) = ch.read_then(Lba(0), vec![1; 512], |_, _| unreachable!())
            else {
                panic!("refused at once");
            };
            assert_eq!((Err(error), data), (wrong, vec![1; 512]));
            assert_eq!(poller.pause(), Err(ThreadError::WrongThread));
            let open = BdevDesc::open(&spdk, "t4-pocket").read_only().map(drop);
            assert!(
                matches!(open, Err(OpenError::Thread(ThreadError::NotAppThread))),
                "{open:?}"
            );
            let Poll::Ready(Err(BdevCallError::Thread(error))) = poll_once(&mut desc.stats())
            else {
                panic!("refused at once");
            };
            assert_eq!(error, ThreadError::NotAppThread);
            // One that is in flight may be looked at: it is home's all the same.
            let _ = poll_once(&mut started);
            POCKET.set(Some((spdk, desc, ch, started, poller)));
        };
        other.call(look).await.unwrap();

        // At home all of it still works, and it was not written there.
        let (_, desc, ch, mut started, poller) = POCKET.take().unwrap();
        (&mut started).await;
        let (result, data) = Pin::new(&mut started).take_output().unwrap();
        result.unwrap();
        assert!(data.iter().all(|byte| *byte == 0));
        let data = ch.read_blocks(Lba(0), Blocks(1)).await.unwrap();
        assert!(data.iter().all(|byte| *byte == 0));
        poller.pause().unwrap();
        drop((desc, ch, poller));
        other.exit().await;
        MallocBdev::delete(&spdk, "t4-pocket").await.unwrap();
    });
}

#[test]
fn t16_a_call_to_ones_own_thread_is_run_after_what_runs_now() {
    SPDK.run(async |spdk| {
        let app = thread::app().unwrap();
        let ran = Rc::new(Cell::new(0));
        // Awaited on the thread that it is for.
        assert_eq!(app.call(|| 1).await, Ok(1));
        let other = Thread::builder("own").create(&spdk).await.unwrap();
        let handle = other.handle();
        let task = other.spawn(move || async move {
            let inner = handle.call(|| 2).await;
            inner.unwrap() + handle.call(|| 3).await.unwrap()
        });
        ran.set(task.await.unwrap().await.unwrap());
        assert_eq!(ran.get(), 5);
        other.exit().await;
    });
}

#[test]
fn i2_io_that_loses_a_race_goes_on_by_itself_and_frees_its_buffer() {
    struct Freed(Rc<Cell<bool>>);
    impl Drop for Freed {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "i2-race", 512).await;
        let ch = desc.channel().unwrap();
        for turns in 0..3 {
            let (freed, result) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(None)));
            let (witness, said) = (Freed(Rc::clone(&freed)), Rc::clone(&result));
            let mut step = Some((witness, said));
            // As a time-out does it: whoever comes first takes all, and the other one is dropped.
            let io = ch.write_loop(Lba(0), vec![turns; 512], move |result, _| {
                let (_witness, said) = step.take()?;
                said.set(Some(result));
                None
            });
            let clock = Box::pin(async move {
                for _ in 0..turns {
                    yield_now().await;
                }
            });
            match select(clock, io).await {
                Either::Left((_, io)) => drop(io),
                Either::Right(((result, _), _)) => result.unwrap(),
            }
            while !freed.get() {
                yield_now().await;
            }
        }
        drop((ch, desc));
        MallocBdev::delete(&spdk, "i2-race").await.unwrap();
    });
}

#[test]
fn i3_memory_that_is_not_aligned_as_the_bdev_wants_it_is_refused() {
    SPDK.run(async |spdk| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        std::fs::write(&path, vec![3_u8; 16 * 512]).unwrap();
        AioBdev::builder("i3-align", &path)
            .create(&spdk)
            .await
            .unwrap();
        let desc = BdevDesc::open(&spdk, "i3-align").read_write().unwrap();
        let align = desc.info().align;
        assert!(align >= 512, "direct I/O wants it: {align}");
        let ch = desc.channel().unwrap();
        let part = desc.alloc(Blocks(2)).unwrap().part(1..513).unwrap();
        let (result, part) = ch.read(Lba(2), part).await;
        let refused = IoError::Misaligned {
            io: IoType::Read,
            lba: Lba(2),
            align,
        };
        assert_eq!(result, Err(refused));
        // One piece of several is enough.
        let pieces = (desc.alloc(Blocks(1)).unwrap(), part);
        let (result, (_, part)) = ch.write(Lba(2), pieces).await;
        assert!(
            matches!(result, Err(IoError::Misaligned { .. })),
            "{result:?}"
        );
        let whole = part.into_whole();
        assert!(whole.iter().all(|byte| *byte == 0), "nothing was read");
        assert_eq!(std::fs::read(&path).unwrap(), vec![3; 16 * 512]);
        drop((ch, desc));
        AioBdev::delete(&spdk, "i3-align").await.unwrap();
    });
}

#[test]
fn i4_memory_for_blocks_of_another_size_is_refused_or_covers_what_it_covers() {
    SPDK.run(async |spdk| {
        let small = disk(&spdk, "i4-512", 512).await;
        let large = disk(&spdk, "i4-4096", 4096).await;
        let (of_small, of_large) = (small.channel().unwrap(), large.channel().unwrap());
        // Seven small blocks are no large one; as many bytes as eight are.
        let (result, buf) = of_large
            .write(Lba(0), small.alloc(Blocks(7)).unwrap())
            .await;
        let refused = IoError::Length {
            io: IoType::Write,
            lba: Lba(0),
            len: Bytes(3584),
            block_size: 4096,
        };
        assert_eq!(result, Err(refused));
        drop(buf);
        // The memory says how many blocks there are, never a count beside it.
        let mut buf = large.alloc(Blocks(1)).unwrap();
        buf.fill(7);
        of_small.write(Lba(0), buf).await.0.unwrap();
        let all = of_small.read_blocks(Lba(0), Blocks(9)).await.unwrap();
        assert!(all[..4096].iter().all(|byte| *byte == 7));
        assert!(all[4096..].iter().all(|byte| *byte == 0));
        drop((of_small, of_large, small, large));
        MallocBdev::delete(&spdk, "i4-512").await.unwrap();
        MallocBdev::delete(&spdk, "i4-4096").await.unwrap();
    });
}

#[test]
fn i6_what_a_bdev_does_not_do_is_an_error_before_spdk_sees_it() {
    SPDK.run(async |spdk| {
        NullBdev::builder("i6")
            .blocks(64)
            .create(&spdk)
            .await
            .unwrap();
        let desc = BdevDesc::open(&spdk, "i6").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let (before, mut refused) = (Calls::so_far(), Vec::new());
        for io in [IoType::Unmap, IoType::Flush, IoType::ZeroCopy] {
            if ch.supports(io) {
                continue;
            }
            let result = match io {
                IoType::Unmap => ch.unmap(Lba(0), Blocks(1)).await,
                IoType::Flush => ch.flush(Lba(0), Blocks(1)).await,
                _ => ch.zcopy(Lba(0), Blocks(1)).await.map(drop),
            };
            assert_eq!(result, Err(IoError::Unsupported { io }));
            refused.push(io);
        }
        assert_eq!(Calls::so_far().submit, before.submit);
        assert!(refused.contains(&IoType::Unmap), "{refused:?}");
        assert!(refused.contains(&IoType::Flush), "{refused:?}");
        drop((ch, desc));
        NullBdev::delete(&spdk, "i6").await.unwrap();
    });
}

#[test]
fn i8_io_that_is_polled_again_after_its_end_panics_and_nothing_is_done_twice() {
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "i8", 512).await;
        let ch = desc.channel().unwrap();
        let mut io = ch.write(Lba(0), vec![1_u8; 512]);
        (&mut io).await.0.unwrap();
        let again = std::panic::AssertUnwindSafe(|| poll_once(&mut io));
        std::panic::catch_unwind(again).unwrap_err();
        drop(io);
        ch.read_blocks(Lba(0), Blocks(1)).await.unwrap();
        drop((ch, desc));
        MallocBdev::delete(&spdk, "i8").await.unwrap();
    });
}

#[test]
fn i10_a_batch_forgets_io_that_is_over_and_takes_none_of_other_channels() {
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "i10", 512).await;
        let other = disk(&spdk, "i10-other", 512).await;
        let (ch, of_other) = (desc.channel().unwrap(), other.channel().unwrap());
        let batch = ch.batch();
        let old = ch.read(Lba(0), vec![0; 512]).in_batch(&batch);
        old.await.0.unwrap();
        // In the slot that the first one had.
        let mut new = ch.read(Lba(1), vec![0; 512]);
        let mut foreign = of_other.read(Lba(1), vec![0; 512]).in_batch(&batch);
        assert!(poll_once(&mut new).is_pending() && poll_once(&mut foreign).is_pending());
        assert_eq!(batch.in_flight(), 0);
        assert_eq!(batch.abort().await, Ok(Default::default()));
        new.await.0.unwrap();
        foreign.await.0.unwrap();
        drop((batch, ch, of_other, desc, other));
        MallocBdev::delete(&spdk, "i10").await.unwrap();
        MallocBdev::delete(&spdk, "i10-other").await.unwrap();
    });
}

#[test]
fn i11_what_a_callback_has_captured_may_do_io_and_panic_when_it_is_dropped() {
    struct Last(Rc<IoChannel<ReadWrite>>, Rc<Cell<bool>>);
    impl Drop for Last {
        fn drop(&mut self) {
            let done = Rc::clone(&self.1);
            let start = self
                .0
                .write_then(Lba(1), vec![5_u8; 512], move |result, _| {
                    result.unwrap();
                    done.set(true);
                });
            start.unwrap();
            panic!("on purpose");
        }
    }
    SPDK.run(async |spdk| {
        let desc = disk(&spdk, "i11", 512).await;
        let ch = Rc::new(desc.channel().unwrap());
        let before = spdk_safe::contained_panics();
        let done = Rc::new(Cell::new(false));
        let last = Last(Rc::clone(&ch), Rc::clone(&done));
        ch.write_then(Lba(0), vec![4_u8; 512], move |result, _| {
            let _last = last;
            result.unwrap();
        })
        .unwrap();
        while !done.get() {
            yield_now().await;
        }
        assert_eq!(spdk_safe::contained_panics(), before + 1);
        // Of a loop, when its future is dropped in flight.
        done.set(false);
        let last = Last(Rc::clone(&ch), Rc::clone(&done));
        let mut endless = ch.read_loop(Lba(0), vec![0; 512], move |_, _| {
            let _last = &last;
            Some(Lba(0))
        });
        assert!(poll_once(&mut endless).is_pending());
        drop(endless);
        while !done.get() {
            yield_now().await;
        }
        assert_eq!(spdk_safe::contained_panics(), before + 2);
        drop((ch, desc));
        MallocBdev::delete(&spdk, "i11").await.unwrap();
    });
}
