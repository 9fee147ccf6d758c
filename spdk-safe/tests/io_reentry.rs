//! Wakers, steps, callbacks and destructors that act on each other: start, poll, drop and abort I/O, open and drop
//! channels, from within whatever runs them, on two SPDK threads, while memory is short and the bdev goes.
//!
//! Nothing is expected of the results; the process must live, and everything must end. `SPDK_TEST_SEED=n` replays.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use spdk_safe::app::yield_now;
use spdk_safe::bdev::{Batch, SharedDesc, Zcopy};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static SPDK: Harness = Harness::new(&[]);
/// Cases in a run.
const ROUNDS: u64 = 60;

type Fut = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    static RNG: Cell<u64> = const { Cell::new(1) };
    static FUTS: RefCell<Vec<Fut>> = const { RefCell::new(Vec::new()) };
    static CHANS: RefCell<Vec<Rc<IoChannel<ReadWrite>>>> = const { RefCell::new(Vec::new()) };
    static BATCHES: RefCell<Vec<Rc<Batch>>> = const { RefCell::new(Vec::new()) };
    static ZONES: RefCell<Vec<Zcopy>> = const { RefCell::new(Vec::new()) };
    static DESC: RefCell<Option<SharedDesc<ReadWrite>>> = const { RefCell::new(None) };
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static ACTS: Cell<u64> = const { Cell::new(0) };
    static ENDING: Cell<bool> = const { Cell::new(false) };
}

fn rnd(n: u64) -> u64 {
    let mut x = RNG.get();
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    RNG.set(x);
    (x >> 11) % n
}

/// A waker that acts when it wakes, and when it is dropped.
struct W;
impl Wake for W {
    fn wake(self: Arc<Self>) {
        acts(rnd(3));
    }
}

impl Drop for W {
    fn drop(&mut self) {
        acts(rnd(2));
    }
}

/// What acts when it is dropped.
struct Canary;
impl Drop for Canary {
    fn drop(&mut self) {
        acts(rnd(2));
    }
}

/// Up to `n` things, unless too much is on the stack.
fn acts(n: u64) {
    let depth = DEPTH.get();
    if depth > 4 {
        return;
    }
    DEPTH.set(depth + 1);
    for _ in 0..n {
        act();
    }
    DEPTH.set(depth);
}

fn pick<T>(list: &'static std::thread::LocalKey<RefCell<Vec<T>>>) -> Option<T> {
    list.with_borrow_mut(|list| {
        if list.is_empty() {
            return None;
        }
        let at = rnd(list.len() as u64) as usize;
        Some(list.swap_remove(at))
    })
}

fn chan() -> Option<Rc<IoChannel<ReadWrite>>> {
    CHANS.with_borrow(|list| {
        (!list.is_empty()).then(|| Rc::clone(&list[rnd(list.len() as u64) as usize]))
    })
}

fn batch() -> Option<Rc<Batch>> {
    BATCHES.with_borrow(|list| {
        (!list.is_empty()).then(|| Rc::clone(&list[rnd(list.len() as u64) as usize]))
    })
}

fn poll(mut fut: Fut) {
    let done = {
        let waker = if rnd(4) == 0 {
            Waker::noop().clone()
        } else {
            Waker::from(Arc::new(W))
        };
        fut.as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
    };
    if done {
        return;
    }
    FUTS.with_borrow_mut(|list| list.push(fut));
}

fn start(make: impl FnOnce(Rc<IoChannel<ReadWrite>>) -> Fut) {
    if let Some(ch) = chan() {
        let fut = make(ch);
        if rnd(8) == 0 {
            FUTS.with_borrow_mut(|list| list.push(fut))
        } else {
            poll(fut)
        }
    }
}

