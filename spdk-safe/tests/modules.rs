//! What a bdev module does when SPDK starts, shows it bdevs, saves its configuration, and ends. DPDK initialises once per
//! process, so each test runs in a process of its own.

use std::future::{Future, pending};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use spdk_safe::app::{Builder, at_exit, yield_now};
use spdk_safe::bdev::{self, BdevInfo};
use spdk_safe::module::{
    BdevModule, BlockDevice, BlockDeviceBuilder, ConfigEntry, Examine, Module, ModuleResult,
    RegisteredBdev, Request, RequestStatus,
};
use spdk_safe::prelude::*;
use spdk_safe::thread;

/// Says which test a child process is to run.
const CHILD: &str = "SPDK_SAFE_TEST_CHILD";

/// Runs `test` in a process of its own; that process's output becomes ours, and its failure. What it said.
fn in_process(name: &str, test: impl FnOnce()) -> String {
    if std::env::var(CHILD).as_deref() == Ok(name) {
        test();
        return String::new();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, name)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{said}", output.status);
    assert!(said.contains("1 passed"), "the child ran no test:\n{said}");
    said.into_owned()
}

fn app() -> Builder {
    App::builder("modules-test")
        .no_huge()
        .no_pci()
        .share_cores()
        .memory(Mib(400))
        .pools(Pools::small())
        .log_level(LogLevel::Warn)
}

/// What happened, in order.
static EVENTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn happens(what: impl Into<String>) {
    EVENTS.lock().unwrap().push(what.into());
}

fn events() -> Vec<String> {
    EVENTS.lock().unwrap().clone()
}

/// A disk that does nothing, well.
struct Nothing;

impl BlockDevice for Nothing {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn submit(&self, _channel: &Rc<()>, request: Request) {
        request.complete(RequestStatus::Success);
    }
}

fn nothing(spdk: &Spdk, module: &'static BdevModule, name: &str) -> RegisteredBdev {
    BlockDeviceBuilder::new(name)
        .blocks(Blocks(64))
        .register(spdk, module, Nothing)
        .unwrap()
}

/// Two turns of the reactor and a message from another OS thread: no future that is done at once.
async fn a_while() {
    yield_now().await;
    let (send, receive) = futures::channel::oneshot::channel();
    std::thread::spawn(move || send.send(()));
    receive.await.unwrap();
    yield_now().await;
}

