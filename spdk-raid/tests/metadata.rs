//! Arrays over bases whose blocks have metadata.

#![forbid(unsafe_code)]

use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use spdk_raid::raid1::layout::LayoutError;
use spdk_raid::raid1::state::ArrayState;
use spdk_raid::raid1::{CreateError, MODULE, Raid1};
use spdk_safe::bdev::{Dif, DifType};
use spdk_safe::module::{
    BdevModule, BlockDevice, BlockDeviceBuilder, RegisteredBdev, Request, RequestStatus,
};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static DISKS: BdevModule = BdevModule::new(c"rust_metadata_disks");
static SPDK: Harness = Harness::new(&[&MODULE, &DISKS]);

const BLOCKS: usize = 64;
const DATA: usize = 512;
const MARK: usize = 8;

/// Not 0: only each third request, of all disks, finds memory.
static TURNS: AtomicU32 = AtomicU32::new(0);

/// Blocks in memory, with what is said beside them.
struct Disk {
    block: usize,
    memory: Mutex<(Vec<u8>, Vec<u8>)>,
}

impl BlockDevice for Disk {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn submit(&self, _: &Rc<()>, request: Request) {
        let turn = TURNS.load(Ordering::Relaxed);
        if turn != 0 && TURNS.fetch_add(1, Ordering::Relaxed) % 3 != 0 {
            return request.complete(RequestStatus::NoMemory);
        }
        let mut memory = self.memory.lock().unwrap();
        let (data, marks) = &mut *memory;
        let at = |lba: Lba, blocks: Blocks, size: usize| {
            let from = lba.0 as usize * size;
            from..from + blocks.0 as usize * size
        };
        let first = Bytes(0);
        match request {
            Request::Read(read) => {
                let (lba, blocks) = (read.lba(), read.blocks());
                if let Some(metadata) = read.metadata() {
                    let marks = &marks[at(lba, blocks, MARK)];
                    metadata.copy_from(first, marks).unwrap();
                }
                let data = &data[at(lba, blocks, self.block)];
                read.view().copy_from(first, data).unwrap();
                read.complete(RequestStatus::Success);
            }
            Request::Write(write) => {
                let (lba, blocks) = (write.lba(), write.blocks());
                if let Some(metadata) = write.metadata() {
                    let marks = &mut marks[at(lba, blocks, MARK)];
                    metadata.copy_to(first, marks).unwrap();
                }
                let data = &mut data[at(lba, blocks, self.block)];
                write.view().copy_to(first, data).unwrap();
                write.complete(RequestStatus::Success);
            }
            other => other.complete(RequestStatus::Failed),
        }
    }
}

fn builder(name: &str, interleaved: bool) -> BlockDeviceBuilder {
    let builder = BlockDeviceBuilder::new(name)
        .blocks(Blocks(BLOCKS as u64))
        .metadata(MARK as u32, interleaved);
    match interleaved {
        true => builder.block_size((DATA + MARK) as u32),
        false => builder,
    }
}

fn disk(spdk: &Spdk, name: &str, interleaved: bool) -> RegisteredBdev {
    let block = DATA + if interleaved { MARK } else { 0 };
    let disk = Disk {
        block,
        memory: Mutex::new((vec![0; BLOCKS * block], vec![0; BLOCKS * MARK])),
    };
    builder(name, interleaved)
        .register(spdk, &DISKS, disk)
        .unwrap()
}

