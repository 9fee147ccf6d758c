//! The pass-through: I/O of all types, bases that come, go and are taken, deletion.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::join_all;
use spdk_bdevs::passthru::{Creation, MODULE, Passthru, Status};
use spdk_bdevs::ramdisk::{self, Action, Fault as DiskFault, Ramdisk};
use spdk_safe::app::yield_now;
use spdk_safe::bdev::{self, BdevEvent, BdevInfo, ErrorBdev, Fault, Injection, NullBdev, Uuid};
use spdk_safe::error::IoCause;
use spdk_safe::module::{BdevModule, Examine};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;
use spdk_safe::thread;

/// Claims what the pass-through would.
static OTHER: BdevModule = BdevModule::new(c"other").examine(&Taker);
static SPDK: Harness = Harness::new(&[&MODULE, &OTHER, &ramdisk::MODULE]).auto_examine();

/// Takes what is called `taken`, before the pass-through is shown it: it was registered later (contract M-02).
struct Taker;

thread_local!(static TAKEN: RefCell<Option<BdevDesc<ReadWrite, Claimed>>> = const { RefCell::new(None) });

impl Examine for Taker {
    fn examine_config(&self, spdk: &Spdk, bdev: &BdevInfo) {
        if bdev.name == "taken" {
            let desc = BdevDesc::open(spdk, &bdev.name).read_write().unwrap();
            TAKEN.set(Some(desc.claim(&OTHER).unwrap()));
        }
    }
}

async fn malloc(spdk: &Spdk, name: &str) {
    let disk = MallocBdev::builder(name).blocks(64);
    disk.create(spdk).await.unwrap();
}

async fn create(spdk: &Spdk, name: &str, base: &str) {
    let created = Passthru::builder(name, base).create(spdk).await;
    assert_eq!(created, Ok(Creation::Registered));
}

fn status(name: &str) -> Option<Status> {
    let all = Passthru::list();
    all.into_iter()
        .find(|pt| pt.name == name)
        .map(|pt| pt.status)
}

fn open(spdk: &Spdk, name: &str) -> (BdevDesc<ReadWrite>, IoChannel<ReadWrite>) {
    let desc = BdevDesc::open(spdk, name).read_write().unwrap();
    let ch = desc.channel().unwrap();
    (desc, ch)
}

fn block(desc: &BdevDesc<ReadWrite>, byte: u8) -> DmaBuf {
    let mut buf = desc.alloc(Blocks(1)).unwrap();
    buf.fill(byte);
    buf
}

/// Waits until `is_so`: the harness ends a test that hangs.
async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        yield_now().await;
    }
}

#[test]
fn io_of_every_type_does_below_what_it_does_above() {
    SPDK.run(async |spdk| {
        malloc(&spdk, "all").await;
        create(&spdk, "all-pt", "all").await;
        let (desc, ch) = open(&spdk, "all-pt");
        let base = BdevDesc::open(&spdk, "all").read_only().unwrap();
        let base_ch = base.channel().unwrap();
        let below = async |lba| base_ch.read_blocks(Lba(lba), Blocks(1)).await.unwrap()[511];

        ch.write(Lba(3), block(&desc, 7)).await.0.unwrap();
        assert_eq!(below(3).await, 7);
        assert_eq!(ch.read_blocks(Lba(3), Blocks(1)).await.unwrap()[0], 7);
        // In pieces that are not whole blocks.
        let (result, pieces) = ch.read(Lba(3), vec![vec![0_u8; 100], vec![0; 412]]).await;
        result.unwrap();
        assert_eq!(pieces.concat(), [7; 512]);
        ch.compare(Lba(3), block(&desc, 7)).await.0.unwrap();
        let error = ch.compare(Lba(3), block(&desc, 8)).await.0.unwrap_err();
        assert!(error.is_miscompare(), "{error}");
        let caw = ch.compare_and_write(Lba(3), block(&desc, 7), block(&desc, 9));
        match caw.await.0 {
            Err(error @ IoError::Unsupported { .. }) => println!("left out: {error}"),
            result => {
                result.unwrap();
                assert_eq!(below(3).await, 9);
                let caw = ch.compare_and_write(Lba(3), block(&desc, 7), block(&desc, 1));
                assert!(caw.await.0.unwrap_err().is_miscompare());
                assert_eq!(below(3).await, 9);
            }
        }
        ch.write(Lba(3), block(&desc, 9)).await.0.unwrap();
        match ch.copy(Lba(10), Lba(3), Blocks(1)).await {
            Err(error @ IoError::NeedsVersion { .. }) => println!("left out: {error}"),
            result => {
                result.unwrap();
                assert_eq!(below(10).await, 9);
            }
        }
        match ch.zcopy(Lba(3), Blocks(1)).await {
            Err(error @ IoError::Unsupported { .. }) => println!("left out: {error}"),
            zcopy => {
                let mut zcopy = zcopy.unwrap();
                let mut bytes = [0; 512];
                zcopy.copy_out(0, &mut bytes).unwrap();
                assert_eq!(bytes, [9; 512]);
                zcopy.copy_in(0, &[11; 512]).unwrap();
                zcopy.commit().await.unwrap();
                assert_eq!(below(3).await, 11);
            }
        }
        ch.unmap(Lba(3), Blocks(1)).await.unwrap();
        assert_eq!(below(3).await, 0);
        ch.write(Lba(4), block(&desc, 1)).await.0.unwrap();
        ch.write_zeroes(Lba(4), Blocks(1)).await.unwrap();
        assert_eq!(below(4).await, 0);
        ch.flush(Lba(0), Blocks(64)).await.unwrap();
        ch.reset().await.unwrap();

        drop((ch, desc, base_ch));
        base.close().await;
        Passthru::delete(&spdk, "all-pt").await.unwrap();
        MallocBdev::delete(&spdk, "all").await.unwrap();
    });
}

