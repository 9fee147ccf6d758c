//! Arrays over ramdisks, and what is asked of them at their end.

use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use spdk_bdevs::ramdisk::{Action, Fault, Ramdisk};
use spdk_raid::raid1::state::{FaultReason, LegState};
use spdk_raid::raid1::{ChangeError, Options, Raid1, Raid1Builder};
use spdk_safe::prelude::*;

pub(crate) const BLOCKS: u64 = 1024;

/// Windows in a rebuild of [`BLOCKS`].
pub(crate) const WINDOW: u64 = 128;

/// An array that somebody uses.
pub(crate) struct Md {
    pub(crate) spdk: Spdk,
    pub(crate) md: Raid1,
    pub(crate) disks: Vec<Ramdisk>,
    pub(crate) desc: BdevDesc<ReadWrite>,
    pub(crate) ch: Rc<IoChannel<ReadWrite>>,
}

/// A ramdisk of the usual size.
pub(crate) async fn disk(spdk: &Spdk, name: &str) -> Ramdisk {
    let disk = Ramdisk::builder(name).blocks(Blocks(BLOCKS));
    disk.create(spdk).await.unwrap()
}

/// Small windows, and no time-outs.
pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.window = Bytes(WINDOW * 512);
    options.io_timeout = None;
    options
}

pub(crate) fn fail(io: IoType) -> Fault {
    Fault::new(Action::Fail).io(io)
}

pub(crate) fn hold(io: IoType) -> Fault {
    Fault::new(Action::Hold).io(io)
}

impl Md {
    /// An array `name` over ramdisks `name0`, `name1`, ...
    pub(crate) async fn new(spdk: &Spdk, name: &str, count: usize) -> Self {
        Self::of(spdk, name, count, 0, |builder| builder).await
    }

    /// With so many places more that are missing.
    pub(crate) async fn of(
        spdk: &Spdk,
        name: &str,
        count: usize,
        missing: usize,
        with: impl FnOnce(Raid1Builder) -> Raid1Builder,
    ) -> Self {
        let mut disks = Vec::new();
        let mut builder = Raid1::builder(name).options(options());
        for at in 0..count {
            let base = format!("{name}{at}");
            disks.push(disk(spdk, &base).await);
            builder = builder.base(base);
        }
        for _ in 0..missing {
            builder = builder.missing();
        }
        Self::over(spdk, with(builder), name, disks).await
    }

    /// The array that `builder` makes, whose name that is, over ramdisks and perhaps others.
    pub(crate) async fn over(
        spdk: &Spdk,
        builder: Raid1Builder,
        name: &str,
        disks: Vec<Ramdisk>,
    ) -> Self {
        let md = builder.create(spdk).await.unwrap();
        let desc = BdevDesc::open(spdk, name).read_write().unwrap();
        let ch = Rc::new(desc.channel().unwrap());
        Self {
            spdk: spdk.clone(),
            md,
            disks,
            desc,
            ch,
        }
    }

    /// Another ramdisk, `name` and its number, which joins.
    pub(crate) async fn add(&mut self) -> Ramdisk {
        let name = format!("{}{}", self.md.name(), self.disks.len());
        let new = disk(&self.spdk, &name).await;
        self.disks.push(new.clone());
        self.md.add(&name).await.unwrap();
        new
    }

    /// A base that has left joins again, as soon as its bdev is free.
    pub(crate) async fn add_again(&self, name: &str) {
        while let Err(error) = self.md.add(name).await {
            assert!(matches!(error, ChangeError::Base(_)), "{error}");
            spdk_safe::app::yield_now().await;
        }
    }

    pub(crate) async fn write(&self, lba: u64, blocks: u64, byte: u8) -> Result<(), IoError> {
        write(&self.ch, lba, blocks, byte).await
    }

    /// The first byte of each block.
    pub(crate) async fn read(&self, lba: u64, blocks: u64) -> Result<Vec<u8>, IoError> {
        read(&self.ch, lba, blocks).await
    }

    /// A write that goes on by itself.
    pub(crate) fn begin_write(&self, lba: u64, blocks: u64, byte: u8) -> Begun {
        let ch = Rc::clone(&self.ch);
        begin(async move { write(&ch, lba, blocks, byte).await })
    }

    /// A read that goes on by itself.
    pub(crate) fn begin_read(&self, lba: u64, blocks: u64) -> Begun<Vec<u8>> {
        let ch = Rc::clone(&self.ch);
        begin(async move { read(&ch, lba, blocks).await })
    }

    pub(crate) fn state(&self, at: usize) -> LegState {
        self.md.info().base_bdevs_list[at].state
    }

