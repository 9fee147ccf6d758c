//! One case: the app thread makes disks and SPDK threads, tells them what to do, and takes everything away again.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::Duration;

use spdk_safe::app::yield_now;
use spdk_safe::bdev::{DelayBdev, ErrorBdev, Fault as Injected, Injection, SharedDesc};
use spdk_safe::module::{BdevModule, BlockDevice, BlockDeviceBuilder, RegisteredBdev, Request};
use spdk_safe::prelude::*;
use spdk_safe::test::Open;
use spdk_safe::thread::{JoinHandle, spawn_local};

use crate::buffers::ALIVE;
use crate::oracle::{BLOCK, Disk, fill, oracle, value};
use crate::plan::{Ending, Fault, KINDS, Op, Plan, THREADS};
use crate::worker::{self, FORGOTTEN, FORGOTTEN_DMA};

pub(crate) static MODULE: BdevModule = BdevModule::new(c"rust_storm");

/// Blocks of each disk: few, so that I/Os meet.
const BLOCKS: u64 = 8;

/// What is opened, for each kind of disk, and what that stands on.
const TOP: [&str; KINDS] = ["s0", "EE_s1", "late2", "over3"];
const BASE: [&str; KINDS] = ["s0", "s1", "s2", "s3"];

/// Passes on reads and writes to its base.
struct Over(SharedDesc<ReadWrite>);

impl BlockDevice for Over {
    type Channel = IoChannel<ReadWrite>;

    fn create_channel(&self) -> Result<Self::Channel, ChannelError> {
        self.0.channel()
    }

    fn submit(&self, base: &Rc<Self::Channel>, request: Request) {
        let base = Rc::clone(base);
        let mut task = Box::pin(async move {
            match request {
                Request::Read(request) => {
                    let (result, data) = base.read(request.lba(), request.data()).await;
                    drop(data);
                    request.complete(result);
                }
                Request::Write(request) => {
                    let (result, data) = base.write(request.lba(), request.data()).await;
                    drop(data);
                    request.complete(result);
                }
                other => drop(other),
            }
        });
        // The I/O below is submitted here and now, or requests could take every `spdk_bdev_io` before any has its own.
        let first = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if first.is_pending() {
            // A thread that exits takes no task, and the request is dropped.
            let _ = spawn_local(task);
        }
    }
}

/// One of the disks.
#[derive(Default)]
struct Slot {
    /// While it is there, and not being removed.
    disk: Cell<Option<Disk>>,
    removing: Cell<bool>,
    over: RefCell<Option<RegisteredBdev>>,
}

pub(crate) struct Director {
    spdk: Spdk,
    slots: Rc<[Slot; KINDS]>,
    threads: Vec<Option<Thread>>,
    descs: Vec<(Disk, BdevDesc<ReadWrite>)>,
    background: Vec<JoinHandle<()>>,
    /// What is there before the case.
    before: Open,
}

/// What is there: with what was leaked on purpose.
fn open_now() -> Open {
    let mut open = Open::now();
    open.dma_buffers -= FORGOTTEN_DMA.load(Ordering::Relaxed);
    open
}

/// Runs `plan`. `torn` is set where several OS threads do I/O.
pub(crate) async fn run(spdk: Spdk, plan: Plan, torn: bool) {
    oracle().reset(torn);
    if std::env::var_os("STORM_LOG").is_none() {
        spdk_safe::log::set_print_level(LogLevel::Disabled);
    }
    let removes = |op: &Op| matches!(op, Op::Remove { .. });
    oracle().may_lock = plan.ending == Ending::InOrder && !plan.ops.iter().any(removes);
    worker::on_app();
    let mut director = Director {
        before: open_now(),
        spdk,
        slots: Rc::default(),
        threads: (0..THREADS).map(|_| None).collect(),
        descs: Vec::new(),
        background: Vec::new(),
    };
    for kind in 0..KINDS {
        director.create(kind).await;
        director.open(kind, 15);
    }
    for thread in 1..THREADS {
        director.new_thread(thread, false).await;
        for kind in 0..KINDS {
            director.share(thread, kind);
        }
    }
    for kind in 0..KINDS {
        director.share(0, kind);
    }
    for op in plan.ops {
        director.step(op).await;
        director.check();
    }
    director.end(plan.ending).await;
}