#[test]
fn metadata_in_a_buffer_of_its_own_goes_along() {
    SPDK.run(async |spdk| {
        let disk = MallocBdev::builder("marked").blocks(64);
        match disk.separate_metadata(8).create(&spdk).await {
            Err(error @ BdevError::NeedsVersion { .. }) => return println!("left out: {error}"),
            created => created.unwrap(),
        }
        create(&spdk, "marked-pt", "marked").await;
        create(&spdk, "marked-pt2", "marked-pt").await;
        let (desc, ch) = open(&spdk, "marked-pt2");
        assert_eq!(desc.info().metadata_size, 8);
        assert!(!desc.info().metadata_interleaved);
        let base = BdevDesc::open(&spdk, "marked").read_only().unwrap();
        let base_ch = base.channel().unwrap();
        let marks: Vec<u8> = (1..=16).collect();
        let pieces = vec![vec![7_u8; 700], vec![7_u8; 324]];
        let (result, _, marks) = ch.write_with_md(Lba(3), pieces, marks).await;
        result.unwrap();
        for (result, data, found) in [
            ch.read_with_md(Lba(3), vec![0_u8; 1024], vec![0; 16]).await,
            base_ch
                .read_with_md(Lba(3), vec![0_u8; 1024], vec![0; 16])
                .await,
        ] {
            result.unwrap();
            assert_eq!((data, &found), (vec![7; 1024], &marks));
        }
        // Who does not ask for it gets the data alone, and leaves it as it is.
        ch.write(Lba(4), block(&desc, 8)).await.0.unwrap();
        assert_eq!(ch.read_blocks(Lba(4), Blocks(1)).await.unwrap()[0], 8);
        let (result, _, found) = ch.read_with_md(Lba(3), vec![0_u8; 1024], vec![0; 16]).await;
        result.unwrap();
        assert_eq!(found, marks);
        let mut wrong = marks.clone();
        wrong[3] ^= 1;
        let both = [vec![7_u8; 512], vec![8; 512]].concat();
        ch.compare_with_md(Lba(3), both.clone(), marks)
            .await
            .0
            .unwrap();
        let error = ch.compare_with_md(Lba(3), both, wrong).await.0.unwrap_err();
        assert!(error.is_miscompare(), "{error}");
        drop((ch, desc, base_ch));
        base.close().await;
        Passthru::delete(&spdk, "marked-pt2").await.unwrap();
        Passthru::delete(&spdk, "marked-pt").await.unwrap();
        MallocBdev::delete(&spdk, "marked").await.unwrap();
    });
}

