//! What an app is to be started with.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Cores, OwnLoop, Spdk, config, root, rpc_socket, subsystem};
use crate::error::{AppError, Errno};
use crate::log::{self, Line, LogLevel, Sink};
use crate::module::BdevModule;
use crate::rpc::Method;
use crate::units::Mib;

/// An SPDK application. One per process: DPDK initialises only once.
#[derive(Debug)]
pub struct App(());

impl App {
    /// Begins an app named `name`: it shows in process lists and shared-memory names.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// use spdk_safe::prelude::*;
    ///
    /// let answer = App::builder("doctest").no_huge().no_pci().memory(Mib(512)).run(async |_spdk| 42)?;
    /// assert_eq!(answer, 42);
    /// # Ok::<(), AppError>(())
    /// ```
    pub fn builder(name: impl Into<String>) -> Builder {
        Builder {
            name: name.into(),
            cores: Cores::default(),
            memory: None,
            no_huge: false,
            no_pci: false,
            share_cores: false,
            rpc_socket: None,
            wait_for_rpc: false,
            config: Config::None,
            log_level: LogLevel::default(),
            log_sink: None,
            eal_args: Vec::new(),
            pools: None,
            auto_examine: true,
            modules: Vec::new(),
            methods: Vec::new(),
            end_deadline: None,
            grace: GRACE,
            interrupt_mode: false,
        }
    }
}

/// Sizes of SPDK's pools, which make up most of the memory that an idle app takes.
///
/// The default is SPDK's own (about 320 MiB); [`Pools::small`] is for tests and tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pools {
    /// `spdk_bdev_io`s for the whole process; at least (threads + 1) times the cache.
    pub bdev_ios: u32,
    /// Those that each thread keeps for itself.
    pub bdev_io_cache: u32,
    /// 8 KiB buffers (SPDK 23.01 and newer).
    pub small_buffers: u64,
    /// 132 KiB buffers (SPDK 23.01 and newer).
    pub large_buffers: u64,
    /// Messages between threads (SPDK 22.05 and newer): at least 1024 for each core, and 1024 more. 0 is SPDK's own
    /// number.
    pub messages: u64,
}

impl Pools {
    /// Enough for a handful of threads and a few thousand I/Os in flight, in about 20 MiB on new versions.
    #[must_use]
    pub const fn small() -> Self {
        Self {
            bdev_ios: 8191,
            bdev_io_cache: 128,
            small_buffers: 1024,
            large_buffers: 128,
            messages: 16383,
        }
    }
}

#[derive(Debug, Clone)]
enum Config {
    None,
    File(PathBuf),
    Json(String),
}

/// Options of an [`App`]; [`run`](Self::run) starts it.
#[derive(Debug, Clone)]
#[must_use = "call `run` to start the app"]
pub struct Builder {
    name: String,
    cores: Cores,
    memory: Option<Mib>,
    no_huge: bool,
    no_pci: bool,
    share_cores: bool,
    rpc_socket: Option<PathBuf>,
    wait_for_rpc: bool,
    config: Config,
    log_level: LogLevel,
    log_sink: Option<Sink>,
    eal_args: Vec<String>,
    pools: Option<Pools>,
    auto_examine: bool,
    modules: Vec<&'static BdevModule>,
    methods: Vec<Method>,
    end_deadline: Option<Duration>,
    grace: Duration,
    interrupt_mode: bool,
}

/// How long main has after it was asked to stop, if it listens.
const GRACE: Duration = Duration::from_secs(10);

/// Whether an app was started in this process.
static STARTED: AtomicBool = AtomicBool::new(false);

impl Builder {
    /// The cores to run reactors on; by default the first one that the process may run on.
    pub fn cores(mut self, cores: Cores) -> Self {
        self.cores = cores;
        self
    }

    /// How much memory DPDK takes at the start. Needed with [`no_huge`](Self::no_huge), where it can't grow later:
    /// 512 MiB if it is not said.
    pub fn memory(mut self, memory: Mib) -> Self {
        self.memory = Some(memory);
        self
    }

