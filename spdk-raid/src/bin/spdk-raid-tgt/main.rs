//! `spdk-raid-tgt`: an SPDK target with our RAID1 in it. `docs/target.md` says how to run it.
//!
//! | file | what it has |
//! | --- | --- |
//! | `options` | the command line, checked; pure |
//! | `values` | cores and sizes as SPDK writes them; pure |
//! | `refused` | options of SPDK's apps that this one has not, and what to do instead |
//! | `tcp` | JSON-RPC over TCP |
//! | `linked` | what this target is built with |
//!
//! Its status is 0 after an orderly end, 1 if it could not start or failed, 2 if the command line is wrong.

#![forbid(unsafe_code)]

mod linked;
mod options;
mod refused;
mod tcp;
mod values;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use options::Options;
use spdk_safe::app::Builder;
use spdk_safe::prelude::*;

fn main() -> ExitCode {
    let options = match options::parse(std::env::args_os()) {
        Ok(options) => options,
        Err(error) => error.exit(),
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("spdk-raid-tgt: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    for flag in &options.log_flags {
        spdk_safe::log::set_flag(flag)?;
    }
    let tcp = match (options.rpc_tcp, &options.rpc_socket) {
        (Some(address), Some(socket)) => Some(
            tcp::serve(address, socket)
                .map_err(|e| format!("could not serve JSON-RPC on TCP {address}: {e}"))?,
        ),
        _ => None,
    };
    if options.wait_for_rpc {
        say(&format!(
            "spdk-raid-tgt {} waits for the RPC `framework_start_init`{}",
            *options::VERSION,
            served(options, tcp)
        ));
    }
    let main = async |spdk: Spdk| -> Result<(), String> {
        let stop = spdk.shutdown();
        if let Some(path) = &options.pid_file {
            std::fs::write(path, format!("{}\n", std::process::id()))
                .map_err(|e| format!("could not write the process id to {path:?}: {e}"))?;
        }
        say(&format!(
            "spdk-raid-tgt {} has started{}; bdevs: {}; exports: {}",
            *options::VERSION,
            served(options, tcp),
            linked::bdevs(),
            linked::exports()
        ));
        stop.await;
        Ok(())
    };
    match app(options).run(main) {
        Ok(ended) => Ok(ended?),
        // Asked to, before it had started.
        Err(AppError::Stopped) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The app that the options ask for, with our modules.
fn app(options: &Options) -> Builder {
    let app =
        App::builder("spdk-raid-tgt").log_level(match (options.silent, &*options.log_flags) {
            (true, _) => LogLevel::Warn,
            (false, []) => LogLevel::Info,
            (false, _) => LogLevel::Debug,
        });
    let app = linked::with(app);
    let app = match &options.cores {
        Some(cores) => app.cores(Cores::of(cores.iter().copied())),
        None => app,
    };
    let app = match options.memory {
        Some(memory) => app.memory(memory),
        None => app,
    };
    let app = match &options.config {
        Some(file) => app.config_file(file),
        None => app,
    };
    let app = match &options.rpc_socket {
        Some(socket) => app.rpc_socket(socket),
        None => app,
    };
    let app = options.eal_args.iter().fold(app, Builder::eal_arg);
    let when = |app, is_set, option: fn(Builder) -> Builder| if is_set { option(app) } else { app };
    let app = when(app, options.no_huge, Builder::no_huge);
    let app = when(app, options.no_pci, Builder::no_pci);
    let app = when(app, options.share_cores, Builder::share_cores);
    let app = when(app, options.interrupt_mode, Builder::interrupt_mode);
    when(app, options.wait_for_rpc, Builder::wait_for_rpc)
}

/// One line for whoever started this; nobody needs to read it.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Where JSON-RPC is served, for a line.
fn served(options: &Options, tcp: Option<SocketAddr>) -> String {
    let Some(socket) = &options.rpc_socket else {
        return "; no JSON-RPC".into();
    };
    let tcp = tcp.map(|address| match address.ip().is_loopback() {
        true => format!(" and on TCP {address}"),
        false => format!(" and on TCP {address}, where whoever reaches it controls this target"),
    });
    format!(
        "; JSON-RPC on {}{}",
        socket.display(),
        tcp.unwrap_or_default()
    )
}
