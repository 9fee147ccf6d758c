//! What one SPDK thread has, and what it does with it.
//!
//! Nothing is borrowed across a call into the library: wakers and destructors in here come back to the same worker.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use spdk_safe::bdev::{Batch, SharedDesc, Zcopy};
use spdk_safe::prelude::*;
use spdk_safe::thread::{JoinHandle, Poller, PollerStatus, spawn_local};

use crate::buffers::Tracked;
use crate::oracle::{BLOCK, Disk, fill, oracle, value};
use crate::plan::{Act, End, How, Io, Memory, Wakes, What};

spdk_safe::thread_storage! {
    static WORKER: Worker = Worker::default();
}

thread_local! {
    /// All SPDK threads of this OS thread reach it.
    static SMUGGLED: RefCell<Vec<Item>> = const { RefCell::new(Vec::new()) };
}

/// What was leaked with futures that were forgotten: tracked buffers, and DMA buffers among them.
pub(crate) static FORGOTTEN: AtomicUsize = AtomicUsize::new(0);
pub(crate) static FORGOTTEN_DMA: AtomicUsize = AtomicUsize::new(0);
/// How many I/Os were started, of which so many ended under somebody's eyes.
pub(crate) static STARTED: AtomicUsize = AtomicUsize::new(0);
pub(crate) static ENDED: AtomicUsize = AtomicUsize::new(0);

/// A channel, with its batch.
struct Chan {
    disk: Disk,
    on_app: bool,
    ch: IoChannel<ReadWrite>,
    batch: Batch,
}

type Boxed = Pin<Box<dyn Future<Output = ()>>>;

/// A future that is kept, and what leaks when it is forgotten.
struct Held {
    future: Boxed,
    tracked: usize,
    dma: usize,
    /// The app thread never exits, and puts the channel of an I/O that was forgotten only when the disk goes.
    on_app: bool,
}

enum Item {
    Held(Held),
    Chan(Rc<Chan>),
    Region(Region),
    Task(JoinHandle<()>),
    Share(Disk, SharedDesc<ReadWrite>),
}

struct Region {
    disk: Disk,
    on_app: bool,
    zcopy: Zcopy,
    /// When it was begun: where SPDK emulates it, it holds what was read then.
    since: u64,
    /// What was copied in.
    writes: Vec<u64>,
}

#[derive(Default)]
struct Worker {
    on_app: Cell<bool>,
    shares: RefCell<Vec<(Disk, SharedDesc<ReadWrite>)>>,
    chans: RefCell<Vec<Rc<Chan>>>,
    held: RefCell<Vec<Held>>,
    tasks: RefCell<Vec<JoinHandle<()>>>,
    regions: RefCell<Vec<Region>>,
}

/// Marks the current thread as the app thread.
pub(crate) fn on_app() {
    let _ = WORKER.with(|worker| worker.on_app.set(true));
}

/// Gives the current thread a share.
pub(crate) fn share(disk: Disk, share: SharedDesc<ReadWrite>) {
    let _ = WORKER.with(|worker| worker.shares.borrow_mut().push((disk, share)));
}

/// Does `act` on the current thread.
pub(crate) fn act(act: Act) {
    let _ = WORKER.with(|worker| worker.act(act));
}

/// Lets go of everything that the current thread has.
pub(crate) fn clear() {
    let _ = WORKER.with(Worker::clear);
}

/// Lets go of what was smuggled on this OS thread.
pub(crate) fn clear_smuggled() {
    drop(SMUGGLED.take());
}

fn take<T>(list: &RefCell<Vec<T>>, at: u8) -> Option<T> {
    let mut list = list.borrow_mut();
    let len = list.len();
    (len != 0).then(|| list.swap_remove(at as usize % len))
}

impl Worker {
    fn clear(&self) {
        drop(self.held.take());
        drop(self.tasks.take());
        drop(self.regions.take());
        drop(self.chans.take());
        drop(self.shares.take());
    }