    /// Ordinary memory instead of hugepages: slower, needs no privileges and no set-up.
    pub fn no_huge(mut self) -> Self {
        self.no_huge = true;
        self
    }

    /// No PCI devices: nothing is probed, nothing needs privileges.
    pub fn no_pci(mut self) -> Self {
        self.no_pci = true;
        self
    }

    /// Lets other SPDK processes run on the same cores, for tests and tools: SPDK 23.01 and newer lock theirs, and do
    /// not start on a core that is locked; 24.09 and newer can leave that.
    pub fn share_cores(mut self) -> Self {
        self.share_cores = true;
        self
    }

    /// Serves JSON-RPC on this Unix socket. Without it there is no RPC server.
    ///
    /// Only the user of the process may use the socket: its mode is 0600. SPDK itself leaves that to the umask, so that
    /// of the process is 0077 while the app starts, also for what other threads create then.
    pub fn rpc_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.rpc_socket = Some(path.into());
        self
    }

    /// SPDK's subsystems, bdevs among them, start when the RPC `framework_start_init` says so, and so does main. Until
    /// then the [`rpc_socket`](Self::rpc_socket), which this needs, serves the methods of the startup state. Together
    /// with a configuration it needs SPDK 24.05.
    pub fn wait_for_rpc(mut self) -> Self {
        self.wait_for_rpc = true;
        self
    }

    /// A JSON configuration file, as `save_config` writes it, loaded before main runs.
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config = Config::File(path.into());
        self
    }

    /// A JSON configuration as text, loaded before main runs.
    pub fn config_json(mut self, json: impl Into<String>) -> Self {
        self.config = Config::Json(json.into());
        self
    }

    /// The least severe level that SPDK prints to stderr, or that goes where [`log_crate`](Self::log_crate) or
    /// [`log_to`](Self::log_to) say. [`log::set_print_level`](crate::log::set_print_level) changes it later.
    pub fn log_level(mut self, level: LogLevel) -> Self {
        self.log_level = level;
        self
    }

    /// SPDK's log, and DPDK's, go to the logger of the `log` crate, with the targets `spdk`, `dpdk`, `spdk_safe` and `program`
    /// ([`write`](crate::log::write())), instead of stderr and syslog. The levels are in [`log`](crate::log); both this app's
    /// [`log_level`](Self::log_level) and the logger's own filter apply.
    pub fn log_crate(mut self) -> Self {
        self.log_sink = Some(Sink::log_crate());
        self
    }

    /// SPDK's log, and DPDK's, go to `receiver`, line by line, on the thread that logs.
    ///
    /// SPDK may hold locks meanwhile, so calls that need an SPDK thread fail with
    /// [`ThreadError::NoThread`](crate::error::ThreadError::NoThread) in there, and lines that the receiver causes go to
    /// stderr. A panic in it is contained and counted.
    pub fn log_to(mut self, receiver: impl Fn(&Line<'_>) + Send + Sync + 'static) -> Self {
        self.log_sink = Some(Sink::new(receiver));
        self
    }

    /// One more argument for DPDK's EAL, such as `--log-level=lib.eal:8`. It can't hold a space.
    pub fn eal_arg(mut self, arg: impl Into<String>) -> Self {
        self.eal_args.push(arg.into());
        self
    }

    /// Sizes of SPDK's pools.
    pub fn pools(mut self, pools: Pools) -> Self {
        self.pools = Some(pools);
        self
    }

    /// Whether modules look at every bdev that is registered, which is SPDK's way if it is not said. Some read it: on SPDK
    /// 26.05 its raid module reads the first blocks of every bdev, and so do logical volumes. With `false` a bdev is
    /// examined when the RPC `bdev_examine` (SPDK 20.10 and newer) names it. It is `bdev_auto_examine` of
    /// `bdev_set_options`, and a configuration that sets that has the last word.
    pub fn auto_examine(mut self, auto_examine: bool) -> Self {
        self.auto_examine = auto_examine;
        self
    }

    /// How long the orderly end may take before that is an error. Without a deadline the end waits for what is still
    /// open, and says every five seconds what that is.
    ///
    /// What is open can't be taken from those who use it: SPDK would free what live objects and devices point to. In a
    /// [loop of your own](Self::own_loop) a missed deadline makes [`OwnLoop::shutdown`] return
    /// [`AppError::StillOpen`], with nothing torn down. Under [`run`](Self::run) there is no way back without tearing
    /// down, since reactors destroy their SPDK threads when they stop: the error is logged, a signal ends the process
    /// from then on, and the app goes on waiting.
    pub fn end_deadline(mut self, most: Duration) -> Self {
        self.end_deadline = Some(most);
        self
    }

    /// How long main has to end itself after the app was asked to stop, if somebody awaits [`Spdk::shutdown`]; 10 s if
    /// it is not said.
    pub fn grace(mut self, most: Duration) -> Self {
        self.grace = most;
        self
    }

    /// Reactors sleep until something happens, instead of polling all the time: less speed, no busy cores. SPDK 21.01
    /// and newer. A thread does not sleep while it has a poller without a period, as channels of malloc bdevs have.
    pub fn interrupt_mode(mut self) -> Self {
        self.interrupt_mode = true;
        self
    }

    /// Registers a bdev module, which is possible only before SPDK starts (contract M-01).
    pub fn module(mut self, module: &'static BdevModule) -> Self {
        self.modules.push(module);
        self
    }

    /// Registers an RPC, which is served on the [`rpc_socket`](Self::rpc_socket) and may stand in a configuration.
    /// [`rpc`](crate::rpc) has an example.
    pub fn rpc(mut self, method: Method) -> Self {
        self.methods.push(method);
        self
    }

    /// Starts SPDK, runs `main` on its app thread, stops SPDK in order, and returns what `main` returned.
    ///
    /// The calling OS thread becomes the first reactor, and is pinned to its core until this returns. `main` is
    /// driven by SPDK's messages alone: while it waits, pollers and other SPDK threads run. A panic in it stops the
    /// app in order and then goes on unwinding from here.
    ///
    /// # Errors
    ///
    /// See [`AppError`]. [`AppError::Stopped`] when a signal ended the app before `main` had ended: `main` is
    /// dropped then, unless it listens ([`Spdk::shutdown`]) and ends itself. A second signal ends the process.
    pub fn run<T>(self, main: impl AsyncFnOnce(Spdk) -> T) -> Result<T, AppError> {
        let prepared = self.begin()?;
        let times = root::Times {
            grace: self.grace,
            end: self.end_deadline,
        };
        root::run(&prepared, times, main)
    }

    /// Starts SPDK without its reactors: the program polls it, on the calling OS thread, for as long as it has the loop.
    ///
    /// For programs that have a loop of their own, and for tests that choose which SPDK thread runs next. The options
    /// are the same, but for these: [`cores`](Self::cores) only tells DPDK what to start with, and no OS thread is
    /// pinned; there is no RPC server; a configuration needs SPDK 24.05.
    ///
    /// Each SPDK thread keeps up to 1024 messages of the [`Pools::messages`] for itself; one for which there are not
    /// enough is refused when it is created.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// use spdk_safe::prelude::*;
    ///
    /// let mut spdk = App::builder("doctest").no_huge().no_pci().memory(Mib(512)).own_loop()?;
    /// let context = spdk.spdk();
    /// let answer = spdk.block_on(async {
    ///     MallocBdev::builder("m").blocks(8).create(&context).await.map(|_| 42)
    /// });
    /// assert_eq!(answer.unwrap(), 42);
    /// spdk.shutdown()?;
    /// # Ok::<(), AppError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`AppError`].
    pub fn own_loop(self) -> Result<OwnLoop, AppError> {
        if let Some(path) = &self.rpc_socket {
            return Err(AppError::OutOfRange {
                what: "RPC socket",
                got: path.display().to_string(),
                allowed: "none with a loop of your own; `run` has an RPC server",
            });
        }
        if self.wait_for_rpc {
            return Err(AppError::OutOfRange {
                what: "waiting for RPC",
                got: "on".into(),
                allowed: "off with a loop of your own, which has no RPC server; `run` can wait",
            });
        }
        if self.interrupt_mode {
            return Err(AppError::OutOfRange {
                what: "interrupt mode",
                got: "on".into(),
                allowed: "off with a loop of your own, which polls; `run` can sleep",
            });
        }
        let prepared = self.begin()?;
        OwnLoop::start(&prepared, self.end_deadline)
    }

    /// Checks the options, and claims the one start of this process.
    fn begin(&self) -> Result<Prepared, AppError> {
        let prepared = self.prepare()?;
        if STARTED.swap(true, Ordering::AcqRel) {
            return Err(AppError::StartedBefore);
        }
        if let Some(sink) = &self.log_sink {
            log::install(sink.clone()).map_err(AppError::Start)?;
        }
        subsystem::add();
        for module in &self.modules {
            module.add()?;
        }
        for method in &self.methods {
            // SAFETY: SPDK has not started, and `was_started` keeps others from its list of methods.
            unsafe { method.add() }?;
        }
        if let Some(pools) = &self.pools {
            let opts = spdk_sys::spdk_shim_pool_opts {
                bdev_io_pool_size: pools.bdev_ios,
                bdev_io_cache_size: pools.bdev_io_cache,
                iobuf_small_pool_count: pools.small_buffers,
                iobuf_large_pool_count: pools.large_buffers,
            };
            // SAFETY: SPDK is not up yet, which is when pool sizes may be set; `opts` is only read.
            let rc = unsafe { spdk_sys::spdk_shim_set_pool_opts(&raw const opts) };
            Errno::check(rc).map_err(AppError::Pools)?;
        }
        if !self.auto_examine {
            // SAFETY: SPDK is not up yet, which is when this may be set.
            let rc = unsafe { spdk_sys::spdk_shim_no_auto_examine() };
            Errno::check(rc).map_err(AppError::AutoExamine)?;
        }
        Ok(prepared)
    }

    /// Checks every option and brings it into the form that C takes.
    fn prepare(&self) -> Result<Prepared, AppError> {
        let mut scratch = None;
        let config = match &self.config {
            Config::None => None,
            Config::File(path) => {
                let text = std::fs::read(path).map_err(|source| AppError::ConfigFile {
                    path: path.clone(),
                    source,
                })?;
                match config::check(&path.display().to_string(), &text)? {
                    None => Some(path.clone()),
                    Some(text) => Some(config_file(&mut scratch, &text)?),
                }
            }
            Config::Json(json) => {
                let text = config::check("the JSON configuration", json.as_bytes())?;
                Some(config_file(
                    &mut scratch,
                    text.as_deref().unwrap_or(json.as_bytes()),
                )?)
            }
        };
        let asked = self.rpc_socket.as_deref();
        let mut rpc_socket = asked.map(rpc_socket::checked).transpose()?;
        if self.wait_for_rpc && rpc_socket.is_none() {
            return Err(AppError::OutOfRange {
                what: "waiting for RPC",
                got: "on".into(),
                allowed: "off without an RPC socket",
            });
        }
        if self.wait_for_rpc && config.is_some() && spdk_sys::CONFIG_NEEDS_RPC_SOCKET {
            return Err(AppError::NeedsVersion {
                what: "waiting for RPC with a configuration",
                needs: "24.05",
            });
        }
        if config.is_some() && rpc_socket.is_none() && spdk_sys::CONFIG_NEEDS_RPC_SOCKET {
            // Old versions load a configuration through their own RPC server: one in a private folder.
            rpc_socket = Some(scratch_folder(&mut scratch)?.join("rpc.sock"));
        }
        if self.interrupt_mode && !spdk_sys::HAS_INTERRUPT_MODE {
            return Err(AppError::NeedsVersion {
                what: "interrupt mode",
                needs: "21.01",
            });
        }
        let mem_size_mib = match (self.memory, self.no_huge) {
            (None, false) => -1,
            (None, true) => 512,
            (Some(Mib(mib)), _) => {
                i32::try_from(mib)
                    .ok()
                    .filter(|mib| *mib > 0)
                    .ok_or_else(|| AppError::OutOfRange {
                        what: "memory",
                        got: Mib(mib).to_string(),
                        allowed: "1 MiB to 2^31 - 1 MiB",
                    })?
            }
        };
        let least = match self.pools {
            None => spdk_sys::MIN_MEMORY_MIB,
            Some(_) => spdk_sys::MIN_MEMORY_SMALL_POOLS_MIB,
        };
        if self.no_huge && u32::try_from(mem_size_mib).is_ok_and(|mib| mib < least) {
            return Err(AppError::TooLittleMemory {
                given: Mib(mem_size_mib as u64),
                least: Mib(least.into()),
                version: super::spdk_version(),
            });
        }
        // Each thread takes 1024 messages for itself, and SPDK aborts where there is none left (T-03, T-20).
        let messages = 1024 * (self.cores.len() as u64 + 1);
        if let Some(pools) = self
            .pools
            .filter(|pools| pools.messages != 0 && pools.messages < messages)
        {
            return Err(AppError::OutOfRange {
                what: "messages of the pools",
                got: pools.messages.to_string(),
                allowed: "at least 1024 for each core, and 1024 more; or 0 for SPDK's own",
            });
        }
        if let Some(arg) = self
            .eal_args
            .iter()
            .find(|arg| arg.is_empty() || arg.contains(char::is_whitespace))
        {
            return Err(AppError::OutOfRange {
                what: "EAL argument",
                got: format!("{arg:?}"),
                allowed: "one argument without spaces",
            });
        }
        if self.name.is_empty() || self.name.contains(char::is_whitespace) {
            return Err(AppError::OutOfRange {
                what: "app name",
                got: format!("{:?}", self.name),
                allowed: "one word",
            });
        }
        Ok(Prepared {
            name: c_string("app name", &self.name)?,
            mask: c_string("cores", &self.cores.mask()?)?,
            rpc_socket: c_path("RPC socket", rpc_socket.as_deref())?,
            config: c_path("configuration file", config.as_deref())?,
            eal_args: match self.eal_args.join(" ") {
                args if args.is_empty() => None,
                args => Some(c_string("EAL arguments", &args)?),
            },
            mem_size_mib,
            log_level: self.log_level,
            no_huge: self.no_huge,
            no_pci: self.no_pci,
            share_cores: self.share_cores,
            wait_for_rpc: self.wait_for_rpc,
            interrupt_mode: self.interrupt_mode,
            messages: self.pools.map_or(0, |pools| pools.messages),
            _scratch: scratch,
        })
    }
}

