//! Metadata of requests, in a buffer of its own: looked at, handed on with the data, and cut with it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Mutex;

use spdk_safe::bdev::{Dif, DifType, SharedDesc};
use spdk_safe::module::{
    BdevModule, BlockDevice, BlockDeviceBuilder, Children, DataError, ReadRequest, RegisteredBdev,
    Request, RequestStatus, WriteRequest,
};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static MODULE: BdevModule = BdevModule::new(c"rust_metadata");
static SPDK: Harness = Harness::new(&[&MODULE]);

const BLOCK: usize = 512;
const MARK: usize = 8;
const BLOCKS: usize = 64;

/// Blocks in memory, each with 8 bytes of metadata.
#[derive(Default)]
struct Marked(Mutex<(Vec<u8>, Vec<u8>)>);

impl BlockDevice for Marked {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn submit(&self, _: &Rc<()>, request: Request) {
        let mut disk = self.0.lock().unwrap();
        let (data, marks) = &mut *disk;
        data.resize(BLOCKS * BLOCK, 0);
        marks.resize(BLOCKS * MARK, 0);
        let at = |lba: Lba, blocks: Blocks, size: usize| {
            let from = lba.0 as usize * size;
            from..from + blocks.0 as usize * size
        };
        let first = Bytes(0);
        match request {
            Request::Read(read) => {
                let (lba, blocks) = (read.lba(), read.blocks());
                if let Some(metadata) = read.metadata() {
                    assert_eq!(metadata.len(), Bytes(blocks.0 * MARK as u64));
                    let marks = &marks[at(lba, blocks, MARK)];
                    metadata.copy_from(first, marks).unwrap();
                    // That says nothing of the data.
                    let error = read.view().copy_to(first, &mut [0]);
                    assert_eq!(error, Err(DataError::NoContents));
                }
                let data = &data[at(lba, blocks, BLOCK)];
                read.view().copy_from(first, data).unwrap();
                read.complete(RequestStatus::Success);
            }
            Request::Write(write) => {
                let (lba, blocks) = (write.lba(), write.blocks());
                if let Some(metadata) = write.metadata() {
                    let marks = &mut marks[at(lba, blocks, MARK)];
                    metadata.copy_to(first, marks).unwrap();
                    let error = metadata.copy_from(first, &[1]);
                    assert_eq!(error, Err(DataError::Direction));
                }
                let data = &mut data[at(lba, blocks, BLOCK)];
                write.view().copy_to(first, data).unwrap();
                write.complete(RequestStatus::Success);
            }
            other => other.complete(RequestStatus::Failed),
        }
    }
}

type Leg = IoChannel<ReadWrite>;

struct Over<S> {
    base: SharedDesc<ReadWrite>,
    submit: S,
}

impl<S: Fn(&Leg, Request) + Send + Sync + 'static> BlockDevice for Over<S> {
    type Channel = Leg;

    fn create_channel(&self) -> Result<Leg, ChannelError> {
        self.base.channel()
    }

    fn submit(&self, leg: &Rc<Leg>, request: Request) {
        (self.submit)(leg, request);
    }
}

fn marked(spdk: &Spdk, name: &str) -> RegisteredBdev {
    BlockDeviceBuilder::new(name)
        .blocks(Blocks(BLOCKS as u64))
        .metadata(MARK as u32, false)
        .register(spdk, &MODULE, Marked::default())
        .unwrap()
}

fn over(
    spdk: &Spdk,
    name: &str,
    base: &str,
    submit: impl Fn(&Leg, Request) + Send + Sync + 'static,
) -> RegisteredBdev {
    let desc = BdevDesc::open(spdk, base).read_write().unwrap();
    let builder = BlockDeviceBuilder::new(name).like(desc.info());
    let base = desc.share();
    builder
        .register(spdk, &MODULE, Over { base, submit })
        .unwrap()
}

fn pass(leg: &Leg, request: Request) {
    request.forward(leg, |request, result| request.complete(result));
}

/// All well, or not.
struct All(RefCell<RequestStatus>);

impl All {
    fn new() -> Self {
        Self(RefCell::new(RequestStatus::Success))
    }