    fn act(&self, act: Act) {
        match act {
            Act::Channel { share } => self.channel(share),
            Act::DropChannel { chan } => drop(take(&self.chans, chan)),
            Act::ForgetChannel { chan } => {
                if let Some(chan) = take(&self.chans, chan) {
                    match chan.on_app {
                        true => drop(chan),
                        false => std::mem::forget(chan),
                    }
                }
            }
            Act::DropShare { share } => drop(take(&self.shares, share)),
            Act::Io(io) => self.io(io),
            Act::Poll { held, times } => {
                if let Some(held) = take(&self.held, held) {
                    self.poll(held, times, Wakes::Quiet);
                }
            }
            Act::Drop { held } => drop(take(&self.held, held)),
            Act::Forget { held } => {
                if let Some(held) = take(&self.held, held) {
                    forget(held);
                }
            }
            Act::DropAll => drop(self.held.take()),
            Act::Abort { chan, polls } => self.abort(chan, polls),
            Act::AbortTask { task } => {
                if let Some(task) = take(&self.tasks, task) {
                    task.abort();
                }
            }
            Act::CopyIn { region } => {
                if let Some(mut region) = take(&self.regions, region) {
                    region.copy_in();
                    self.regions.borrow_mut().push(region);
                }
            }
            Act::CopyOut { region } => {
                if let Some(region) = take(&self.regions, region) {
                    region.copy_out();
                    self.regions.borrow_mut().push(region);
                }
            }
            Act::EndRegion { region, end } => {
                if let Some(region) = take(&self.regions, region) {
                    self.end_region(region, end);
                }
            }
            Act::Give { what } => self.give(what),
            Act::Take { keep } => {
                let item = SMUGGLED.with_borrow_mut(Vec::pop);
                match item {
                    Some(item) if keep => self.keep(item),
                    item => drop(item),
                }
            }
        }
    }

    fn channel(&self, share: u8) {
        let shares = self.shares.borrow();
        if shares.is_empty() {
            return;
        }
        let (disk, share) = shares[share as usize % shares.len()].clone();
        drop(shares);
        match share.channel() {
            Ok(ch) => {
                let batch = ch.batch();
                let on_app = self.on_app.get();
                self.chans.borrow_mut().push(Rc::new(Chan {
                    disk,
                    on_app,
                    ch,
                    batch,
                }));
            }
            Err(ChannelError::Removed { .. } | ChannelError::Thread(_)) => {}
            // Its base has gone; or there are no `spdk_bdev_io`s for the thread's first channel.
            Err(ChannelError::Refused { .. })
                if crate::is_tiny() || oracle().is_disturbed(disk) => {}
            Err(error) => oracle().fail(format!("no channel: {error}")),
        }
    }

    fn io(&self, io: Io) {
        if self.chans.borrow().is_empty() {
            self.channel(io.chan);
        }
        let chan = {
            let chans = self.chans.borrow();
            let Some(at) = (io.chan as usize).checked_rem(chans.len()) else {
                return;
            };
            Rc::clone(&chans[at])
        };
        STARTED.fetch_add(1, Ordering::Relaxed);
        let Some(held) = chan.make(io) else { return };
        // Only the I/O keeps the channel.
        drop(chan);
        match io.how {
            How::Held(wakes) => self.poll(held, 1, wakes),
            How::New => self.held.borrow_mut().push(held),
            How::Task => {
                if let Ok(task) = spawn_local(held.future) {
                    self.tasks.borrow_mut().push(task);
                }
            }
            How::Race(turns) => {
                let race = async move {
                    let (io, timer) = (held.future, std::pin::pin!(turns_of(turns)));
                    drop(futures_util::future::select(io, timer).await);
                };
                if let Ok(task) = spawn_local(race) {
                    self.tasks.borrow_mut().push(task);
                }
            }
        }
    }

    fn poll(&self, mut held: Held, times: u8, wakes: Wakes) {
        let waker = Waker::from(Arc::new(Nasty(wakes)));
        for _ in 0..times {
            if held
                .future
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready()
            {
                return;
            }
        }
        self.held.borrow_mut().push(held);
    }