/// Waits until `is` says so.
async fn until(array: &Raid1, is: impl Fn(&Raid1) -> bool) {
    let executor = spdk_exec::spdk::attach().unwrap();
    for _ in 0..4000 {
        if is(array) {
            return;
        }
        executor.sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("never: {:#?}", array.info());
}

/// Everything on a base, with its metadata.
async fn contents(spdk: &Spdk, name: &str, interleaved: bool) -> (Vec<u8>, Vec<u8>) {
    let desc = BdevDesc::open(spdk, name).read_only().unwrap();
    let ch = desc.channel().unwrap();
    let all = match interleaved {
        true => {
            let data = vec![0; BLOCKS * (DATA + MARK)];
            let (result, data) = ch.read(Lba(0), data).await;
            result.unwrap();
            (data, Vec::new())
        }
        false => {
            let (data, marks) = (vec![0; BLOCKS * DATA], vec![0; BLOCKS * MARK]);
            let (result, data, marks) = ch.read_with_md(Lba(0), data, marks).await;
            result.unwrap();
            (data, marks)
        }
    };
    drop(ch);
    desc.close().await;
    all
}

#[test]
fn separate_metadata_is_mirrored_read_rebuilt_and_scrubbed() {
    SPDK.run(async |spdk| {
        let disks = [disk(&spdk, "sep0", false), disk(&spdk, "sep1", false)];
        let md = Raid1::builder("sep").base("sep0").base("sep1");
        let md = md.create(&spdk).await.unwrap();
        let desc = BdevDesc::open(&spdk, "sep").read_write().unwrap();
        assert_eq!(desc.info().metadata_size, MARK as u32);
        assert!(!desc.info().metadata_interleaved);
        let ch = desc.channel().unwrap();
        let marks: Vec<u8> = (1..=4 * MARK as u8).collect();
        let (result, ..) = ch
            .write_with_md(Lba(3), vec![7; 4 * DATA], marks.clone())
            .await;
        result.unwrap();
        for _ in 0..2 {
            let (result, data, read) = ch
                .read_with_md(Lba(3), vec![0; 4 * DATA], vec![0; 4 * MARK])
                .await;
            result.unwrap();
            assert_eq!((data, &read), (vec![7; 4 * DATA], &marks));
        }
        let one = contents(&spdk, "sep0", false).await;
        assert_eq!(one.1[3 * MARK..7 * MARK], marks);
        assert!(one == contents(&spdk, "sep1", false).await);

        md.remove("sep1").await.unwrap();
        let other = vec![99; 4 * MARK];
        let (result, ..) = ch.write_with_md(Lba(20), vec![8; 4 * DATA], other).await;
        result.unwrap();
        // What it has is wrong in metadata alone at first.
        let stale = BdevDesc::open(&spdk, "sep1").read_write().unwrap();
        let below = stale.channel().unwrap();
        let (result, ..) = below
            .write_with_md(Lba(3), vec![7; DATA], vec![0; MARK])
            .await;
        result.unwrap();
        drop(below);
        stale.close().await;
        md.add("sep1").await.unwrap();
        until(&md, |md| md.info().state == ArrayState::Optimal).await;
        md.scrub(false).await.unwrap();
        until(&md, |md| md.info().processes.is_empty()).await;
        assert_eq!(md.info().counters.mismatches, 0);
        drop(ch);
        desc.close().await;
        md.delete().await;
        let one = contents(&spdk, "sep0", false).await;
        assert_eq!(one.1[20 * MARK], 99);
        assert!(one == contents(&spdk, "sep1", false).await);

        // They differ in one block's metadata, and nowhere else.
        let desc = BdevDesc::open(&spdk, "sep1").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let (result, ..) = ch
            .write_with_md(Lba(20), vec![8; DATA], vec![1; MARK])
            .await;
        result.unwrap();
        drop(ch);
        desc.close().await;
        let md = Raid1::builder("sep").base("sep0").base("sep1");
        let md = md.create(&spdk).await.unwrap();
        md.scrub(true).await.unwrap();
        until(&md, |md| md.info().processes.is_empty()).await;
        assert_eq!(md.info().counters.mismatches, 1);
        md.delete().await;
        assert!(one == contents(&spdk, "sep1", false).await);
        for disk in disks {
            disk.unregister().await;
        }
    });
}

#[test]
fn s6_separate_metadata_is_mirrored_rebuilt_and_scrubbed_by_bases_that_are_short_of_memory() {
    SPDK.run(async |spdk| {
        let disks = [disk(&spdk, "short0", false), disk(&spdk, "short1", false)];
        let md = Raid1::builder("short").base("short0").base("short1");
        let md = md.create(&spdk).await.unwrap();
        let desc = BdevDesc::open(&spdk, "short").read_write().unwrap();
        let ch = desc.channel().unwrap();
        TURNS.store(1, Ordering::Relaxed);
        let marks: Vec<u8> = (1..=4 * MARK as u8).collect();
        let (result, ..) = ch
            .write_with_md(Lba(3), vec![7; 4 * DATA], marks.clone())
            .await;
        result.unwrap();
        let (result, data, read) = ch
            .read_with_md(Lba(3), vec![0; 4 * DATA], vec![0; 4 * MARK])
            .await;
        result.unwrap();
        assert_eq!((data, read), (vec![7; 4 * DATA], marks));
        md.remove("short1").await.unwrap();
        let (result, ..) = ch
            .write_with_md(Lba(20), vec![8; 4 * DATA], vec![99; 4 * MARK])
            .await;
        result.unwrap();
        md.add("short1").await.unwrap();
        until(&md, |md| md.info().state == ArrayState::Optimal).await;
        md.scrub(false).await.unwrap();
        until(&md, |md| md.info().processes.is_empty()).await;
        assert!(TURNS.swap(0, Ordering::Relaxed) > 12);
        let counts = md.info().counters;
        assert_eq!((counts.mismatches, counts.faults), (0, 0));
        drop(ch);
        desc.close().await;
        md.delete().await;
        let one = contents(&spdk, "short0", false).await;
        assert!(one.1[20 * MARK] == 99 && one == contents(&spdk, "short1", false).await);
        for disk in disks {
            disk.unregister().await;
        }
    });
}

#[test]
fn interleaved_metadata_is_mirrored_and_rebuilt() {
    SPDK.run(async |spdk| {
        let disks = [disk(&spdk, "int0", true), disk(&spdk, "int1", true)];
        let md = Raid1::builder("int").base("int0").base("int1");
        let md = md.create(&spdk).await.unwrap();
        let desc = BdevDesc::open(&spdk, "int").read_write().unwrap();
        assert_eq!(desc.info().block_size, (DATA + MARK) as u32);
        assert!(desc.info().metadata_interleaved);
        let ch = desc.channel().unwrap();
        let data: Vec<u8> = (0..2 * (DATA + MARK)).map(|at| at as u8).collect();
        ch.write(Lba(5), data.clone()).await.0.unwrap();
        let (result, read) = ch.read(Lba(5), vec![0; data.len()]).await;
        result.unwrap();
        assert_eq!(read, data);
        md.remove("int1").await.unwrap();
        ch.write(Lba(9), data.clone()).await.0.unwrap();
        md.add("int1").await.unwrap();
        until(&md, |md| md.info().state == ArrayState::Optimal).await;
        drop(ch);
        desc.close().await;
        md.delete().await;
        let one = contents(&spdk, "int0", true).await;
        assert!(one == contents(&spdk, "int1", true).await);
        assert!(one.0.windows(data.len()).any(|window| window == data));
        for disk in disks {
            disk.unregister().await;
        }
    });
}

#[test]
fn bases_whose_metadata_differ_or_protect_are_refused() {
    SPDK.run(async |spdk| {
        let disks = [disk(&spdk, "ref0", false), disk(&spdk, "ref1", true)];
        let plain = BlockDeviceBuilder::new("ref2").blocks(Blocks(BLOCKS as u64));
        let plain = plain.register(
            &spdk,
            &DISKS,
            Disk {
                block: DATA,
                memory: Mutex::default(),
            },
        );
        let both = Raid1::builder("ref").base("ref0").base("ref2");
        let error = both.create(&spdk).await.unwrap_err();
        let source = LayoutError::Metadata {
            name: "ref2".into(),
            metadata_size: 0,
            interleaved: false,
            first: "ref0".into(),
        };
        let array = "ref".into();
        assert_eq!(error, CreateError::Layout { array, source });

        let md = Raid1::builder("ref").base("ref0").missing();
        let md = md.create(&spdk).await.unwrap();
        let error = md.add("ref2").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "base \"ref2\": its metadata in bytes is 0, and that of the array 8"
        );
        md.delete().await;

        let dif = builder("ref3", false).dif(Dif::new(DifType::Type1));
        let protected = dif.register(
            &spdk,
            &DISKS,
            Disk {
                block: DATA,
                memory: Mutex::default(),
            },
        );
        let both = Raid1::builder("ref").base("ref3").base("ref0");
        let error = both.create(&spdk).await.unwrap_err();
        let source = LayoutError::Dif {
            name: "ref3".into(),
        };
        let array = "ref".into();
        assert_eq!(error, CreateError::Layout { array, source });
        let rest = [plain.unwrap(), protected.unwrap()];
        for disk in disks.into_iter().chain(rest) {
            disk.unregister().await;
        }
    });
}