    fn see(&self, result: Result<(), IoError>) {
        if let Err(error) = result {
            self.0.replace(error.into());
        }
    }
}

impl Children<ReadRequest> for All {
    fn ended(&self, _: u8, result: Result<(), IoError>) {
        self.see(result);
    }
    fn all_ended(self, request: ReadRequest) {
        request.complete(self.0.into_inner());
    }
}

impl Children<WriteRequest> for All {
    fn ended(&self, _: u8, result: Result<(), IoError>) {
        self.see(result);
    }
    fn all_ended(self, request: WriteRequest) {
        request.complete(self.0.into_inner());
    }
}

/// One child for each block.
fn by_block(leg: &Leg, request: Request) {
    match request {
        Request::Read(read) => {
            let (lba, blocks) = (read.lba(), read.blocks().0);
            let children = read.children(All::new());
            for at in 0..blocks {
                let to = Lba(lba.0 + at);
                assert!(children.read_part(leg, to, Blocks(at), Blocks(1), at as u8));
            }
        }
        Request::Write(write) => {
            let (lba, blocks) = (write.lba(), write.blocks().0);
            let children = write.children(All::new());
            for at in 0..blocks {
                let to = Lba(lba.0 + at);
                assert!(children.write_part(leg, to, Blocks(at), Blocks(1), at as u8));
            }
        }
        other => other.complete(RequestStatus::Failed),
    }
}

/// Parts of the data, owned by I/O of the channel.
fn by_data(leg: &Leg, request: Request) {
    let both = |blocks: Blocks| {
        let half = Blocks(blocks.0 / 2);
        [(Blocks(0), half), (half, Blocks(blocks.0 - half.0))]
    };
    match request {
        Request::Read(read) => {
            for (from, blocks) in both(read.blocks()) {
                let part = read.data().slice(from, blocks).unwrap();
                let lba = read.lba().checked_add(from).unwrap();
                leg.read_then(lba, part.clone(), |result, _| result.unwrap())
                    .unwrap();
            }
            read.complete(RequestStatus::Success);
        }
        Request::Write(write) => {
            for (from, blocks) in both(write.blocks()) {
                let part = write.data().slice(from, blocks).unwrap();
                let lba = write.lba().checked_add(from).unwrap();
                leg.write_then(lba, part, |result, _| result.unwrap())
                    .unwrap();
            }
            write.complete(RequestStatus::Success);
        }
        other => other.complete(RequestStatus::Failed),
    }
}

/// Writes through `top`, and reads through both.
async fn check(spdk: &Spdk, top: &str, base: &str) {
    let desc = BdevDesc::open(spdk, top).read_write().unwrap();
    assert_eq!(desc.info().metadata_size, MARK as u32);
    assert!(!desc.info().metadata_interleaved);
    let below = BdevDesc::open(spdk, base).read_only().unwrap();
    let (ch, below_ch) = (desc.channel().unwrap(), below.channel().unwrap());
    let marks: Vec<u8> = (1..=4 * MARK as u8).collect();
    for pieces in [
        vec![vec![3_u8; 4 * BLOCK]],
        vec![vec![4_u8; 700], vec![4_u8; 4 * BLOCK - 700]],
    ] {
        let (result, data, marks) = ch.write_with_md(Lba(5), pieces, marks.clone()).await;
        result.unwrap();
        let data = data.concat();
        let into = vec![vec![0_u8; 100], vec![0_u8; 4 * BLOCK - 100]];
        let (result, read, found) = ch.read_with_md(Lba(5), into, vec![0; 4 * MARK]).await;
        result.unwrap();
        assert_eq!((read.concat(), &found), (data.clone(), &marks), "{top}");
        let into = vec![0_u8; 4 * BLOCK];
        let (result, read, found) = below_ch.read_with_md(Lba(5), into, vec![0; 4 * MARK]).await;
        result.unwrap();
        assert_eq!((read, found), (data.clone(), marks), "{top}");
        // Who does not ask for it gets the data alone.
        let (result, read) = ch.read(Lba(5), vec![0_u8; 4 * BLOCK]).await;
        result.unwrap();
        assert_eq!(read, data, "{top}");
    }
    drop((ch, below_ch));
    desc.close().await;
    below.close().await;
}