    fn abort(&self, chan: u8, polls: Option<u8>) {
        let chan = {
            let chans = self.chans.borrow();
            let Some(at) = (chan as usize).checked_rem(chans.len()) else {
                return;
            };
            Rc::clone(&chans[at])
        };
        // On SPDK's error bdev an abort that meets a reset never ends.
        if chan.ch.info().name == "EE_s1" {
            return;
        }
        oracle().disturb(chan.disk);
        let mut future = Box::pin(async move {
            let _ = chan.batch.abort().await;
        });
        let Some(polls) = polls else {
            if let Ok(task) = spawn_local(future) {
                self.tasks.borrow_mut().push(task);
            }
            return;
        };
        for _ in 0..polls {
            if future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_ready()
            {
                return;
            }
        }
    }

    fn give(&self, what: u8) {
        let at = what / 5;
        let item = match what % 5 {
            0 => take(&self.held, at).map(Item::Held),
            1 => take(&self.chans, at).map(Item::Chan),
            2 => take(&self.regions, at).map(Item::Region),
            3 => take(&self.tasks, at).map(Item::Task),
            _ => take(&self.shares, at).map(|(disk, share)| Item::Share(disk, share)),
        };
        SMUGGLED.with_borrow_mut(|smuggled| smuggled.extend(item));
    }

    fn keep(&self, item: Item) {
        match item {
            Item::Held(held) => self.held.borrow_mut().push(held),
            Item::Chan(chan) => self.chans.borrow_mut().push(chan),
            Item::Region(region) => self.regions.borrow_mut().push(region),
            Item::Task(task) => self.tasks.borrow_mut().push(task),
            Item::Share(disk, share) => self.shares.borrow_mut().push((disk, share)),
        }
    }

    fn end_region(&self, mut region: Region, end: End) {
        // A commit writes all of it, then: make it a write that the oracle knows.
        if matches!(end, End::Commit) && region.is_emulated() {
            region.copy_in();
        }
        let Region {
            disk,
            on_app,
            zcopy,
            writes,
            ..
        } = region;
        let commit = matches!(end, End::Commit);
        let future: Boxed = match end {
            End::Drop => return drop(zcopy),
            End::Forget if on_app => return drop(zcopy),
            End::Forget => return std::mem::forget(zcopy),
            End::Commit => Box::pin(zcopy_end(zcopy.commit(), disk, writes, commit)),
            End::Discard => Box::pin(zcopy_end(zcopy.discard(), disk, writes, commit)),
        };
        self.poll(
            Held {
                future,
                tracked: 0,
                dma: 0,
                on_app,
            },
            1,
            Wakes::Quiet,
        );
    }

    fn nasty(&self, wakes: Wakes) {
        match wakes {
            Wakes::Quiet => {}
            Wakes::DropsAnother => drop(take(&self.held, 0)),
            Wakes::DropsAll => drop(self.held.take()),
            Wakes::DropsChannels => drop(self.chans.take()),
            Wakes::StartsAnother => self.io(Io {
                chan: 0,
                what: What::Write,
                how: How::Held(Wakes::Quiet),
                memory: Memory::Heap,
                lba: 1,
                blocks: 2,
                batch: false,
            }),
            Wakes::Panics => panic!("a waker, on purpose"),
        }
    }
}

async fn zcopy_end(
    end: impl Future<Output = Result<(), IoError>>,
    disk: Disk,
    writes: Vec<u64>,
    commit: bool,
) {
    let result = end.await;
    if let Err(error) = &result {
        judge(disk, error);
    }
    for id in writes {
        match commit && result.is_ok() {
            true => oracle().done(id),
            false => oracle().over(id),
        }
    }
}

fn forget(held: Held) {
    if held.on_app {
        return;
    }
    FORGOTTEN.fetch_add(held.tracked, Ordering::Relaxed);
    FORGOTTEN_DMA.fetch_add(held.dma, Ordering::Relaxed);
    std::mem::forget(held.future);
}

/// Done after so many calls of a poller: a time-out that does not depend on the clock.
async fn turns_of(turns: u8) {
    let waker = Rc::new(Cell::new(None::<Waker>));
    let left = Rc::new(Cell::new(turns));
    let (its_waker, its_left) = (Rc::clone(&waker), Rc::clone(&left));
    let Ok(_poller) = Poller::register(None, move || {
        its_left.set(its_left.get().saturating_sub(1));
        if its_left.get() == 0 {
            its_waker.take().into_iter().for_each(Waker::wake);
        }
        PollerStatus::Idle
    }) else {
        return;
    };
    poll_fn(|cx| match left.get() {
        0 => Poll::Ready(()),
        _ => {
            waker.set(Some(cx.waker().clone()));
            Poll::Pending
        }
    })
    .await;
}

