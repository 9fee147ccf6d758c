//! Apps that do not start or end well.

use thiserror::Error;

use super::{Errno, RegisterError};
use crate::units::Mib;

/// Why an app did not start, or did not end well.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AppError {
    /// DPDK initialises once per process, and an app ran before. Start another process.
    #[error(
        "SPDK was started in this process before, and DPDK initialises only once; start another process"
    )]
    StartedBefore,
    /// A name, path or argument holds a NUL byte. Take it out.
    #[error("{what} {text:?} holds a NUL byte")]
    Nul {
        /// Which option.
        what: &'static str,
        /// What was given.
        text: String,
    },
    /// A value that can't be: the text says which and what would do.
    #[error("{what}: {got} is out of range ({allowed})")]
    OutOfRange {
        /// Which option.
        what: &'static str,
        /// What was given.
        got: String,
        /// What would do.
        allowed: &'static str,
    },
    /// SPDK can't start in so little memory, and some versions would crash instead of saying so.
    #[error(
        "SPDK {version} needs at least {least} of memory with these pools, not {given}; give it more with \
         `.memory(..)`, or smaller pools with `.pools(Pools::small())`"
    )]
    TooLittleMemory {
        /// What was given.
        given: Mib,
        /// What it takes.
        least: Mib,
        /// The SPDK that the program is linked with.
        version: String,
    },
    /// The JSON configuration could not be handed to SPDK: there is no room for a temporary file, say.
    #[error("could not write the JSON configuration to a temporary file, or read it back: {0}")]
    Config(#[source] std::io::Error),
    /// The JSON configuration can't be read. Name one that is there.
    #[error("could not read the JSON configuration {path:?}: {source}")]
    ConfigFile {
        /// The file.
        path: std::path::PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The JSON configuration is no JSON, or not what SPDK expects. Correct the place that is named; parameters of the
    /// methods in it are looked at by the methods.
    #[error(
        "{file}, line {line}, column {column}: {}{what}",
        if field.is_empty() { String::new() } else { format!("{field}: ") }
    )]
    ConfigSyntax {
        /// The file, or where else it came from.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The column, in bytes from 1.
        column: usize,
        /// The field, such as `subsystems[0].config[2].method`; empty if there is none.
        field: String,
        /// What is wrong.
        what: String,
    },
    /// JSON-RPC can't be served on that Unix socket: somebody listens there, or its folder is not there or not writable.
    /// Name another one.
    #[error("could not serve JSON-RPC on {path:?}: {source}")]
    RpcSocket {
        /// The socket.
        path: std::path::PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// An RPC can't be registered.
    #[error(transparent)]
    Rpc(#[from] RegisterError),
    /// Pool sizes that SPDK refuses.
    #[error("SPDK refuses these pool sizes: {0}")]
    Pools(Errno),
    /// SPDK can't leave bdevs unexamined; see [`Builder::auto_examine`](crate::app::Builder::auto_examine).
    #[error("SPDK does not let bdevs go unexamined: {0}")]
    AutoExamine(Errno),
    /// SPDK did not start; its log, just above, says why. Too little memory is the most frequent
    /// cause; next comes another SPDK process on the same core: choose another one, or `.share_cores()`.
    #[error(
        "SPDK did not start ({0}); its log says why. Often it is memory (without hugepages and with default pools \
         it wants 320 MiB on 20.07, 384 MiB on 26.05), or another SPDK process on the same core"
    )]
    Start(Errno),
    /// A bdev module could not start; the source says why. Its author's docs say what it needs.
    #[error("bdev module {module:?} could not start: {source}")]
    Module {
        /// Its name.
        module: &'static str,
        /// What its init said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// SPDK has a bdev module of that name. Give this one another name.
    #[error("there is a bdev module {module:?} already; names of modules are unique in a process")]
    ModuleExists {
        /// The name.
        module: String,
    },
    /// The linked SPDK can't do that. Link a newer one, or do without.
    #[error(
        "{what} needs SPDK {needs}, and this is {}",
        crate::app::spdk_version()
    )]
    NeedsVersion {
        /// What was asked for.
        what: &'static str,
        /// The first version that has it.
        needs: &'static str,
    },
    /// The end took longer than the deadline that was set, because of what is listed. SPDK can't be torn down under
    /// live objects: its memory stays mapped, and nothing moves any more. Close these, or end the process.
    #[error("SPDK could not end before its deadline; still open: {}", .open.join(", "))]
    StillOpen {
        /// Bdevs, descriptors, SPDK threads.
        open: Vec<String>,
    },
    /// The loop was to end in code that SPDK had called and was waiting for, such as a receiver of log lines or a block
    /// device's function. SPDK stays as it is, and nothing moves any more. End it elsewhere.
    #[error(
        "SPDK was told to end from inside of one of its own callbacks; it stays as it is, and nothing moves any more"
    )]
    InCallback,
    /// A signal, or an RPC, asked the app to stop before its main had ended.
    #[error("the app was asked to stop before its main had ended")]
    Stopped,
}

impl From<crate::module::Failure> for AppError {
    fn from(failure: crate::module::Failure) -> Self {
        Self::Module {
            module: failure.module,
            source: failure.source,
        }
    }
}