#[test]
fn an_abort_reaches_what_its_victim_is_below() {
    SPDK.run(async |spdk| {
        let disk = Ramdisk::builder("abort").blocks(Blocks(64));
        let disk = disk.create(&spdk).await.unwrap();
        create(&spdk, "abort-pt", "abort").await;
        create(&spdk, "abort-pt2", "abort-pt").await;
        let (desc, ch) = open(&spdk, "abort-pt2");
        assert!(ch.supports(IoType::Abort));
        disk.set_faults([DiskFault::new(Action::Hold).io(IoType::Write).always()]);
        let batch = ch.batch();
        let mut kept = std::pin::pin!(ch.write(Lba(0), block(&desc, 1)));
        assert!(futures::poll!(&mut kept).is_pending());
        let gone = ch.write(Lba(1), block(&desc, 2)).in_batch(&batch);
        let ended = async {
            until(|| disk.held() == 2).await;
            let aborts = batch.abort().await.unwrap();
            assert_eq!((aborts.aborted, aborts.not_aborted), (1, 0));
        };
        let (gone, ()) = futures::join!(gone, ended);
        let error = gone.0.unwrap_err();
        assert!(error.is_aborted(), "{error}");
        // The other one is still there.
        assert_eq!(disk.held(), 1);
        assert!(futures::poll!(&mut kept).is_pending());
        disk.set_faults([]);
        disk.let_go();
        assert!(kept.await.0.unwrap_err().is_aborted());
        // One that has ended can't be.
        let (result, _) = ch.write(Lba(1), block(&desc, 3)).in_batch(&batch).await;
        result.unwrap();
        assert_eq!(batch.abort().await.unwrap().aborted, 0);
        drop((batch, ch, desc));
        Passthru::delete(&spdk, "abort-pt2").await.unwrap();
        Passthru::delete(&spdk, "abort-pt").await.unwrap();
        disk.delete().await.unwrap();
    });
}

#[test]
fn it_is_like_its_base_and_claims_it() {
    SPDK.run(async |spdk| {
        let disk = MallocBdev::builder("like").blocks(64).block_size(4096);
        match disk.clone().optimal_io_boundary(8).create(&spdk).await {
            Err(error @ BdevError::NeedsVersion { .. }) => {
                println!("left out: {error}");
                disk.create(&spdk).await.unwrap();
            }
            created => created.unwrap(),
        }
        create(&spdk, "like-pt", "like").await;
        let base = bdev::find(&spdk, "like").unwrap().unwrap();
        let pt = bdev::find(&spdk, "like-pt").unwrap().unwrap();
        assert_eq!((pt.num_blocks, pt.block_size), (Blocks(64), 4096));
        assert_eq!(pt.align, base.align);
        assert_eq!(pt.optimal_io_boundary, base.optimal_io_boundary);
        assert_eq!(pt.physical_block_size, base.physical_block_size);
        assert_eq!(pt.write_cache, base.write_cache);
        assert_eq!(pt.module, "rust_passthru");
        assert_eq!(base.claim.unwrap().by, "rust_passthru");
        // D6, and a second one over the same base.
        let refused = BdevDesc::open(&spdk, "like").read_write();
        assert!(matches!(refused, Err(OpenError::Claimed { .. })));
        let refused = Passthru::builder("like-pt2", "like").create(&spdk).await;
        assert!(
            matches!(refused, Err(BdevError::BaseClaimed { .. })),
            "{refused:?}"
        );
        assert_eq!(status("like-pt2"), None, "nothing is left");
        Passthru::delete(&spdk, "like-pt").await.unwrap();
        let free = bdev::find(&spdk, "like").unwrap().unwrap();
        assert_eq!(free.claim, None);
        // It keeps its UUID; another one does not get it.
        let uuid = Uuid::from_bytes([7; 16]);
        let pt = Passthru::builder("like-pt", "like").uuid(uuid);
        pt.create(&spdk).await.unwrap();
        assert_eq!(bdev::find(&spdk, "like-pt").unwrap().unwrap().uuid, uuid);
        Passthru::delete(&spdk, "like-pt").await.unwrap();
        MallocBdev::delete(&spdk, "like").await.unwrap();
    });
}