/// Tells of everything, and awaits everywhere. Its bdev lives from its init to the end.
struct Teller(&'static str);

static TELLER: BdevModule = BdevModule::new(c"teller").with(&Teller("teller"));
static SECOND: BdevModule = BdevModule::new(c"second").with(&Teller("second"));

impl Module for Teller {
    async fn init(&self, spdk: &Spdk) -> ModuleResult {
        a_while().await;
        let module = match self.0 {
            "teller" => &TELLER,
            "second" => &SECOND,
            _ => &LATE,
        };
        let bdev = nothing(spdk, module, &format!("{}0", self.0));
        // Leaked on purpose: the app unregisters it.
        std::mem::forget(bdev);
        happens(format!("{} is up", self.0));
        Ok(())
    }

    async fn fini_start(&self) {
        a_while().await;
        happens(format!("{} stops", self.0));
    }

    async fn fini(&self) {
        let (send, receive) = futures::channel::oneshot::channel();
        std::thread::spawn(move || send.send(()));
        receive.await.unwrap();
        happens(format!("{} is down", self.0));
    }
}

#[test]
fn a_module_is_initialised_before_main_and_finished_after_it() {
    in_process(
        "a_module_is_initialised_before_main_and_finished_after_it",
        || {
            app()
                .module(&TELLER)
                .module(&SECOND)
                .run(async |spdk| {
                    happens("main");
                    for name in ["teller0", "second0"] {
                        let desc = BdevDesc::open(&spdk, name).read_write().unwrap();
                        let ch = desc.channel().unwrap();
                        let buf = desc.alloc(Blocks(1)).unwrap();
                        ch.write(Lba(0), buf).await.0.unwrap();
                    }
                    at_exit(|| happens("exit hook")).unwrap();
                })
                .unwrap();
            let events = events();
            let ups = ["teller is up".to_owned(), "second is up".to_owned()];
            assert!(
                events[..2].iter().all(|event| ups.contains(event)),
                "{events:?}"
            );
            assert_eq!(
                events[2..],
                [
                    "main",
                    "second stops",
                    "teller stops",
                    "exit hook",
                    "second is down",
                    "teller is down"
                ],
                "finish runs backwards (M-04)"
            );
        },
    );
}

#[test]
fn an_own_loop_starts_and_ends_modules_too() {
    in_process("an_own_loop_starts_and_ends_modules_too", || {
        let mut spdk = app().module(&TELLER).own_loop().unwrap();
        let context = spdk.spdk();
        spdk.block_on(async {
            assert!(bdev::find(&context, "teller0").unwrap().is_some());
        });
        spdk.shutdown().unwrap();
        assert_eq!(events(), ["teller is up", "teller stops", "teller is down"]);
    });
}

/// What an init does wrong.
struct Failing<F>(F);

impl<F, R> Module for Failing<F>
where
    F: Fn(Spdk) -> R + Sync + 'static,
    R: Future<Output = ModuleResult>,
{
    async fn init(&self, spdk: &Spdk) -> ModuleResult {
        (self.0)(spdk.clone()).await
    }
}

type InitFn = fn(Spdk) -> std::pin::Pin<Box<dyn Future<Output = ModuleResult>>>;

static FAILS_AT_ONCE: Failing<InitFn> = Failing(|_| Box::pin(async { Err("no disk".into()) }));
static FAILS_LATER: Failing<InitFn> = Failing(|_| {
    Box::pin(async {
        a_while().await;
        Err("no disk".into())
    })
});
static PANICS_AT_ONCE: Failing<InitFn> = Failing(|_| Box::pin(async { panic!("no disk") }));
static PANICS_LATER: Failing<InitFn> = Failing(|_| {
    Box::pin(async {
        a_while().await;
        panic!("no disk")
    })
});
static LEAKS: Failing<InitFn> = Failing(|spdk| {
    Box::pin(async move {
        std::mem::forget(nothing(&spdk, &BAD_LEAKS, "leaked"));
        let desc = BdevDesc::open(&spdk, "leaked").read_write()?;
        std::mem::forget(desc);
        Err("no disk".into())
    })
});
static BAD_NOW: BdevModule = BdevModule::new(c"bad").with(&FAILS_AT_ONCE);
static BAD_LATER: BdevModule = BdevModule::new(c"bad").with(&FAILS_LATER);
static BAD_PANIC: BdevModule = BdevModule::new(c"bad").with(&PANICS_AT_ONCE);
static BAD_PANIC_LATER: BdevModule = BdevModule::new(c"bad").with(&PANICS_LATER);
static BAD_LEAKS: BdevModule = BdevModule::new(c"bad").with(&LEAKS);

/// The app says that the module `bad` failed, and why, and main does not run.
fn does_not_start(builder: Builder) {
    let error = builder
        .run(async |_| -> () { panic!("main ran") })
        .unwrap_err();
    assert!(
        matches!(error, AppError::Module { module: "bad", .. }),
        "{error:?}"
    );
    let said = error.to_string();
    assert!(
        said.contains("\"bad\"") && said.contains("no disk"),
        "{said}"
    );
}

#[test]
fn an_init_that_fails_at_once_ends_the_start_with_the_modules_name() {
    in_process(
        "an_init_that_fails_at_once_ends_the_start_with_the_modules_name",
        || does_not_start(app().module(&BAD_NOW)),
    );
}

#[test]
fn an_init_that_fails_later_ends_the_start_with_the_modules_name() {
    in_process(
        "an_init_that_fails_later_ends_the_start_with_the_modules_name",
        || {
            does_not_start(app().module(&PROMPT).module(&BAD_LATER));
            assert_eq!(events(), ["prompt is up", "prompt stops", "prompt is down"]);
        },
    );
}

#[test]
fn t13_an_init_that_panics_ends_the_start_with_the_modules_name() {
    in_process(
        "t13_an_init_that_panics_ends_the_start_with_the_modules_name",
        || {
            does_not_start(app().module(&BAD_PANIC));
            assert_eq!(spdk_safe::contained_panics(), 1);
        },
    );
}

#[test]
fn t13_an_init_that_panics_later_ends_the_start_with_the_modules_name() {
    in_process(
        "t13_an_init_that_panics_later_ends_the_start_with_the_modules_name",
        || does_not_start(app().module(&BAD_PANIC_LATER)),
    );
}

#[test]
fn what_a_failed_init_forgot_does_not_keep_spdk_from_ending() {
    in_process(
        "what_a_failed_init_forgot_does_not_keep_spdk_from_ending",
        || does_not_start(app().module(&BAD_LEAKS)),
    );
}

#[test]
fn modules_that_are_up_end_in_order_when_another_one_fails() {
    in_process(
        "modules_that_are_up_end_in_order_when_another_one_fails",
        || {
            // They are initialised in this order.
            does_not_start(app().module(&PROMPT).module(&TELLER).module(&BAD_NOW));
            assert_eq!(
                events(),
                ["prompt is up", "prompt stops", "prompt is down"],
                "the init of `teller` was under way, and is dropped"
            );
        },
    );
}

/// Up at once.
struct Prompt;

static PROMPT: BdevModule = BdevModule::new(c"prompt").with(&Prompt);

impl Module for Prompt {
    async fn init(&self, spdk: &Spdk) -> ModuleResult {
        std::mem::forget(nothing(spdk, &PROMPT, "prompt0"));
        std::mem::forget(BdevDesc::open(spdk, "prompt0").read_write()?);
        happens("prompt is up");
        Ok(())
    }

    async fn fini_start(&self) {
        happens("prompt stops");
    }

    async fn fini(&self) {
        happens("prompt is down");
    }
}

#[test]
fn no_init_is_waited_for_when_another_one_failed() {
    in_process("no_init_is_waited_for_when_another_one_failed", || {
        does_not_start(app().module(&HANGS).module(&BAD_LATER));
    });
}

#[test]
fn no_init_is_waited_for_when_another_one_failed_at_once() {
    in_process(
        "no_init_is_waited_for_when_another_one_failed_at_once",
        || does_not_start(app().module(&HANGS).module(&BAD_NOW)),
    );
}

static NEVER: Failing<InitFn> = Failing(|_| Box::pin(pending()));
static HANGS: BdevModule = BdevModule::new(c"hangs").with(&NEVER);

#[test]
fn a_failed_init_ends_an_own_loop() {
    in_process("a_failed_init_ends_an_own_loop", || {
        let error = app().module(&BAD_LATER).own_loop().unwrap_err();
        assert!(matches!(error, AppError::Module { module: "bad", .. }));
    });
}

#[test]
fn names_of_modules_are_unique() {
    in_process("names_of_modules_are_unique", || {
        let error = app()
            .module(&BAD_NOW)
            .module(&BAD_LATER)
            .run(async |_| ())
            .unwrap_err();
        assert!(matches!(error, AppError::ModuleExists { .. }), "{error}");
    });
}

/// Never gets up.
struct Endless;

impl Module for Endless {
    async fn init(&self, _spdk: &Spdk) -> ModuleResult {
        // SAFETY: `raise` is a plain call.
        unsafe { libc::raise(libc::SIGINT) };
        pending().await
    }
}

static ENDLESS: BdevModule = BdevModule::new(c"endless").with(&Endless);

#[test]
fn an_init_that_never_ends_is_dropped_when_the_app_is_asked_to_stop() {
    in_process(
        "an_init_that_never_ends_is_dropped_when_the_app_is_asked_to_stop",
        || {
            let error = app().module(&ENDLESS).run(async |_| ()).unwrap_err();
            assert!(matches!(error, AppError::Stopped), "{error}");
        },
    );
}

/// Panics wherever it can, but for the init.
struct Explosive;

impl Module for Explosive {
    async fn fini_start(&self) {
        panic!("in fini_start")
    }

    async fn fini(&self) {
        panic!("in fini")
    }

    fn config(&self) -> Vec<ConfigEntry> {
        panic!("in config")
    }
}

impl Examine for Explosive {
    fn examine_config(&self, _spdk: &Spdk, _bdev: &BdevInfo) {
        panic!("in examine_config")
    }

    async fn examine_disk(&self, _spdk: &Spdk, _bdev: BdevInfo) {
        a_while().await;
        panic!("in examine_disk")
    }
}

static EXPLOSIVE: BdevModule = BdevModule::new(c"explosive")
    .with(&Explosive)
    .examine(&Explosive);

#[test]
fn t13_panics_of_a_module_are_contained_and_keep_nobody_waiting() {
    in_process(
        "t13_panics_of_a_module_are_contained_and_keep_nobody_waiting",
        || {
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join("rpc.sock");
            app()
                .module(&EXPLOSIVE)
                .rpc_socket(&socket)
                .run(async |spdk| {
                    MallocBdev::builder("m")
                        .blocks(8)
                        .create(&spdk)
                        .await
                        .unwrap();
                    // In config, as each of the other two.
                    let config = rpc(&socket, "framework_get_config", r#"{"name":"bdev"}"#).await;
                    assert!(config.contains("bdev_malloc_create"), "{config}");
                    wait_for_examine(&socket).await;
                    // Contract B-09: gone only when nobody has it open, as an examine does.
                    MallocBdev::delete(&spdk, "m").await.unwrap();
                })
                .unwrap();
            assert_eq!(spdk_safe::contained_panics(), 5);
        },
    );
}

/// Looks at each bdev, and claims and reads those named `claim*`.
struct Looker;

static CLAIMED: AtomicUsize = AtomicUsize::new(0);

impl Examine for Looker {
    fn examine_config(&self, spdk: &Spdk, bdev: &BdevInfo) {
        happens(format!("config of {}", bdev.name));
        // What is there can be opened.
        let desc = BdevDesc::open(spdk, &bdev.name).read_only().unwrap();
        assert_eq!(desc.info().num_blocks, bdev.num_blocks);
    }

    async fn examine_disk(&self, spdk: &Spdk, bdev: BdevInfo) {
        let desc = BdevDesc::open(spdk, &bdev.name).read_only().unwrap();
        let ch = desc.channel().unwrap();
        ch.read(Lba(0), desc.alloc(Blocks(1)).unwrap())
            .await
            .0
            .unwrap();
        a_while().await;
        happens(format!("disk of {}", bdev.name));
        CLAIMED.fetch_add(1, Ordering::Relaxed);
    }
}

static LOOKER: BdevModule = BdevModule::new(c"looker").examine(&Looker);

#[test]
fn bdevs_are_examined_those_of_the_start_before_main() {
    in_process("bdevs_are_examined_those_of_the_start_before_main", || {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("rpc.sock");
        app()
            .module(&TELLER)
            .module(&LOOKER)
            .rpc_socket(&socket)
            .run(async |spdk| {
                assert_eq!(
                    events(),
                    ["config of teller0", "teller is up", "disk of teller0"],
                    "main comes after the examines of the start"
                );
                MallocBdev::builder("m")
                    .blocks(8)
                    .create(&spdk)
                    .await
                    .unwrap();
                wait_for_examine(&socket).await;
                assert_eq!(events()[3..], ["config of m", "disk of m"]);
                MallocBdev::delete(&spdk, "m").await.unwrap();
            })
            .unwrap();
    });
}

#[test]
fn with_auto_examine_off_a_bdev_is_examined_when_somebody_asks_for_it() {
    in_process(
        "with_auto_examine_off_a_bdev_is_examined_when_somebody_asks_for_it",
        || {
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join("rpc.sock");
            app()
                .module(&LOOKER)
                .auto_examine(false)
                .rpc_socket(&socket)
                .run(async |spdk| {
                    for name in ["m", "n"] {
                        let disk = MallocBdev::builder(name).blocks(8);
                        disk.create(&spdk).await.unwrap();
                    }
                    wait_for_examine(&socket).await;
                    assert!(events().is_empty(), "{:?}", events());
                    if spdk_sys::VERSION >= (20, 10, 0) {
                        let reply = rpc(&socket, "bdev_examine", r#"{"name":"n"}"#).await;
                        assert!(reply.contains("true"), "{reply}");
                        wait_for_examine(&socket).await;
                        assert_eq!(events(), ["config of n", "disk of n"]);
                    } else {
                        println!("bdev_examine came with SPDK 20.10");
                    }
                    for name in ["m", "n"] {
                        MallocBdev::delete(&spdk, name).await.unwrap();
                    }
                })
                .unwrap();
        },
    );
}

/// Registers a bdev in its init, before the module that examines has had its own.
struct Hasty;

static HASTY: BdevModule = BdevModule::new(c"hasty").with(&Hasty).examine(&Bystander);
static LATE: BdevModule = BdevModule::new(c"late")
    .with(&Teller("late"))
    .examine(&Looker);

struct Bystander;
impl Examine for Bystander {}

impl Module for Hasty {
    async fn init(&self, spdk: &Spdk) -> ModuleResult {
        std::mem::forget(nothing(spdk, &HASTY, "hasty0"));
        happens("hasty is up");
        Ok(())
    }
}

#[test]
fn a_bdev_that_comes_before_a_modules_init_is_examined_after_it() {
    in_process(
        "a_bdev_that_comes_before_a_modules_init_is_examined_after_it",
        || {
            // The last one is initialised first (M-02).
            app()
                .module(&LATE)
                .module(&HASTY)
                .run(async |_| happens("main"))
                .unwrap();
            let events = events();
            let at = |what: &str| events.iter().position(|event| event == what).unwrap();
            assert!(at("hasty is up") < at("late is up"), "{events:?}");
            assert!(at("late is up") < at("config of hasty0"), "{events:?}");
            assert!(at("config of hasty0") < at("disk of hasty0"), "{events:?}");
            assert!(at("disk of hasty0") < at("main"), "{events:?}");
        },
    );
}

/// Examines for ever.
struct Stuck;

impl Examine for Stuck {
    async fn examine_disk(&self, _spdk: &Spdk, bdev: BdevInfo) {
        struct Says(String);
        impl Drop for Says {
            fn drop(&mut self) {
                happens(format!("{} is let go of", self.0));
            }
        }
        let _says = Says(bdev.name);
        pending().await
    }
}

static STUCK: BdevModule = BdevModule::new(c"stuck").examine(&Stuck);

#[test]
fn an_examine_that_never_ends_is_dropped_with_the_app() {
    in_process("an_examine_that_never_ends_is_dropped_with_the_app", || {
        app()
            .module(&STUCK)
            .run(async |spdk| {
                MallocBdev::builder("m")
                    .blocks(8)
                    .create(&spdk)
                    .await
                    .unwrap();
                for _ in 0..100 {
                    yield_now().await;
                }
                assert_eq!(events(), [""; 0]);
            })
            .unwrap();
        assert_eq!(events(), ["m is let go of"]);
    });
}

/// Puts a bdev on each one named `base`, and one on that, as SPDK shows them; and takes `short*` away again.
struct Stacker;

static STACKED: Mutex<Vec<RegisteredBdev>> = Mutex::new(Vec::new());

impl Examine for Stacker {
    fn examine_config(&self, spdk: &Spdk, bdev: &BdevInfo) {
        happens(format!("config of {}", bdev.name));
        if bdev.name.starts_with("base") && bdev.name.len() < 6 {
            let above = nothing(spdk, &STACKER, &format!("{}+", bdev.name));
            STACKED.lock().unwrap().push(above);
            happens(format!("{}+ is registered", bdev.name));
        }
    }

    async fn examine_disk(&self, spdk: &Spdk, bdev: BdevInfo) {
        happens(format!("disk of {}", bdev.name));
        let desc = BdevDesc::open(spdk, &bdev.name).read_only().unwrap();
        if bdev.name.starts_with("short") {
            drop(desc);
            // Not awaited: since 21.10 SPDK has it open until it is examined.
            let spdk = spdk.clone();
            let name = bdev.name.clone();
            let mut delete = Box::pin(async move { MallocBdev::delete(&spdk, &name).await });
            assert!(futures::poll!(&mut delete).is_pending());
            let _ = thread::spawn_local(async move {
                delete.await.unwrap();
                happens("it is gone");
            });
        }
        assert!(!bdev.name.ends_with("++"), "on purpose");
        if bdev.name == "late" {
            a_while().await;
            happens("late is examined");
        }
    }
}

static STACKER: BdevModule = BdevModule::new(c"stacker").examine(&Stacker);

#[test]
fn an_examine_begins_inside_of_the_registration() {
    let said = in_process("an_examine_begins_inside_of_the_registration", || {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("rpc.sock");
        app()
            .module(&STACKER)
            .rpc_socket(&socket)
            .run(async |spdk| {
                let create = async |name: &str| {
                    let disk = MallocBdev::builder(name).blocks(8);
                    disk.create(&spdk).await.unwrap();
                    std::mem::take(&mut *EVENTS.lock().unwrap())
                };
                // The panic below the registration of the third is contained: the others go on.
                let seen = create("base").await;
                let order = [
                    "config of base",
                    "config of base+",
                    "config of base++",
                    "disk of base++",
                    "base++ is registered",
                    "disk of base+",
                    "base+ is registered",
                    "disk of base",
                ];
                assert_eq!(seen[..8], order);
                assert_eq!(spdk_safe::contained_panics(), 1);

                // One that awaits something is waited for.
                create("late").await;
                wait_for_examine(&socket).await;
                while !events().iter().any(|event| event == "late is examined") {
                    yield_now().await;
                }
                EVENTS.lock().unwrap().clear();

                // M9: unregistered from inside of its registration.
                let disk = MallocBdev::builder("short").blocks(8);
                disk.create(&spdk).await.unwrap();
                while events().last().is_none_or(|event| event != "it is gone") {
                    yield_now().await;
                }
                assert_eq!(bdev::find(&spdk, "short").unwrap(), None);
                wait_for_examine(&socket).await;

                let stacked = std::mem::take(&mut *STACKED.lock().unwrap());
                for above in stacked.into_iter().rev() {
                    above.unregister().await;
                }
                for name in ["base", "late"] {
                    MallocBdev::delete(&spdk, name).await.unwrap();
                }
            })
            .unwrap();
    });
    // SPDK has one count for both kinds of examine.
    assert!(!said.contains("did not call"), "{said}");
}

/// Made one malloc bdev, and says so.
struct Saver;

#[derive(serde::Serialize)]
struct CreateMalloc<'a> {
    name: &'a str,
    num_blocks: u64,
    block_size: u32,
}

impl Module for Saver {
    fn config(&self) -> Vec<ConfigEntry> {
        vec![
            ConfigEntry::new(
                "bdev_malloc_create",
                CreateMalloc {
                    name: "of \"saver\"",
                    num_blocks: 128,
                    block_size: 512,
                },
            ),
            // JSON has no such keys: left out, and said.
            ConfigEntry::new("bad", std::collections::BTreeMap::from([(vec![1], 1)])),
        ]
    }
}

static SAVER: BdevModule = BdevModule::new(c"saver").with(&Saver);

#[test]
fn a_modules_configuration_is_saved_and_starting_from_it_does_what_it_says() {
    let name = "a_modules_configuration_is_saved_and_starting_from_it_does_what_it_says";
    let folder = tempfile::tempdir().unwrap();
    let saved = match std::env::var_os("SPDK_SAFE_TEST_CONFIG") {
        Some(path) => path.into(),
        None => folder.path().join("saved.json"),
    };
    // SAFETY: for the child process; no other thread of this one reads the environment now.
    unsafe { std::env::set_var("SPDK_SAFE_TEST_CONFIG", &saved) };
    let run = || {
        if saved.exists() {
            return app()
                .config_file(&saved)
                .run(async |spdk| {
                    let info = bdev::find(&spdk, "of \"saver\"").unwrap().unwrap();
                    assert_eq!((info.num_blocks, info.block_size), (Blocks(128), 512));
                })
                .unwrap();
        }
        let socket = folder.path().join("rpc.sock");
        app()
            .module(&SAVER)
            .rpc_socket(&socket)
            .run(async |_| {
                let reply = rpc(&socket, "framework_get_config", r#"{"name":"bdev"}"#).await;
                let reply: serde_json::Value = serde_json::from_str(&reply).unwrap();
                let result = &reply["result"];
                let ours = result.as_array().unwrap().iter();
                let ours: Vec<_> = ours
                    .filter(|entry| entry["method"] == "bdev_malloc_create")
                    .collect();
                assert_eq!(ours.len(), 1, "{result}");
                let config = serde_json::json!({
                    "subsystems": [{"subsystem": "bdev", "config": result}]
                });
                std::fs::write(&saved, config.to_string()).unwrap();
            })
            .unwrap();
    };
    in_process(name, run);
    // A second process, which has no such module.
    if std::env::var(CHILD).is_err() {
        assert!(saved.exists());
        in_process(name, run);
    }
}

/// Uses what belongs to the app thread, from its init on.
struct Spawner;

static SPAWNED: OnceLock<u64> = OnceLock::new();

impl Module for Spawner {
    async fn init(&self, _spdk: &Spdk) -> ModuleResult {
        let id = thread::spawn_local(async {
            a_while().await;
            thread::current_id().unwrap().get()
        })?
        .await?;
        assert_eq!(thread::app().unwrap().id().get(), id);
        SPAWNED.set(id).unwrap();
        // For ever; the end of the app drops it.
        drop(thread::spawn_local(pending::<()>())?);
        Ok(())
    }
}

static SPAWNER: BdevModule = BdevModule::new(c"spawner").with(&Spawner);

#[test]
fn an_init_may_spawn_tasks_on_the_app_thread() {
    in_process("an_init_may_spawn_tasks_on_the_app_thread", || {
        app()
            .module(&SPAWNER)
            .run(async |_| {
                let id = thread::current_id().unwrap().get();
                assert_eq!(SPAWNED.get(), Some(&id));
            })
            .unwrap();
    });
}

/// Waits until SPDK has examined all bdevs, where that can be asked.
async fn wait_for_examine(socket: &Path) {
    if spdk_sys::VERSION >= (21, 1, 0) {
        let reply = rpc(socket, "bdev_wait_for_examine", "").await;
        assert!(reply.contains("true"), "{reply}");
        return;
    }
    println!("bdev_wait_for_examine came with SPDK 21.01");
    for _ in 0..100 {
        a_while().await;
    }
}

/// Calls a method of this process's own RPC server, from another OS thread.
async fn rpc(socket: &Path, method: &'static str, params: &'static str) -> String {
    let socket = socket.to_owned();
    let (send, receive) = futures::channel::oneshot::channel();
    std::thread::spawn(move || {
        let mut stream = UnixStream::connect(socket).unwrap();
        let params = match params {
            "" => String::new(),
            _ => format!(r#","params":{params}"#),
        };
        let request = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"{params}}}"#);
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = Vec::new();
        let mut part = [0; 4096];
        while serde_json::from_slice::<serde_json::Value>(&reply).is_err() {
            let n = stream.read(&mut part).unwrap();
            assert_ne!(n, 0, "the server hung up");
            reply.extend_from_slice(&part[..n]);
        }
        send.send(String::from_utf8(reply).unwrap())
    });
    receive.await.unwrap()
}