struct Nasty(Wakes);

impl Wake for Nasty {
    fn wake(self: Arc<Self>) {
        let _ = WORKER.with(|worker| worker.nasty(self.0));
    }
}

/// Whether an I/O on `disk` may fail like that.
fn judge(disk: Disk, error: &IoError) {
    ENDED.fetch_add(1, Ordering::Relaxed);
    let is_expected = match error {
        IoError::Removed { .. }
        | IoError::Thread(_)
        | IoError::Range { .. }
        | IoError::Empty { .. }
        | IoError::Overlap { .. }
        | IoError::Atomic { .. }
        | IoError::Misaligned { .. }
        | IoError::NoContents { .. }
        | IoError::Unsupported { .. }
        | IoError::NeedsVersion { .. } => true,
        // SPDK's delay bdev passes a zero-copy on, and not the memory of it.
        IoError::Window { size, .. } => *size == Bytes(0),
        // SPDK's error bdev makes a plain failure of a miscompare; it and the delay bdev say that they take what their base
        // takes, and know half of it.
        IoError::Failed { io, .. }
            if !matches!(
                io,
                IoType::Read | IoType::Write | IoType::Unmap | IoType::Flush
            ) && ["EE_s1", "late2"].contains(&oracle().name(disk)) =>
        {
            true
        }
        // SPDK's error bdev fails what finds no `spdk_bdev_io` below it.
        IoError::Failed { .. } if crate::is_tiny() && oracle().name(disk) == "EE_s1" => true,
        IoError::Failed { .. } | IoError::Aborted { .. } => {
            error.is_miscompare() || oracle().is_disturbed(disk)
        }
        _ => false,
    };
    if !is_expected {
        let name = oracle().name(disk);
        oracle().fail(format!(
            "an I/O on {name} (disk {disk}) failed: {error} ({error:?})"
        ));
    }
}

/// The end of a write.
fn wrote(disk: Disk, id: u64, result: &Result<(), IoError>) {
    match result {
        Ok(()) => {
            ENDED.fetch_add(1, Ordering::Relaxed);
            oracle().done(id);
        }
        Err(error) => {
            judge(disk, error);
            oracle().over(id);
        }
    }
}

/// The end of a read.
fn read(disk: Disk, lba: u64, since: u64, result: &Result<(), IoError>, data: &[u8]) {
    match result {
        Ok(()) => {
            ENDED.fetch_add(1, Ordering::Relaxed);
            oracle().found("read", disk, lba, since, data);
        }
        Err(error) => judge(disk, error),
    }
}

fn fill_all(data: &mut [u8], id: u64, lba: u64) {
    for (at, block) in data.chunks_mut(BLOCK).enumerate() {
        fill(block, value(id, lba + at as u64));
    }
}

/// The contents of write `id`, in as many pieces as there are blocks.
fn contents(id: u64, lba: u64, blocks: u64) -> Vec<Vec<u8>> {
    let block = |at| {
        let mut block = vec![0; BLOCK];
        fill(&mut block, value(id, lba + at));
        block
    };
    (0..blocks).map(block).collect()
}

