//! The disks of a case, which are pulled out and come again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use spdk_bdevs::ramdisk::{Fault, Ramdisk};
use spdk_safe::prelude::*;
use spdk_safe::thread;

use super::BLOCKS;
use super::io::pause;
use super::model::pattern;
use super::plan::DiskPlan;

/// What is on a disk that comes new is none of the tags that anybody writes.
pub(crate) const JUNK: u32 = 0xbad0_0000;

pub(crate) struct Disk {
    pub(crate) name: String,
    plan: DiskPlan,
    blocks: AtomicU64,
    faults: Vec<Fault>,
    /// How often somebody did something to it.
    pub(crate) touched: AtomicU64,
    ramdisk: Mutex<Option<Ramdisk>>,
    /// A malloc bdev was pulled out, and then is gone.
    pulled: AtomicBool,
    gone: AtomicBool,
}

impl Disk {
    pub(crate) fn new(name: String, plan: DiskPlan, faults: Vec<Fault>) -> Arc<Self> {
        Arc::new(Self {
            name,
            blocks: AtomicU64::new(BLOCKS + plan.more),
            plan,
            faults,
            touched: AtomicU64::new(0),
            ramdisk: Mutex::default(),
            pulled: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        })
    }

    fn ramdisk(&self) -> Option<Ramdisk> {
        self.ramdisk.lock().unwrap().clone()
    }

    /// Creates it: empty, or with what nobody wrote.
    pub(crate) async fn create(&self, spdk: &Spdk, is_empty: bool) {
        let blocks = self.blocks.load(Ordering::Relaxed);
        if self.plan.is_malloc {
            let disk = MallocBdev::builder(&self.name).blocks(blocks);
            disk.create(spdk).await.unwrap();
            self.pulled.store(false, Ordering::Relaxed);
            self.gone.store(false, Ordering::Relaxed);
        } else {
            let disk = Ramdisk::builder(&self.name).blocks(Blocks(blocks));
            let disk = disk.create(spdk).await.unwrap();
            *self.ramdisk.lock().unwrap() = Some(disk);
        }
        if !is_empty {
            let desc = BdevDesc::open(spdk, &self.name).read_write().unwrap();
            let ch = desc.channel().unwrap();
            let tags: Vec<_> = (0..blocks as u32).map(|at| JUNK + at).collect();
            ch.write(Lba(0), pattern(&tags)).await.0.unwrap();
            drop(ch);
            desc.close().await;
        }
        self.arm();
    }

    /// It has so many blocks from now on, also when it comes again; not fewer than before.
    pub(crate) fn grow(&self, blocks: u64) {
        if let (false, Some(disk)) = (self.is_out(), self.ramdisk()) {
            if blocks > disk.num_blocks().0 && disk.resize(Blocks(blocks)).is_ok() {
                self.blocks.store(blocks, Ordering::Relaxed);
            }
        }
    }

    /// Its faults begin anew.
    pub(crate) fn arm(&self) {
        if let Some(disk) = self.ramdisk() {
            disk.set_faults(self.faults.iter().cloned());
        }
    }

    /// Nothing goes wrong on it any more.
    pub(crate) fn disarm(&self) {
        if let Some(disk) = self.ramdisk() {
            disk.set_faults([]);
        }
    }

    /// How often something went wrong on it.
    pub(crate) fn injected(&self) -> u64 {
        self.ramdisk().map_or(0, |disk| disk.injected())
    }

    /// Whether it was pulled out, by somebody or by a fault.
    pub(crate) fn is_out(&self) -> bool {
        self.ramdisk().is_some_and(|disk| disk.is_removed()) || self.pulled.load(Ordering::Relaxed)
    }

    /// What waits in it for ever is aborted.
    pub(crate) fn let_go(&self) {
        let holds = |fault: &Fault| format!("{fault:?}").contains("Hold");
        if self.faults.iter().any(holds) {
            if let Some(disk) = self.ramdisk() {
                disk.let_go();
            }
        }
    }

    pub(crate) fn pull(self: &Arc<Self>, spdk: &Spdk) {
        if self.is_out() {
            return;
        }
        if let Some(disk) = self.ramdisk() {
            return disk.remove();
        }
        self.pulled.store(true, Ordering::Relaxed);
        let (disk, spdk) = (Arc::clone(self), spdk.clone());
        let _ = thread::spawn_local(async move {
            MallocBdev::delete(&spdk, &disk.name).await.unwrap();
            disk.gone.store(true, Ordering::Relaxed);
        });
    }

    /// Waits until it is gone, once it was pulled out.
    pub(crate) async fn gone(&self) {
        if let Some(disk) = self.ramdisk() {
            return disk.gone().await;
        }
        while !self.gone.load(Ordering::Relaxed) {
            pause(1).await;
        }
    }

    /// What is on its first blocks.
    pub(crate) async fn contents(&self, spdk: &Spdk, blocks: Blocks) -> Vec<u8> {
        let desc = BdevDesc::open(spdk, &self.name).read_only().unwrap();
        let ch = desc.channel().unwrap();
        let buf = ch.read_blocks(Lba(0), blocks).await.unwrap();
        drop(ch);
        desc.close().await;
        buf.to_vec()
    }

    pub(crate) async fn delete(&self, spdk: &Spdk) {
        if self.is_out() {
            return self.gone().await;
        }
        match self.ramdisk() {
            Some(disk) => disk.delete().await.unwrap(),
            None => MallocBdev::delete(spdk, &self.name).await.unwrap(),
        }
    }
}