#[test]
fn it_grows_with_its_base() {
    SPDK.run(async |spdk| {
        let disk = NullBdev::builder("grows").blocks(2048);
        disk.create(&spdk).await.unwrap();
        create(&spdk, "grows-pt", "grows").await;
        create(&spdk, "grows-pt2", "grows-pt").await;
        let (desc, ch) = open(&spdk, "grows-pt2");
        let mut events = desc.events();
        let past = ch.write(Lba(5000), block(&desc, 1)).await.0;
        assert!(past.is_err());
        NullBdev::resize(&spdk, "grows", 8192).unwrap();
        let num_blocks = Blocks(8192);
        assert_eq!(events.next().await, Some(BdevEvent::Resized { num_blocks }));
        assert_eq!(desc.num_blocks(), num_blocks);
        ch.write(Lba(5000), block(&desc, 1)).await.0.unwrap();
        drop((ch, desc));
        Passthru::delete(&spdk, "grows-pt2").await.unwrap();
        Passthru::delete(&spdk, "grows-pt").await.unwrap();
        NullBdev::delete(&spdk, "grows").await.unwrap();
    });
}

#[test]
fn what_the_base_says_of_an_io_goes_up() {
    SPDK.run(async |spdk| {
        malloc(&spdk, "says").await;
        let faulty = ErrorBdev::on("says").create(&spdk).await.unwrap();
        create(&spdk, "says-pt", &faulty).await;
        let (desc, ch) = open(&spdk, "says-pt");
        let once = Injection::new(Fault::Fail)
            .into_type(IoType::Write)
            .count(1);
        ErrorBdev::inject(&spdk, &faulty, once).unwrap();
        let error = ch.write(Lba(0), block(&desc, 1)).await.0.unwrap_err();
        let IoError::Failed { status, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(status.cause, IoCause::Failed);
        ch.write(Lba(0), block(&desc, 1)).await.0.unwrap();
        drop((ch, desc));
        Passthru::delete(&spdk, "says-pt").await.unwrap();
        ErrorBdev::delete(&spdk, &faulty).await.unwrap();
        MallocBdev::delete(&spdk, "says").await.unwrap();
    });
}

#[test]
fn r2_names_and_deletions_that_cant_be_are_errors() {
    SPDK.run(async |spdk| {
        malloc(&spdk, "r2").await;
        let not_found = Passthru::delete(&spdk, "r2-pt").await;
        assert!(matches!(not_found, Err(BdevError::NotFound { .. })));
        let not_ours = Passthru::delete(&spdk, "r2").await;
        assert!(matches!(not_ours, Err(BdevError::NotFound { .. })));
        for (name, base) in [("", "r2"), ("a\0b", "r2"), (&*"n".repeat(300), "r2")] {
            let refused = Passthru::builder(name, base).create(&spdk).await;
            assert!(
                matches!(refused, Err(BdevError::Name { .. })),
                "{refused:?}"
            );
        }
        let refused = Passthru::builder("r2-pt", "r2-pt").create(&spdk).await;
        assert!(
            matches!(refused, Err(BdevError::NoBase { .. })),
            "{refused:?}"
        );
        create(&spdk, "r2-pt", "r2").await;
        for name in ["r2", "r2-pt"] {
            let refused = Passthru::builder(name, "elsewhere").create(&spdk).await;
            assert!(
                matches!(refused, Err(BdevError::Exists { .. })),
                "{refused:?}"
            );
        }

        // In use, by a channel whose thread is ours: the deletion goes on when nobody waits for it, and no second one.
        let (desc, ch) = open(&spdk, "r2-pt");
        let write = ch.write(Lba(0), block(&desc, 1));
        let mut first = Box::pin(Passthru::delete(&spdk, "r2-pt"));
        assert!(futures::poll!(&mut first).is_pending());
        drop(first);
        let second = Passthru::delete(&spdk, "r2-pt").await;
        assert!(
            matches!(second, Err(BdevError::Deleting { .. })),
            "{second:?}"
        );
        let refused = Passthru::builder("r2-pt", "r2").create(&spdk).await;
        assert!(
            matches!(
                refused,
                Err(BdevError::Deleting { .. } | BdevError::Exists { .. })
            ),
            "{refused:?}"
        );
        write.await.0.unwrap();
        drop((ch, desc));
        until(|| status("r2-pt").is_none()).await;
        assert_eq!(bdev::find(&spdk, "r2-pt").unwrap(), None);
        MallocBdev::delete(&spdk, "r2").await.unwrap();
    });
}

#[test]
fn one_whose_base_is_not_there_comes_with_it() {
    SPDK.run(async |spdk| {
        // Two, one on the other, in the wrong order: as a saved configuration may have them.
        for (name, base) in [
            ("late-pt2", "late-pt"),
            ("late-pt", "late"),
            ("never", "nowhere"),
        ] {
            let created = Passthru::builder(name, base).create(&spdk).await;
            assert_eq!(created, Ok(Creation::AwaitsBase));
        }
        assert_eq!(bdev::find(&spdk, "late-pt").unwrap(), None);
        assert_eq!(
            status("late-pt"),
            Some(Status::AwaitsBase { last_error: None })
        );
        malloc(&spdk, "late").await;
        until(|| status("late-pt2") == Some(Status::Registered)).await;
        let (desc, ch) = open(&spdk, "late-pt2");
        ch.write(Lba(1), block(&desc, 5)).await.0.unwrap();
        drop((ch, desc));
        // One that is taken when it is asked for is an error at once.
        let desc = BdevDesc::open(&spdk, "late-pt2").read_write().unwrap();
        let claimed = desc.claim(&OTHER).unwrap();
        let refused = Passthru::builder("late-pt3", "late-pt2")
            .create(&spdk)
            .await;
        assert!(
            matches!(refused, Err(BdevError::BaseClaimed { .. })),
            "{refused:?}"
        );
        claimed.close().await;

        Passthru::delete(&spdk, "never").await.unwrap();
        assert_eq!(status("never"), None);
        MallocBdev::delete(&spdk, "late").await.unwrap();
        until(|| status("late-pt2") == Some(Status::AwaitsBase { last_error: None })).await;
        until(|| status("late-pt") == Some(Status::AwaitsBase { last_error: None })).await;
        // It comes again.
        malloc(&spdk, "late").await;
        until(|| status("late-pt2") == Some(Status::Registered)).await;
        Passthru::delete(&spdk, "late-pt2").await.unwrap();
        Passthru::delete(&spdk, "late-pt").await.unwrap();
        MallocBdev::delete(&spdk, "late").await.unwrap();
    });
}

#[test]
fn one_whose_base_is_taken_when_it_comes_waits_on_and_says_why() {
    SPDK.run(async |spdk| {
        let created = Passthru::builder("taken-pt", "taken").create(&spdk).await;
        assert_eq!(created, Ok(Creation::AwaitsBase));
        malloc(&spdk, "taken").await;
        let Some(Status::AwaitsBase {
            last_error: Some(BdevError::BaseClaimed { by, .. }),
        }) = status("taken-pt")
        else {
            panic!("{:?}", status("taken-pt"));
        };
        assert_eq!(by, "other");
        assert_eq!(bdev::find(&spdk, "taken-pt").unwrap(), None);
        TAKEN.take().unwrap().close().await;
        Passthru::delete(&spdk, "taken-pt").await.unwrap();
        MallocBdev::delete(&spdk, "taken").await.unwrap();
    });
}

/// Writes until an I/O fails, and counts those that were well.
async fn load(desc: SharedDesc<ReadWrite>, well: Arc<AtomicU64>) {
    let ch = desc.channel().unwrap();
    drop(desc);
    let slots = (0..16).map(async |slot| {
        let mut buf = ch.alloc(Blocks(1)).unwrap();
        for turn in 0.. {
            let (result, back) = ch.write(Lba((slot + turn) % 64), buf).await;
            if result.is_err() {
                return;
            }
            well.fetch_add(1, Ordering::Relaxed);
            buf = back;
        }
    });
    join_all(slots).await;
}

/// A load on the app thread and on another one, under which `change` happens.
async fn under_load(spdk: &Spdk, name: &str, change: impl AsyncFnOnce()) {
    let desc = BdevDesc::open(spdk, name).read_write().unwrap();
    let other = Thread::builder(format!("{name}-load")).create(spdk);
    let other = other.await.unwrap();
    let (well_here, well_there) = (Arc::default(), Arc::<AtomicU64>::default());
    let (shared, well) = (desc.share(), Arc::clone(&well_there));
    let there = other.handle().spawn(move || load(shared, well));
    let there = there.await.unwrap();
    let here = thread::spawn_local(load(desc.share(), Arc::clone(&well_here))).unwrap();
    until(|| {
        [&well_here, &well_there]
            .iter()
            .all(|well| well.load(Ordering::Relaxed) > 100)
    })
    .await;
    change().await;
    here.await.unwrap();
    there.await.unwrap();
    other.exit().await;
    desc.close().await;
}

#[test]
fn d8_a_base_that_is_removed_under_load_takes_it_along_and_back() {
    SPDK.run(async |spdk| {
        malloc(&spdk, "hot").await;
        create(&spdk, "hot-pt", "hot").await;
        under_load(&spdk, "hot-pt", async || {
            MallocBdev::delete(&spdk, "hot").await.unwrap();
        })
        .await;
        until(|| status("hot-pt") == Some(Status::AwaitsBase { last_error: None })).await;
        assert_eq!(bdev::find(&spdk, "hot-pt").unwrap(), None);
        malloc(&spdk, "hot").await;
        until(|| status("hot-pt") == Some(Status::Registered)).await;
        let (desc, ch) = open(&spdk, "hot-pt");
        ch.write(Lba(0), block(&desc, 1)).await.0.unwrap();
        drop((ch, desc));
        Passthru::delete(&spdk, "hot-pt").await.unwrap();
        MallocBdev::delete(&spdk, "hot").await.unwrap();
    });
}

#[test]
fn m9_it_is_deleted_under_load() {
    SPDK.run(async |spdk| {
        malloc(&spdk, "del").await;
        create(&spdk, "del-pt", "del").await;
        under_load(&spdk, "del-pt", async || {
            Passthru::delete(&spdk, "del-pt").await.unwrap();
        })
        .await;
        assert_eq!(status("del-pt"), None);
        // The base is free at once.
        create(&spdk, "del-pt", "del").await;
        Passthru::delete(&spdk, "del-pt").await.unwrap();
        MallocBdev::delete(&spdk, "del").await.unwrap();
    });
}

#[test]
fn deleted_while_its_base_goes_it_does_not_come_again() {
    SPDK.run(async |spdk| {
        malloc(&spdk, "both").await;
        create(&spdk, "both-pt", "both").await;
        let deletions = futures::future::join(
            MallocBdev::delete(&spdk, "both"),
            Passthru::delete(&spdk, "both-pt"),
        );
        let (base, pt) = deletions.await;
        base.unwrap();
        pt.unwrap();
        assert_eq!(status("both-pt"), None);
        malloc(&spdk, "both").await;
        assert_eq!(bdev::find(&spdk, "both-pt").unwrap(), None);
        MallocBdev::delete(&spdk, "both").await.unwrap();
    });
}

#[test]
fn a_ramdisk_below_runs_out_of_memory_fails_and_is_removed() {
    SPDK.run(async |spdk| {
        let disk = Ramdisk::builder("ram").blocks(Blocks(64));
        let disk = disk.create(&spdk).await.unwrap();
        create(&spdk, "ram-pt", "ram").await;
        let (desc, ch) = open(&spdk, "ram-pt");
        // I7: waited out, all of them.
        disk.set_faults([DiskFault::new(Action::NoMemory).io(IoType::Write).times(10)]);
        let writes = (0..32).map(|lba| ch.write(Lba(lba), block(&desc, lba as u8)));
        for (result, _) in join_all(writes).await {
            result.unwrap();
        }
        assert_eq!(disk.injected(), 10);
        for lba in 0..32 {
            let read = ch.read_blocks(Lba(lba), Blocks(1)).await.unwrap();
            assert_eq!(read[..], [lba as u8; 512]);
        }
        disk.set_faults([DiskFault::new(Action::Fail)
            .io(IoType::Read)
            .range(Lba(7), Blocks(1))]);
        assert!(ch.read_blocks(Lba(7), Blocks(1)).await.is_err());
        ch.read_blocks(Lba(7), Blocks(1)).await.unwrap();
        drop((ch, desc));
        under_load(&spdk, "ram-pt", async || disk.delete().await.unwrap()).await;
        until(|| status("ram-pt") == Some(Status::AwaitsBase { last_error: None })).await;
        Passthru::delete(&spdk, "ram-pt").await.unwrap();
    });
}