#[test]
fn metadata_goes_along_with_the_data_on_every_way_down() {
    SPDK.run(async |spdk| {
        let base = marked(&spdk, "marked");
        for (name, submit) in [
            ("md-pass", pass as fn(&Leg, Request)),
            ("md-block", by_block),
            ("md-data", by_data),
        ] {
            let top = over(&spdk, name, "marked", submit);
            check(&spdk, name, "marked").await;
            top.unregister().await;
        }
        base.unregister().await;
    });
}

#[test]
fn i3_metadata_for_a_base_without_is_an_error_unless_it_is_left_behind() {
    SPDK.run(async |spdk| {
        MallocBdev::builder("md-none")
            .blocks(BLOCKS as u64)
            .create(&spdk)
            .await
            .unwrap();
        let submit = |leg: &Leg, request: Request| match request {
            Request::Read(read) => {
                let refused =
                    leg.read_then(read.lba(), read.data(), |_, _| panic!("it was not started"));
                let error = refused.unwrap_err().0;
                assert!(matches!(error, IoError::Metadata { .. }), "{error}");
                let bare = read.data().without_metadata();
                leg.read_then(read.lba(), bare, |result, _| result.unwrap())
                    .unwrap();
                read.complete(RequestStatus::Success);
            }
            other => pass(leg, other),
        };
        let desc = BdevDesc::open(&spdk, "md-none").read_write().unwrap();
        let base = desc.share();
        let top = BlockDeviceBuilder::new("md-some")
            .blocks(Blocks(BLOCKS as u64))
            .metadata(MARK as u32, false)
            .register(&spdk, &MODULE, Over { base, submit })
            .unwrap();
        drop(desc);
        let desc = BdevDesc::open(&spdk, "md-some").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let write = ch.write_with_md(Lba(0), vec![7_u8; BLOCK], vec![1_u8; MARK]);
        assert!(matches!(write.await.0, Err(IoError::Failed { .. })));
        ch.write(Lba(0), vec![7_u8; BLOCK]).await.0.unwrap();
        let (result, data, _) = ch
            .read_with_md(Lba(0), vec![0_u8; BLOCK], vec![0_u8; MARK])
            .await;
        result.unwrap();
        assert_eq!(data, vec![7_u8; BLOCK]);
        drop((ch, desc));
        top.unregister().await;
        MallocBdev::delete(&spdk, "md-none").await.unwrap();
    });
}

#[test]
fn protection_is_what_was_said_and_what_the_base_has() {
    SPDK.run(async |spdk| {
        let mut dif = Dif::new(DifType::Type1);
        dif.checks_app_tag = false;
        let base = BlockDeviceBuilder::new("dif")
            .blocks(Blocks(BLOCKS as u64))
            .block_size(520)
            .metadata(8, true)
            .dif(dif)
            .register(&spdk, &MODULE, Marked::default())
            .unwrap();
        let top = over(&spdk, "dif-top", "dif", pass);
        for name in ["dif", "dif-top"] {
            let desc = BdevDesc::open(&spdk, name).read_only().unwrap();
            let info = desc.info();
            assert_eq!(info.dif, Some(dif), "{name}");
            assert_eq!((info.block_size, info.data_block_size), (520, 512));
            desc.close().await;
        }
        let small = BlockDeviceBuilder::new("dif-small")
            .blocks(Blocks(8))
            .metadata(4, false)
            .dif(dif)
            .register(&spdk, &MODULE, Marked::default());
        assert!(matches!(small, Err(BdevError::Geometry { .. })));
        let mut wide = dif;
        wide.guard_bits = 64;
        let wide = BlockDeviceBuilder::new("dif-wide")
            .blocks(Blocks(8))
            .metadata(16, false)
            .dif(wide)
            .register(&spdk, &MODULE, Marked::default());
        match wide {
            Ok(bdev) => bdev.unregister().await,
            Err(error) => {
                assert!(matches!(error, BdevError::NeedsVersion { .. }), "{error}");
                println!("{error}");
            }
        }
        top.unregister().await;
        base.unregister().await;
    });
}