/// Whether an app of ours was started in this process, or is being started; else a C program runs SPDK, if anybody does.
pub(crate) fn is_ours() -> bool {
    STARTED.load(Ordering::Acquire)
}

/// Checked options as C strings, and the folder that some of them lie in.
pub(super) struct Prepared {
    name: CString,
    mask: CString,
    rpc_socket: Option<CString>,
    config: Option<CString>,
    eal_args: Option<CString>,
    mem_size_mib: i32,
    log_level: LogLevel,
    no_huge: bool,
    no_pci: bool,
    share_cores: bool,
    wait_for_rpc: bool,
    interrupt_mode: bool,
    messages: u64,
    _scratch: Option<tempfile::TempDir>,
}

impl Prepared {
    /// The configuration itself.
    pub(super) fn config_text(&self) -> Result<Option<Vec<u8>>, AppError> {
        use std::os::unix::ffi::OsStrExt;
        self.config
            .as_ref()
            .map(|path| std::fs::read(std::ffi::OsStr::from_bytes(path.as_bytes())))
            .transpose()
            .map_err(AppError::Config)
    }

    /// Where JSON-RPC is served.
    pub(super) fn rpc_socket(&self) -> Option<&Path> {
        use std::os::unix::ffi::OsStrExt;
        let path = self.rpc_socket.as_ref()?;
        Some(Path::new(std::ffi::OsStr::from_bytes(path.as_bytes())))
    }