impl Chan {
    fn make(self: &Rc<Self>, io: Io) -> Option<Held> {
        let held = |future: Boxed, tracked, dma| {
            Some(Held {
                future,
                tracked,
                dma,
                on_app: self.on_app,
            })
        };
        let (disk, ch) = (self.disk, &self.ch);
        let (lba, blocks) = (u64::from(io.lba), u64::from(io.blocks));
        let at = Lba(lba);
        macro_rules! started {
            ($io:expr) => {{
                let future = $io;
                if io.batch {
                    future.in_batch(&self.batch)
                } else {
                    future
                }
            }};
        }
        match io.what {
            What::Read => self.read(io),
            What::Write => self.write(io),
            What::ReadThen => {
                let mut data = vec![0; blocks as usize * BLOCK];
                data.shrink_to_fit();
                let since = oracle().read();
                let done = move |result: Result<(), IoError>, data: Tracked<Vec<u8>>| {
                    read(disk, lba, since, &result, &data.buf);
                };
                if let Err((error, _)) = ch.read_then(at, Tracked::new(data, None), done) {
                    judge(disk, &error);
                }
                None
            }
            What::WriteThen => {
                let id = oracle().write(disk, lba, blocks, false);
                let data = Tracked::new(contents(id, lba, blocks).concat(), Some(id));
                let again = Io {
                    how: How::Held(Wakes::Quiet),
                    what: What::Read,
                    ..io
                };
                let done = move |result: Result<(), IoError>, _data: Tracked<Vec<u8>>| {
                    wrote(disk, id, &result);
                    let _ = WORKER.with(|worker| worker.io(again));
                };
                if let Err((error, data)) = ch.write_then(at, data, done) {
                    judge(disk, &error);
                    drop(data);
                }
                None
            }
            What::ReadLoop => {
                let mut since = oracle().read();
                let (mut lba, mut left) = (lba, 6_u8);
                let data = Tracked::new(vec![0; BLOCK], None);
                let step = move |result: Result<(), IoError>, data: &mut Tracked<Vec<u8>>| {
                    read(disk, lba, since, &result, &data.buf);
                    data.buf.fill(0xee);
                    lba = (lba + 1) % 8;
                    since = oracle().read();
                    left = left.checked_sub(1)?;
                    Some(Lba(lba))
                };
                let io = started!(ch.read_loop(at, data, step));
                let future = async move {
                    if let (Err(error), _) = io.await {
                        judge(disk, &error);
                    }
                };
                held(Box::pin(future), 1, 0)
            }
            What::WriteLoop => {
                let mut id = oracle().write(disk, lba, 1, false);
                let (mut lba, mut left) = (lba, 6_u8);
                let mut data = ch.alloc(Blocks(1)).ok()?;
                fill_all(&mut data, id, lba);
                let step = move |result: Result<(), IoError>, data: &mut Tracked<DmaBuf>| {
                    wrote(disk, id, &result);
                    left = left.checked_sub(1)?;
                    lba = (lba + 3) % 8;
                    id = oracle().write(disk, lba, 1, false);
                    data.write = Some(id);
                    fill_all(&mut data.buf, id, lba);
                    Some(Lba(lba))
                };
                let io = started!(ch.write_loop(at, Tracked::new(data, Some(id)), step));
                let future = async move {
                    let (result, data) = io.await;
                    if let Err(error) = result {
                        judge(disk, &error);
                    }
                    drop(data);
                };
                held(Box::pin(future), 1, 1)
            }
            What::Compare => {
                let with = oracle().guess(disk, lba);
                let since = oracle().read();
                let mut data = vec![0; BLOCK];
                fill(&mut data, with);
                let io = started!(ch.compare(at, Tracked::new(data, None)));
                let future = async move {
                    let (result, _data) = io.await;
                    match result {
                        Ok(()) => oracle().compared(disk, lba, since, with, true),
                        Err(error) if error.is_miscompare() => {
                            oracle().compared(disk, lba, since, with, false);
                        }
                        Err(error) => judge(disk, &error),
                    }
                };
                held(Box::pin(future), 1, 0)
            }
            // SPDK unregisters a bdev twice, and frees its name twice, if the last of its range locks goes in between.
            What::CompareAndWrite if !oracle().may_lock => None,
            What::CompareAndWrite => {
                let with = oracle().guess(disk, lba);
                let since = oracle().read();
                let id = oracle().write(disk, lba, 1, false);
                let (mut compare, mut data) = (vec![0; BLOCK], vec![0; BLOCK]);
                fill(&mut compare, with);
                fill(&mut data, value(id, lba));
                let compare = Tracked::new(compare, None);
                let io = started!(ch.compare_and_write(at, compare, Tracked::new(data, Some(id))));
                let future = async move {
                    let (result, compare, data) = io.await;
                    match &result {
                        Err(error) if error.is_miscompare() => {
                            oracle().compared(disk, lba, since, with, false);
                            oracle().undone(id);
                        }
                        result => {
                            if result.is_ok() {
                                oracle().compared(disk, lba, since, with, true);
                            }
                            wrote(disk, id, result);
                        }
                    }
                    drop((compare, data));
                };
                held(Box::pin(future), 2, 0)
            }
            What::Copy => {
                let from = (lba + 4) % 8;
                let id = oracle().copy(disk, lba, from, blocks);
                let io = started!(ch.copy(at, Lba(from), Blocks(blocks)));
                held(Box::pin(async move { wrote(disk, id, &io.await) }), 0, 0)
            }
            What::Unmap | What::WriteZeroes => {
                let id = oracle().write(disk, lba, blocks, true);
                let io = match io.what {
                    What::Unmap => started!(ch.unmap(at, Blocks(blocks))),
                    _ => started!(ch.write_zeroes(at, Blocks(blocks))),
                };
                held(Box::pin(async move { wrote(disk, id, &io.await) }), 0, 0)
            }
            What::Flush | What::Reset => {
                let io = match io.what {
                    What::Flush => started!(ch.flush(at, Blocks(blocks))),
                    _ => {
                        oracle().disturb(disk);
                        started!(ch.reset())
                    }
                };
                let future = async move {
                    if let Err(error) = io.await {
                        judge(disk, &error);
                    }
                };
                held(Box::pin(future), 0, 0)
            }
            // SPDK's error bdev frees the zero-copy of its base as soon as that has begun, and crashes if it fails; its
            // delay bdev loses one when it is reset.
            What::Zcopy if ["EE_s1", "late2"].contains(&oracle().name(disk)) => None,
            // It keeps its `spdk_bdev_io` for as long as somebody holds or has forgotten it.
            What::Zcopy if crate::is_tiny() => None,
            What::Zcopy => {
                let on_app = self.on_app;
                let since = oracle().read();
                let io = started!(ch.zcopy(at, Blocks(blocks)));
                let future = async move {
                    match io.await {
                        Ok(zcopy) => {
                            let region = Region {
                                disk,
                                on_app,
                                zcopy,
                                since,
                                writes: Vec::new(),
                            };
                            region.copy_out();
                            let _ = WORKER.with(|worker| worker.regions.borrow_mut().push(region));
                        }
                        Err(error) => judge(disk, &error),
                    }
                };
                held(Box::pin(future), 0, 0)
            }
        }
    }