/// One thing or another.
fn act() {
    ACTS.set(ACTS.get() + 1);
    match rnd(if ENDING.get() { 12 } else { 20 }) {
        0..4 => {
            if let Some(fut) = pick(&FUTS) {
                poll(fut)
            }
        }
        4..7 => drop(pick(&FUTS)),
        7 => drop(pick(&ZONES)),
        8 => {
            if rnd(4) == 0 {
                drop(pick(&CHANS))
            }
        }
        9 => {
            if rnd(2) == 0 {
                drop(pick(&BATCHES))
            }
        }
        10 => {
            let desc = DESC.with_borrow(Clone::clone);
            if let Some(ch) = desc.and_then(|desc| desc.channel().ok()) {
                let ch = Rc::new(ch);
                CHANS.with_borrow_mut(|list| {
                    if list.len() < 4 {
                        list.push(Rc::clone(&ch))
                    }
                });
            }
        }
        11 => {}
        12 => start(|ch| {
            let io = ch.read(Lba(rnd(70)), vec![0; 512]);
            let io = match batch() {
                Some(batch) => io.in_batch(&batch),
                None => io,
            };
            Box::pin(async move {
                let _ = io.await;
            })
        }),
        13 => start(|ch| {
            let io = ch.write(Lba(rnd(60)), vec![vec![1; 100], vec![1; 924]]);
            Box::pin(async move {
                let _ = io.await;
            })
        }),
        14 => start(|ch| {
            let canary = Canary;
            let big = [7_u64; 12];
            let large = rnd(2) == 0;
            let b = batch();
            let step = move |r: Result<(), IoError>, _: &mut Vec<u8>| {
                let _c = &canary;
                acts(rnd(2));
                if rnd(50) == 0 {
                    panic!("a step")
                }
                (r.is_ok() && rnd(6) != 0).then(|| Lba(rnd(65)))
            };
            if large {
                let io = ch.write_loop(Lba(0), vec![0; 512], move |r, b| {
                    assert_eq!(big[5], 7);
                    step(r, b)
                });
                let io = match b {
                    Some(b) => io.in_batch(&b),
                    None => io,
                };
                Box::pin(async move {
                    let _ = io.await;
                })
            } else {
                let io = ch.read_loop(Lba(0), vec![0; 512], step);
                let io = match b {
                    Some(b) => io.in_batch(&b),
                    None => io,
                };
                Box::pin(async move {
                    let _ = io.await;
                })
            }
        }),
        15 => {
            if let Some(ch) = chan() {
                let canary = Canary;
                let _ = ch.read_then(Lba(rnd(66)), vec![0; 1024], move |_, _| {
                    let _c = &canary;
                    acts(rnd(3));
                    if rnd(50) == 0 {
                        panic!("a callback")
                    }
                });
            }
        }
        16 => start(|ch| {
            let io = ch.zcopy(Lba(rnd(60)), Blocks(4));
            Box::pin(async move {
                if let Ok(mut zone) = io.await {
                    let _ = zone.copy_in(3, &[1; 100]);
                    if rnd(2) == 0 {
                        ZONES.with_borrow_mut(|list| list.push(zone))
                    } else {
                        let _ = zone.commit().await;
                    }
                }
            })
        }),
        17 => {
            if let Some(ch) = chan() {
                let b = Rc::new(ch.batch());
                BATCHES.with_borrow_mut(|list| {
                    if list.len() < 3 {
                        list.push(Rc::clone(&b))
                    }
                });
            }
        }
        18 => {
            if let Some(batch) = batch() {
                poll(Box::pin(async move {
                    let _ = batch.abort().await;
                }));
            }
        }
        _ => start(|ch| {
            let io = ch.flush(Lba(0), Blocks(1));
            Box::pin(async move {
                let _ = io.await;
            })
        }),
    }
}

#[test]
fn i2_whatever_acts_on_whatever_the_process_lives_and_everything_ends() {
    let seed: u64 = std::env::var("SPDK_TEST_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1);
    SPDK.run(async move |spdk| {
        for round in 0..ROUNDS {
            RNG.set(
                seed.wrapping_mul(1_000_003)
                    .wrapping_add(round)
                    .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                    | 1,
            );
            ENDING.set(false);
            MallocBdev::builder("reentry")
                .blocks(64)
                .create(&spdk)
                .await
                .unwrap();
            let desc = BdevDesc::open(&spdk, "reentry").read_write().unwrap();
            let mut hog = Vec::new();
            let hogs = rnd(3) == 0;
            let hog_ch = desc.channel().unwrap();
            DESC.set(Some(desc.share()));
            CHANS.with_borrow_mut(|list| list.push(Rc::new(desc.channel().unwrap())));
            let thread = Thread::builder("reentry").create(&spdk).await.unwrap();
            let early = rnd(2) == 0;
            if hogs {
                // Nearly all of the pool, so that the others wait.
                for _ in 0..8300 {
                    let mut io = Box::pin(hog_ch.flush(Lba(0), Blocks(1)));
                    let _ = io.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                    hog.push(io);
                }
            }
            for _ in 0..rnd(60) {
                acts(1 + rnd(10));
                if rnd(3) == 0 {
                    let _ = thread.call(|| acts(1 + rnd(10))).await;
                }
                if rnd(3) != 0 {
                    yield_now().await;
                }
            }
            let thread = if early {
                thread.exit().await;
                None
            } else {
                Some(thread)
            };
            drop(hog);
            let mut close: Fut = Box::pin(desc.close());
            poll_keep(&mut close);
            let mut delete = Box::pin(MallocBdev::delete(&spdk, "reentry"));
            let mut n = 0_u32;
            loop {
                if futures_util::poll!(&mut delete).is_ready() {
                    break;
                }
                if rnd(2) == 0 {
                    acts(rnd(4));
                }
                ENDING.set(true);
                yield_now().await;
                n += 1;
                assert!(n < 200_000, "seed {seed} round {round}: the delete hangs");
            }
            drop(hog_ch);
            if let Some(thread) = thread {
                let _ = thread.call(|| acts(5)).await;
                thread.exit().await;
            }
            DESC.set(None);
            // After the end, too.
            for _ in 0..50 {
                acts(1);
                yield_now().await;
            }
            while let Some(fut) = pick(&FUTS) {
                drop(fut)
            }
            while let Some(ch) = pick(&CHANS) {
                drop(ch)
            }
            while let Some(b) = pick(&BATCHES) {
                drop(b)
            }
            while let Some(z) = pick(&ZONES) {
                drop(z)
            }
            while let Some(fut) = pick(&FUTS) {
                drop(fut)
            }
        }
        println!("seed {seed}: {} acts", ACTS.get());
        assert!(ACTS.get() > 10_000, "{}", ACTS.get());
    });
}

fn poll_keep(fut: &mut Fut) {
    let waker = Waker::from(Arc::new(W));
    let _ = fut.as_mut().poll(&mut Context::from_waker(&waker));
}