    /// Pointers into `self`.
    pub(super) fn opts(&self) -> spdk_sys::spdk_shim_app_opts {
        let optional =
            |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |t| t.as_ptr());
        spdk_sys::spdk_shim_app_opts {
            name: self.name.as_ptr(),
            reactor_mask: self.mask.as_ptr(),
            rpc_addr: optional(&self.rpc_socket),
            json_config_file: optional(&self.config),
            env_context: optional(&self.eal_args),
            mem_size_mib: self.mem_size_mib,
            log_level: self.log_level.to_raw().0,
            no_huge: self.no_huge,
            no_pci: self.no_pci,
            share_cores: self.share_cores,
            wait_for_rpc: self.wait_for_rpc,
            interrupt_mode: self.interrupt_mode,
            msg_mempool_size: self.messages,
            shutdown_cb: Some(root::shutdown_callback),
        }
    }
}

fn scratch_folder(scratch: &mut Option<tempfile::TempDir>) -> Result<PathBuf, AppError> {
    if scratch.is_none() {
        *scratch = Some(
            tempfile::Builder::new()
                .prefix("spdk-safe-")
                .tempdir()
                .map_err(AppError::Config)?,
        );
    }
    Ok(scratch
        .as_ref()
        .map(|dir| dir.path().to_owned())
        .unwrap_or_default())
}