impl Director {
    fn check(&self) {
        let failures = oracle().failures().join("\n");
        assert!(failures.is_empty(), "{failures}");
    }

    fn send(&self, thread: usize, what: impl FnOnce() + Send + 'static) {
        let handle = match thread {
            0 => spdk_safe::thread::app(),
            _ => self.threads[thread].as_ref().map(|thread| thread.handle()),
        };
        if let Some(handle) = handle {
            // A full queue, or a thread that exits: the message is dropped.
            drop(handle.try_send(what));
        }
    }

    fn share(&self, thread: usize, kind: usize) {
        let disk = self.slots[kind].disk.get();
        let desc = self.descs.iter().rev().find(|(of, _)| Some(*of) == disk);
        if let Some((disk, desc)) = desc {
            let (disk, share) = (*disk, desc.share());
            self.send(thread, move || worker::share(disk, share));
        }
    }

    async fn step(&mut self, op: Op) {
        match op {
            Op::On { thread, act } => self.send(thread.into(), move || worker::act(act)),
            Op::Open { kind, shares } => {
                self.open(kind.into(), shares);
            }
            Op::Close { desc, wait } => {
                if self.descs.is_empty() {
                    return;
                }
                let at = usize::from(desc) % self.descs.len();
                let (_, desc) = self.descs.swap_remove(at);
                match wait {
                    true => {
                        let close = desc.close();
                        self.behind(close);
                    }
                    false => drop(desc),
                }
            }
            Op::Create { kind } => self.create(kind.into()).await,
            Op::Remove {
                kind,
                base_first,
                detach,
            } => {
                self.remove(kind.into(), base_first, detach);
            }
            Op::Inject {
                fault,
                write,
                count,
            } => self.inject(fault, write, count).await,
            Op::Exit { thread, wait } => {
                if let Some(thread) = self.threads[usize::from(thread)].take() {
                    // The device of ours drops the requests of the thread, whose I/O may be smuggled elsewhere.
                    if let Some(disk) = self.slots[3].disk.get() {
                        oracle().disturb(disk);
                    }
                    match wait {
                        true => self.behind(thread.exit()),
                        false => {
                            let exited = thread.exited();
                            drop(thread);
                            self.behind(exited);
                        }
                    }
                }
            }
            Op::New { thread, drop } => self.new_thread(thread.into(), drop).await,
            Op::Yield { turns } => {
                for _ in 0..turns {
                    yield_now().await;
                }
            }
        }
    }

    fn behind(&mut self, future: impl Future<Output = ()> + 'static) {
        self.background
            .push(spawn_local(future).expect("the app thread takes tasks"));
    }

    async fn new_thread(&mut self, at: usize, drop_it: bool) {
        if self.threads[at].is_some() {
            return;
        }
        let create = Thread::builder(format!("storm-{at}")).create(&self.spdk);
        if drop_it {
            let mut create = Box::pin(create);
            let _ = create
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            return;
        }
        match create.await {
            Ok(thread) => self.threads[at] = Some(thread),
            Err(error) => oracle().fail(format!("no thread: {error}")),
        }
        for kind in 0..KINDS {
            self.share(at, kind);
        }
    }

    async fn create(&mut self, kind: usize) {
        let slot = &self.slots[kind];
        if slot.disk.get().is_some() || slot.removing.get() {
            return;
        }
        let spdk = &self.spdk;
        let base = MallocBdev::builder(BASE[kind])
            .blocks(BLOCKS)
            .block_size(BLOCK as u32);
        loop {
            match base.clone().create(spdk).await {
                // It is still going.
                Err(BdevError::Exists { .. }) => yield_now().await,
                created => break created.expect("a malloc bdev"),
            }
        }
        // One that went away with its base may have come again by itself.
        match kind {
            1 => drop(ErrorBdev::on(BASE[kind]).create(spdk).await),
            2 => {
                let (short, long) = (Duration::from_micros(5), Duration::from_micros(50));
                let late = DelayBdev::builder(TOP[kind], BASE[kind]);
                drop(late.read(short, long).write(short, long).create(spdk).await);
            }
            3 => {
                let desc = BdevDesc::open(spdk, BASE[kind])
                    .read_write()
                    .expect("it is there");
                let over = BlockDeviceBuilder::new(TOP[kind])
                    .blocks(Blocks(BLOCKS))
                    .register(spdk, &MODULE, Over(desc.share()));
                slot.over.replace(Some(over.expect("a device of ours")));
            }
            _ => {}
        }
        slot.disk.set(Some(oracle().create(BLOCKS, TOP[kind])));
    }