    pub(crate) fn is_faulted(&self, at: usize, reason: FaultReason) -> bool {
        self.state(at) == LegState::Faulted { reason }
    }

    pub(crate) fn in_sync(&self) -> usize {
        self.md.info().num_base_bdevs_operational
    }

    /// Waits until `is` says so.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let seen = || format!("{:#?}", self.md.info());
        until(what, seen, || is(self)).await;
    }

    /// Waits until nothing differs, and nothing is being done about it.
    pub(crate) async fn until_calm(&self) {
        self.until("calm", |t| {
            let info = t.md.info();
            info.dirty_ranges == 0 && info.processes.is_empty()
        })
        .await;
    }

    /// The blocks of a leg, as the leg's first bytes of each.
    pub(crate) async fn leg(&self, at: usize) -> Vec<u8> {
        let all = contents(&self.spdk, self.disks[at].name()).await;
        all.chunks(512).map(|block| block[0]).collect()
    }

    /// Deletes all. Legs that were in sync are equal.
    pub(crate) async fn end(self) {
        for disk in &self.disks {
            disk.set_faults([]);
        }
        self.until_calm().await;
        let Self {
            spdk,
            md,
            disks,
            desc,
            ch,
        } = self;
        let bases = md.info().base_bdevs_list;
        let in_sync = bases.iter().filter(|base| base.state == LegState::InSync);
        let in_sync: Vec<_> = in_sync.filter_map(|base| base.name.clone()).collect();
        drop(ch);
        desc.close().await;
        md.delete().await;
        let first = contents(&spdk, &in_sync[0]).await;
        for name in &in_sync[1..] {
            let other = contents(&spdk, name).await;
            let differs = (0..first.len()).find(|&at| first.get(at) != other.get(at));
            assert!(
                differs.is_none(),
                "{name} and {} differ in block {:?}",
                in_sync[0],
                differs.map(|at| at / 512)
            );
        }
        for disk in disks.iter().filter(|disk| !disk.is_removed()) {
            disk.delete().await.unwrap();
        }
    }
}

/// What was begun.
pub(crate) struct Begun<T = ()>(spdk_exec::JoinHandle<Result<T, IoError>>);

pub(crate) fn begin<T: 'static>(
    task: impl Future<Output = Result<T, IoError>> + 'static,
) -> Begun<T> {
    let executor = spdk_exec::spdk::attach().unwrap();
    let keep = executor.clone();
    Begun(executor.spawn(async move {
        // It stays as long as it has something to do.
        let _keep = keep;
        task.await
    }))
}

impl<T> Begun<T> {
    pub(crate) fn is_done(&self) -> bool {
        self.0.is_finished()
    }

    pub(crate) async fn end(self) -> Result<T, IoError> {
        self.0.await.unwrap()
    }
}

/// Waits until `is` says so, which is asked in each turn of the reactor. If that never comes, says what it waited for.
pub(crate) async fn until(what: &str, seen: impl Fn() -> String, is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        // A test that waits for so long hangs.
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "never {what}: {}",
            seen()
        );
        spdk_safe::app::yield_now().await;
    }
}

pub(crate) async fn write(
    ch: &IoChannel<ReadWrite>,
    lba: u64,
    blocks: u64,
    byte: u8,
) -> Result<(), IoError> {
    let mut buf = ch.alloc(Blocks(blocks)).unwrap();
    buf.fill(byte);
    ch.write(Lba(lba), buf).await.0
}

/// A write whose blocks differ: the first is all `first`, the next all `first + 1`, and so on.
pub(crate) async fn write_each(
    ch: &IoChannel<ReadWrite>,
    lba: u64,
    blocks: u64,
    first: u8,
) -> Result<(), IoError> {
    let mut buf = ch.alloc(Blocks(blocks)).unwrap();
    for (at, block) in buf.chunks_mut(512).enumerate() {
        block.fill(first.wrapping_add(at as u8));
    }
    ch.write(Lba(lba), buf).await.0
}

pub(crate) async fn read(
    ch: &IoChannel<ReadWrite>,
    lba: u64,
    blocks: u64,
) -> Result<Vec<u8>, IoError> {
    let buf = ch.read_blocks(Lba(lba), Blocks(blocks)).await?;
    Ok(buf.chunks(512).map(|block| block[0]).collect())
}

/// All of a bdev's contents.
pub(crate) async fn contents(spdk: &Spdk, name: &str) -> Vec<u8> {
    let desc = BdevDesc::open(spdk, name).read_only().unwrap();
    let ch = desc.channel().unwrap();
    let buf = ch.read_blocks(Lba(0), desc.num_blocks()).await.unwrap();
    drop(ch);
    desc.close().await;
    buf.to_vec()
}