    fn read(&self, io: Io) -> Option<Held> {
        let (disk, ch, on_app) = (self.disk, &self.ch, self.on_app);
        let (lba, blocks) = (u64::from(io.lba), u64::from(io.blocks));
        let len = blocks as usize * BLOCK;
        let since = oracle().read();
        macro_rules! held {
            ($data:expr, $tracked:expr, $dma:expr, |$back:ident| $bytes:expr) => {{
                let io_future = ch.read(Lba(lba), $data);
                let io = if io.batch {
                    io_future.in_batch(&self.batch)
                } else {
                    io_future
                };
                let future = async move {
                    let (result, $back) = io.await;
                    match &result {
                        Ok(()) => read(disk, lba, since, &result, &$bytes),
                        Err(error) => judge(disk, error),
                    }
                };
                Some(Held {
                    future: Box::pin(future),
                    tracked: $tracked,
                    dma: $dma,
                    on_app,
                })
            }};
        }
        match io.memory {
            Memory::Dma => {
                let data = ch.alloc(Blocks(blocks)).ok()?;
                held!(Tracked::new(data, None), 1, 1, |back| back.buf[..])
            }
            Memory::Part => {
                let data = ch.alloc(Blocks(blocks + 2)).ok()?;
                let data = data.part(BLOCK..BLOCK + len).ok()?;
                held!(Tracked::new(data, None), 1, 1, |back| back.buf[..])
            }
            Memory::Uninit => {
                let data = ch.alloc_uninit(Blocks(blocks)).ok()?;
                held!(data, 0, 1, |back| back
                    .into_filled()
                    .expect("a read has filled it")[..])
            }
            Memory::Pieces => {
                let piece = |_| Tracked::new(vec![0; BLOCK], None);
                let data: Vec<_> = (0..blocks).map(piece).collect();
                let tracked = data.len();
                held!(data, tracked, 0, |back| {
                    back.iter()
                        .flat_map(|piece| piece.buf.clone())
                        .collect::<Vec<_>>()
                })
            }
            Memory::Uneven => {
                let head = len.min(100);
                let piece = |len| Tracked::new(vec![0; len], None);
                held!((piece(head), piece(len - head)), 2, 0, |back| {
                    [back.0.buf.clone(), back.1.buf.clone()].concat()
                })
            }
            Memory::Boxed => {
                let data = vec![0; len].into_boxed_slice();
                held!(Tracked::new(data, None), 1, 0, |back| back.buf)
            }
            Memory::Heap | Memory::Shared => {
                held!(Tracked::new(vec![0; len], None), 1, 0, |back| back.buf)
            }
        }
    }