    fn open(&mut self, kind: usize, shares: u8) {
        let Some(disk) = self.slots[kind].disk.get() else {
            return;
        };
        match BdevDesc::open(&self.spdk, TOP[kind]).read_write() {
            Ok(desc) => self.descs.push((disk, desc)),
            Err(error) => return oracle().fail(format!("{} can't be opened: {error}", TOP[kind])),
        }
        for thread in 0..THREADS {
            if shares & (1 << thread) != 0 {
                self.share(thread, kind);
            }
        }
    }

    fn remove(&mut self, kind: usize, base_first: bool, detach: bool) {
        let slot = &self.slots[kind];
        let Some(disk) = slot.disk.take() else { return };
        slot.removing.set(true);
        oracle().disturb(disk);
        let (spdk, slots) = (self.spdk.clone(), Rc::clone(&self.slots));
        let remove = async move {
            let slot = &slots[kind];
            if kind == 1 {
                // What it holds back keeps it, and can't be reached once it goes.
                ErrorBdev::abort_held(&spdk, TOP[1])
                    .await
                    .expect("it is there");
            }
            if !base_first {
                match kind {
                    1 => ErrorBdev::delete(&spdk, TOP[1]).await.expect("it is there"),
                    2 => DelayBdev::delete(&spdk, TOP[2]).await.expect("it is there"),
                    _ => {}
                }
                let over = slot.over.take();
                if let Some(over) = over {
                    over.unregister().await;
                }
            }
            if detach {
                // It goes on by itself; whoever makes the next one waits for that.
                let mut delete = Box::pin(MallocBdev::delete(&spdk, BASE[kind]));
                let _ = delete
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()));
                drop(delete);
            } else {
                MallocBdev::delete(&spdk, BASE[kind])
                    .await
                    .expect("it is there");
            }
            let over = slot.over.take();
            if let Some(over) = over {
                over.unregister().await;
            }
            slot.removing.set(false);
        };
        self.behind(remove);
    }

    async fn inject(&self, fault: Fault, write: bool, count: u8) {
        let Some(disk) = self.slots[1].disk.get() else {
            return;
        };
        let fault = match fault {
            Fault::Fail => Injected::Fail,
            // Older ones fail what they hold back on the thread that resets, whosever it is.
            Fault::Hold if spdk_sys::VERSION < (25, 1, 0) => return,
            Fault::Hold => Injected::Hold,
            // Not an error to anybody.
            Fault::NoMemory => Injected::NoMemory,
            Fault::Clear => {
                oracle().disturb(disk);
                let begun = ErrorBdev::abort_held(&self.spdk, TOP[1]).await;
                return begun.expect("it is there");
            }
        };
        if fault != Injected::NoMemory {
            oracle().disturb(disk);
        }
        let io = if write { IoType::Write } else { IoType::Read };
        let injection = Injection::new(fault).into_type(io).count(count.into());
        match ErrorBdev::inject(&self.spdk, TOP[1], injection) {
            Ok(()) | Err(BdevError::NeedsVersion { .. }) => {}
            Err(error) => oracle().fail(format!("nothing is injected: {error}")),
        }
    }

    async fn end(mut self, ending: Ending) {
        if let Some(disk) = self.slots[1].disk.get() {
            oracle().disturb(disk);
            let begun = ErrorBdev::abort_held(&self.spdk, TOP[1]).await;
            begun.expect("it is there");
        }
        match ending {
            Ending::InOrder => {
                for thread in 0..THREADS {
                    self.send(thread, || {
                        worker::clear();
                        worker::clear_smuggled();
                    });
                }
                self.exit_threads().await;
                // Some of what is awaited waits for what was smuggled, some of it by threads that still exit.
                while !self.background.iter().all(JoinHandle::is_finished) {
                    self.sweep().await;
                }
                self.join().await;
                self.sweep().await;
                let descs = std::mem::take(&mut self.descs);
                for desc in descs
                    .into_iter()
                    .map(|(_, desc)| desc.close())
                    .collect::<Vec<_>>()
                {
                    desc.await;
                }
                self.look_at_disks().await;
                self.remove_all();
                self.join().await;
            }
            Ending::RemoveFirst => {
                self.remove_all();
                self.join().await;
                self.exit_threads().await;
            }
            Ending::ExitFirst => {
                self.exit_threads().await;
                self.remove_all();
                self.join().await;
            }
            Ending::AllAtOnce => {
                self.threads.clear();
                self.remove_all();
                self.descs.clear();
                self.join().await;
            }
        }
        self.sweep().await;
        self.descs.clear();
        self.check();
        self.nothing_is_left().await;
    }

    /// Lets go of what the app thread has, after all that it was sent; and of what was smuggled, on each OS thread.
    async fn sweep(&self) {
        let sweep = Thread::builder("sweep").create(&self.spdk).await;
        let sweep = sweep.expect("a thread");
        let clear = || {
            worker::clear();
            worker::clear_smuggled();
        };
        let app = spdk_safe::thread::app().expect("the app thread");
        app.call(clear).await.expect("a call");
        sweep.call(clear).await.expect("a call");
        sweep.exit().await;
    }

    fn remove_all(&mut self) {
        for kind in 0..KINDS {
            self.remove(kind, kind % 2 == 0, false);
        }
    }

    async fn exit_threads(&mut self) {
        if let Some(disk) = self.slots[3].disk.get() {
            oracle().disturb(disk);
        }
        let exits: Vec<_> = self
            .threads
            .iter_mut()
            .filter_map(Option::take)
            .map(Thread::exit)
            .collect();
        for exit in exits {
            exit.await;
        }
    }

    async fn join(&mut self) {
        for task in std::mem::take(&mut self.background) {
            task.await.expect("what was begun ends well");
        }
    }

    /// All descriptors are closed, so nothing is in flight: the disks hold what they may, and stay as they are.
    async fn look_at_disks(&self) {
        for (kind, name) in TOP.into_iter().enumerate() {
            let Some(disk) = self.slots[kind].disk.get() else {
                continue;
            };
            oracle().all_over(disk);
            let desc = BdevDesc::open(&self.spdk, name)
                .read_write()
                .expect("it is there");
            let ch = desc.channel().expect("a channel");
            let since = oracle().read();
            // The reset that was begun for what was held back aborts what it meets.
            let data = loop {
                match ch.read_blocks(Lba(0), Blocks(BLOCKS)).await {
                    Err(error) if kind == 1 && error.is_aborted() => yield_now().await,
                    data => break data.expect("nothing is injected"),
                }
            };
            oracle().found("the last look", disk, 0, since, &data);
            // What is written now stays: nothing comes late.
            let id = oracle().write(disk, 0, BLOCKS, false);
            let mut last = desc.alloc(Blocks(BLOCKS)).expect("memory");
            for (at, block) in last.chunks_mut(BLOCK).enumerate() {
                fill(block, value(id, at as u64));
            }
            loop {
                let (result, back) = ch.write(Lba(0), last).await;
                last = back;
                match result {
                    Err(error) if kind == 1 && error.is_aborted() => yield_now().await,
                    result => break result.expect("nothing is injected"),
                }
            }
            for _ in 0..20 {
                yield_now().await;
            }
            oracle().done(id);
            let since = oracle().read();
            let data = ch.read_blocks(Lba(0), Blocks(BLOCKS)).await;
            let data = data.expect("nothing is injected");
            oracle().found("after the last write", disk, 0, since, &data);
            drop(ch);
            desc.close().await;
        }
        self.check();
    }

    async fn nothing_is_left(self) {
        let before = self.before.clone();
        let mut left = open_now();
        for _ in 0..20_000 {
            left = open_now();
            let forgotten = FORGOTTEN.load(Ordering::Relaxed);
            if left == before && ALIVE.load(Ordering::Relaxed) == forgotten {
                return;
            }
            yield_now().await;
        }
        let (alive, forgotten) = (
            ALIVE.load(Ordering::Relaxed),
            FORGOTTEN.load(Ordering::Relaxed),
        );
        panic!(
            "left: {left:?}\nbefore: {before:?}\n{alive} buffers are alive, {forgotten} of them forgotten"
        );
    }
}