/// Writes a configuration to a private file.
fn config_file(scratch: &mut Option<tempfile::TempDir>, text: &[u8]) -> Result<PathBuf, AppError> {
    let path = scratch_folder(scratch)?.join("config.json");
    std::fs::write(&path, text).map_err(AppError::Config)?;
    Ok(path)
}

fn c_string(what: &'static str, text: &str) -> Result<CString, AppError> {
    CString::new(text).map_err(|_| AppError::Nul {
        what,
        text: text.to_owned(),
    })
}

fn c_path(what: &'static str, path: Option<&Path>) -> Result<Option<CString>, AppError> {
    use std::os::unix::ffi::OsStrExt;
    path.map(|path| {
        CString::new(path.as_os_str().as_bytes()).map_err(|_| AppError::Nul {
            what,
            text: path.display().to_string(),
        })
    })
    .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_mask_has_a_bit_for_each_core() {
        assert_eq!(
            Cores::of([0])
                .mask()
                .unwrap()
                .trim_start_matches("0x")
                .trim_start_matches('0'),
            "1"
        );
    }

    #[test]
    fn t15_a_core_that_the_machine_does_not_have_is_an_error() {
        let error = Cores::of([0, 100_000]).mask().unwrap_err();
        assert!(error.to_string().contains("core 100000 of"), "{error}");
        assert!(Cores::of([]).mask().is_err());
    }

    #[test]
    fn bad_options_are_errors_that_name_them() {
        let bad = |builder: Builder| {
            builder
                .prepare()
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default()
        };
        assert!(bad(App::builder("a\0b")).contains("app name"));
        assert!(bad(App::builder("")).contains("app name"));
        assert!(bad(App::builder("a").memory(Mib(0))).contains("memory"));
        assert!(bad(App::builder("a").memory(Mib(u64::MAX))).contains("memory"));
        assert!(bad(App::builder("a").rpc_socket("/x\0y")).contains("RPC socket"));
        assert!(bad(App::builder("a").eal_arg("--a --b")).contains("EAL argument"));
        let few = Pools {
            messages: 1024,
            ..Pools::small()
        };
        assert!(bad(App::builder("a").pools(few)).contains("messages"));
        assert_eq!(bad(App::builder("a")), "");
    }
}