    fn write(&self, io: Io) -> Option<Held> {
        let (disk, ch, on_app) = (self.disk, &self.ch, self.on_app);
        let (lba, blocks) = (u64::from(io.lba), u64::from(io.blocks));
        let id = oracle().write(disk, lba, blocks, false);
        let pieces = contents(id, lba, blocks);
        let all = pieces.concat();
        macro_rules! held {
            ($data:expr, $tracked:expr, $dma:expr) => {{
                let io_future = ch.write(Lba(lba), $data);
                let io = if io.batch {
                    io_future.in_batch(&self.batch)
                } else {
                    io_future
                };
                let future = async move {
                    let (result, data) = io.await;
                    wrote(disk, id, &result);
                    drop(data);
                };
                Some(Held {
                    future: Box::pin(future),
                    tracked: $tracked,
                    dma: $dma,
                    on_app,
                })
            }};
        }
        match io.memory {
            Memory::Dma => {
                let mut data = ch.alloc(Blocks(blocks)).ok()?;
                data.copy_from_slice(&all);
                held!(Tracked::new(data, Some(id)), 1, 1)
            }
            Memory::Part => {
                let mut data = ch.alloc(Blocks(blocks + 2)).ok()?;
                data[BLOCK..BLOCK + all.len()].copy_from_slice(&all);
                let data = data.part(BLOCK..BLOCK + all.len()).ok()?;
                held!(Tracked::new(data, Some(id)), 1, 1)
            }
            Memory::Uninit => {
                // Nobody wrote it: refused.
                held!(
                    Tracked::new(ch.alloc_uninit(Blocks(blocks)).ok()?, Some(id)),
                    1,
                    1
                )
            }
            Memory::Pieces => {
                let data: Vec<_> = pieces
                    .into_iter()
                    .map(|piece| Tracked::new(piece, Some(id)))
                    .collect();
                let tracked = data.len();
                held!(data, tracked, 0)
            }
            Memory::Uneven => {
                let (head, tail) = all.split_at(all.len().min(100));
                let piece = |bytes: &[u8]| Tracked::new(bytes.to_vec(), Some(id));
                held!((piece(head), piece(tail)), 2, 0)
            }
            Memory::Boxed => held!(Tracked::new(all.into_boxed_slice(), Some(id)), 1, 0),
            Memory::Heap => held!(Tracked::new(all, Some(id)), 1, 0),
            Memory::Shared => held!(Tracked::new(Arc::<[u8]>::from(all), Some(id)), 1, 0),
        }
    }
}

impl Region {
    /// The device of ours knows no zero-copy.
    fn is_emulated(&self) -> bool {
        oracle().name(self.disk) == "over3"
    }

    fn copy_in(&mut self) {
        let (lba, blocks) = (self.zcopy.lba().0, self.zcopy.blocks().0);
        let id = oracle().write(self.disk, lba, blocks, false);
        match self.zcopy.copy_in(0, &contents(id, lba, blocks).concat()) {
            // What nobody commits may yet be in the disk, for as long as it lives.
            Ok(()) => self.writes.push(id),
            Err(error) => {
                judge(self.disk, &error);
                oracle().undone(id);
            }
        }
    }

    fn copy_out(&self) {
        let mut data = vec![0; self.zcopy.len().0 as usize];
        let since = match self.is_emulated() {
            true => self.since,
            false => oracle().read(),
        };
        let lba = self.zcopy.lba().0;
        let result = self.zcopy.copy_out(0, &mut data);
        read(self.disk, lba, since, &result, &data);
    }
}
