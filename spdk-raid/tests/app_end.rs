//! The app ends while arrays are at work, and legs hold what they were given: it ends, and nothing hangs. An SPDK, and a
//! process, for each test.

#![forbid(unsafe_code)]

use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use spdk_bdevs::ramdisk::{self, Action, Fault, Ramdisk};
use spdk_raid::raid1::persist::{Persistence, Record, Recorded};
use spdk_raid::raid1::{self, Options, Raid1};
use spdk_safe::app::{Builder, yield_now};
use spdk_safe::prelude::*;

const BLOCKS: u64 = 1024;

const CHILD: &str = "SPDK_RAID_END";

/// No end of an app takes so long.
const HUNG: Duration = Duration::from_secs(60);

/// Runs `test` in a process of its own, which ends by itself.
fn in_process(name: &str, test: impl FnOnce()) {
    if std::env::var(CHILD).as_deref() == Ok(name) {
        return test();
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, name)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut child = Killed(child);
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < HUNG, "the app does not end");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(status.success(), "{status}");
}

/// It does not outlive the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn app() -> Builder {
    let app = App::builder("raid1-end")
        .no_huge()
        .no_pci()
        .share_cores()
        .memory(Mib(500))
        .pools(Pools::small())
        .log_level(LogLevel::Warn);
    raid1::with(ramdisk::with(app))
}

/// As for a user who presses Ctrl-C.
fn interrupt() {
    let pid = std::process::id().to_string();
    let status = Command::new("kill").args(["-INT", &pid]).status();
    assert!(status.unwrap().success());
}

/// I/O whose callers have not heard of its end.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// It is over, or nobody waits for it any more.
struct Counted;

impl Counted {
    fn begin() -> Self {
        UNDER_WAY.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn disk(spdk: &Spdk, name: &str) -> Ramdisk {
    let disk = Ramdisk::builder(name).blocks(Blocks(BLOCKS));
    disk.create(spdk).await.unwrap()
}

fn options() -> Options {
    let mut options = Options::default();
    options.window = Bytes(128 * 512);
    options.io_timeout = None;
    options
}

async fn write(ch: &IoChannel<ReadWrite>, lba: u64) -> Result<(), IoError> {
    ch.write(Lba(lba), ch.alloc(Blocks(8)).unwrap()).await.0
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < HUNG, "never {what}");
        yield_now().await;
    }
}

/// An array `md` with a third leg whose rebuild stands still; a write and a read that legs hold, and two writes that are
/// parked, one of them on another SPDK thread. All of it stays as it is.
async fn at_work(spdk: &Spdk) -> Raid1 {
    let disks = [disk(spdk, "d0").await, disk(spdk, "d1").await];
    let builder = Raid1::builder("md").base("d0").base("d1").missing();
    let md = builder.options(options()).create(spdk).await.unwrap();
    let hold = |io, lba| Fault::new(Action::Hold).io(io).range(Lba(lba), Blocks(1));
    disks[0].set_faults([hold(IoType::Read, 512)]);
    let target = disk(spdk, "d2").await;
    md.add("d2").await.unwrap();
    until("at the middle", || disks[0].held() == 1).await;

    let desc = BdevDesc::open(spdk, "md").read_write().unwrap();
    let ch = Rc::new(desc.channel().unwrap());
    let begin = |lba: u64, is_write: bool| {
        let (ch, counted) = (Rc::clone(&ch), Counted::begin());
        let task = spdk_safe::thread::spawn_local(async move {
            let _counted = counted;
            match is_write {
                true => drop(write(&ch, lba).await),
                false => drop(ch.read_blocks(Lba(lba), Blocks(1)).await),
            }
        });
        // It goes on by itself.
        drop(task.unwrap());
    };
    disks[0].set_faults([hold(IoType::Read, 900)]);
    disks[1].set_faults([hold(IoType::Write, 0)]);
    begin(900, false);
    begin(0, true);
    until("held", || disks[0].held() == 2 && disks[1].held() == 1).await;
    begin(512, true);
    until("parked", || md.info().counters.parked == 1).await;
    let thread = Thread::builder("other").spawner(spdk_exec::spdk::attach);
    let thread = thread.create(spdk).await.unwrap();
    let (shared, counted) = (desc.share(), Counted::begin());
    let task = thread.handle().try_spawn(move || async move {
        let _counted = counted;
        let ch = shared.channel().unwrap();
        drop(shared);
        let _ = write(&ch, 512).await;
    });
    drop(task.unwrap());
    until("parked there", || md.info().counters.parked == 2).await;
    assert_eq!(UNDER_WAY.load(Ordering::Relaxed), 4);
    // Nobody lets go of anything.
    std::mem::forget((desc, ch, thread, disks, target));
    md
}

#[test]
fn an_app_whose_main_returns_ends_with_held_io_and_a_rebuild() {
    in_process(
        "an_app_whose_main_returns_ends_with_held_io_and_a_rebuild",
        || {
            let md = app().run(async |spdk| at_work(&spdk).await).unwrap();
            assert_eq!(UNDER_WAY.load(Ordering::Relaxed), 0);
            // It is worth nothing any more, and does no harm.
            assert!(Raid1::find("md").is_none());
            assert_eq!(md.name(), "md");
        },
    );
}

#[test]
fn an_app_that_is_interrupted_ends_with_held_io_and_a_rebuild() {
    in_process(
        "an_app_that_is_interrupted_ends_with_held_io_and_a_rebuild",
        || {
            let ended = app().run(async |spdk| {
                at_work(&spdk).await;
                interrupt();
                std::future::pending::<()>().await;
            });
            assert!(matches!(ended, Err(AppError::Stopped)), "{ended:?}");
            assert_eq!(UNDER_WAY.load(Ordering::Relaxed), 0);
        },
    );
}

#[test]
fn an_app_ends_in_the_middle_of_a_deletion_that_held_io_holds_up() {
    in_process(
        "an_app_ends_in_the_middle_of_a_deletion_that_held_io_holds_up",
        || {
            app()
                .run(async |spdk| {
                    let md = at_work(&spdk).await;
                    assert!(md.clone().delete().now_or_never().is_none());
                    assert!(md.remove("d1").now_or_never().is_none());
                    for _ in 0..20 {
                        yield_now().await;
                    }
                    assert!(Raid1::find("md").is_some());
                })
                .unwrap();
            assert_eq!(UNDER_WAY.load(Ordering::Relaxed), 0);
        },
    );
}

/// Is asked, and never answers.
struct Silent(AtomicUsize);

impl Persistence for Silent {
    fn record<'a>(&'a self, _record: &'a Record) -> Recorded<'a> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::pending())
    }
}

#[test]
fn an_app_ends_though_nobody_says_that_a_fault_is_kept() {
    in_process(
        "an_app_ends_though_nobody_says_that_a_fault_is_kept",
        || {
            let silent = Arc::new(Silent(AtomicUsize::new(0)));
            let keeper = Arc::clone(&silent);
            app()
                .run(async move |spdk| {
                    let disks = [disk(&spdk, "k0").await, disk(&spdk, "k1").await];
                    let builder = Raid1::builder("kept").base("k0").base("k1");
                    let builder = builder.options(options()).persistence(keeper);
                    let md = builder.create(&spdk).await.unwrap();
                    disks[0].set_faults([Fault::new(Action::Fail).io(IoType::Write)]);
                    let desc = BdevDesc::open(&spdk, "kept").read_write().unwrap();
                    let ch = desc.channel().unwrap();
                    let counted = Counted::begin();
                    let task = spdk_safe::thread::spawn_local(async move {
                        let _counted = counted;
                        // It is not acknowledged: nobody knows that a leg is without it.
                        write(&ch, 0).await.unwrap_err();
                    });
                    drop(task.unwrap());
                    until("asked", || silent.0.load(Ordering::Relaxed) == 1).await;
                    std::mem::forget((desc, md, disks));
                })
                .unwrap();
            assert_eq!(UNDER_WAY.load(Ordering::Relaxed), 0);
        },
    );
}
