//! The command line: options as SPDK's own apps have them, checked before anything starts.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser};
use spdk_safe::units::Mib;

use crate::refused::REFUSED;
use crate::values;

/// Where SPDK's clients look if nobody says otherwise.
const DEFAULT_SOCKET: &str = "/var/tmp/spdk.sock";

/// `spdk-raid-tgt 0.1.0, SPDK 26.05`, without the name.
pub(crate) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let spdk = spdk_safe::app::spdk_version();
    format!("{}, SPDK {spdk}", env!("CARGO_PKG_VERSION"))
});

/// An SPDK target with a RAID1 in safe Rust; options are those of SPDK's own apps.
#[derive(Debug, Clone, Parser)]
#[command(name = "spdk-raid-tgt", version = VERSION.as_str(), disable_version_flag = true)]
struct Raw {
    /// Cores to run on: a mask such as `0x3`, or a list such as `[0,1]`; the first that the process may run on if not said
    #[arg(short = 'm', long, value_name = "MASK|LIST", value_parser = CoreList::parse, help_heading = "CPU")]
    cpumask: Option<CoreList>,
    /// Let other SPDK processes run on the same cores (SPDK 24.09 and newer)
    #[arg(long, help_heading = "CPU")]
    disable_cpumask_locks: bool,
    /// Sleep until something happens, where the bdevs allow it (SPDK 21.01 and newer)
    #[arg(long, help_heading = "CPU")]
    interrupt_mode: bool,

    /// JSON configuration, as `save_config` writes it
    #[arg(
        short = 'c',
        long,
        alias = "json",
        value_name = "FILE",
        help_heading = "Configuration"
    )]
    config: Option<PathBuf>,
    /// Unix socket of the JSON-RPC server, for the user of this process only
    #[arg(short, long, value_name = "PATH", default_value = DEFAULT_SOCKET, help_heading = "Configuration")]
    rpc_socket: PathBuf,
    /// Serve JSON-RPC over TCP as well: whoever reaches the address controls this target
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        conflicts_with = "no_rpc_server",
        help_heading = "Configuration"
    )]
    rpc_tcp: Option<SocketAddr>,
    /// No JSON-RPC server
    #[arg(long, help_heading = "Configuration")]
    no_rpc_server: bool,
    /// Start subsystems when the RPC `framework_start_init` comes
    #[arg(long, conflicts_with = "no_rpc_server", help_heading = "Configuration")]
    wait_for_rpc: bool,

    /// Memory, in MiB, or with K, M or G
    #[arg(short = 's', long, value_name = "SIZE", value_parser = values::memory, help_heading = "Memory")]
    mem_size: Option<Mib>,
    /// Ordinary memory instead of hugepages (512 MiB if --mem-size does not say more)
    #[arg(long, help_heading = "Memory")]
    no_huge: bool,
    /// The hugetlbfs to take memory from
    #[arg(long, value_name = "PATH", help_heading = "Memory")]
    huge_dir: Option<String>,
    /// Unlink the files of hugepages
    #[arg(short = 'R', long, help_heading = "Memory")]
    huge_unlink: bool,
    /// One file for all hugepages
    #[arg(short = 'g', long, help_heading = "Memory")]
    single_file_segments: bool,

    /// No PCI devices
    #[arg(short = 'u', long, help_heading = "PCI")]
    no_pci: bool,
    /// The token that an SR-IOV PF and its VFs share, for vfio-pci
    #[arg(long, value_name = "UUID", help_heading = "PCI")]
    vfio_vf_token: Option<String>,

    /// Print the lines of this log flag, or of `all`
    #[arg(short = 'L', long, value_name = "FLAG", help_heading = "Log")]
    logflag: Vec<String>,
    /// Print warnings and errors only
    #[arg(long, help_heading = "Log")]
    silence_noticelog: bool,

    /// Write the process id to this file
    #[arg(short = 'f', long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Leave the limit of core dumps as it is, which is what this target always does
    #[arg(short = 'd', long)]
    limit_coredump: bool,
    /// Further arguments for DPDK, separated by spaces
    #[arg(long, value_name = "ARGUMENTS", allow_hyphen_values = true)]
    env_context: Option<String>,
    /// Print the versions of this target and of SPDK
    #[arg(short, long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

/// Cores, for clap, which takes a `Vec` for an option that may stand there several times.
#[derive(Debug, Clone)]
struct CoreList(Vec<u32>);

impl CoreList {
    fn parse(text: &str) -> Result<Self, String> {
        values::cores(text).map(Self)
    }
}

/// Checked options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// Ascending; `None` leaves the choice to SPDK.
    pub(crate) cores: Option<Vec<u32>>,
    pub(crate) share_cores: bool,
    pub(crate) interrupt_mode: bool,
    pub(crate) config: Option<PathBuf>,
    /// `None`: no JSON-RPC.
    pub(crate) rpc_socket: Option<PathBuf>,
    pub(crate) rpc_tcp: Option<SocketAddr>,
    pub(crate) wait_for_rpc: bool,
    pub(crate) memory: Option<Mib>,
    pub(crate) no_huge: bool,
    pub(crate) no_pci: bool,
    /// For DPDK.
    pub(crate) eal_args: Vec<String>,
    pub(crate) log_flags: Vec<String>,
    pub(crate) silent: bool,
    pub(crate) pid_file: Option<PathBuf>,
}

/// Reads a command line, whose first word is the program.
///
/// # Errors
///
/// What is wrong and what to do, for [`clap::Error::exit`]: also `--help` and `--version`, with status 0.
pub(crate) fn parse(
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<Options, clap::Error> {
    let mut command = REFUSED.iter().fold(Raw::command(), |command, refused| {
        command.arg(refused.arg())
    });
    let matches = command.try_get_matches_from_mut(args)?;
    if let Some(refused) = REFUSED.iter().find(|refused| refused.is_in(&matches)) {
        let text = format!("this target has no {}; {}", refused.name(), refused.remedy);
        return Err(command.error(ErrorKind::UnknownArgument, text));
    }
    let raw = Raw::from_arg_matches(&matches)?;
    if looks_like_tcp(&raw.rpc_socket) {
        let text = format!(
            "--rpc-socket takes the path of a Unix socket, and {:?} looks like an address; for JSON-RPC over TCP say \
             --rpc-tcp",
            raw.rpc_socket.display().to_string()
        );
        return Err(command.error(ErrorKind::ValueValidation, text));
    }
    Ok(raw.into())
}

/// SPDK would make a Unix socket of that name.
fn looks_like_tcp(path: &Path) -> bool {
    path.to_str()
        .is_some_and(|text| text.parse::<SocketAddr>().is_ok())
}

impl From<Raw> for Options {
    fn from(raw: Raw) -> Self {
        let flag = |is_set: bool, arg: &str| is_set.then(|| arg.to_owned());
        let eal_args = [
            raw.huge_dir.map(|dir| format!("--huge-dir={dir}")),
            flag(raw.huge_unlink, "--huge-unlink"),
            flag(raw.single_file_segments, "--single-file-segments"),
            raw.vfio_vf_token
                .map(|token| format!("--vfio-vf-token={token}")),
        ];
        let context = raw.env_context.unwrap_or_default();
        Self {
            cores: raw.cpumask.map(|list| list.0),
            share_cores: raw.disable_cpumask_locks,
            interrupt_mode: raw.interrupt_mode,
            config: raw.config,
            rpc_socket: (!raw.no_rpc_server).then_some(raw.rpc_socket),
            rpc_tcp: raw.rpc_tcp,
            wait_for_rpc: raw.wait_for_rpc,
            memory: raw.mem_size,
            no_huge: raw.no_huge,
            no_pci: raw.no_pci,
            eal_args: eal_args
                .into_iter()
                .flatten()
                .chain(context.split_whitespace().map(str::to_owned))
                .collect(),
            log_flags: raw.logflag,
            silent: raw.silence_noticelog,
            pid_file: raw.pid_file,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, clap::Error> {
        let words = line.split_whitespace().map(str::to_owned);
        parse(std::iter::once("spdk-raid-tgt".to_owned()).chain(words))
    }

    #[test]
    fn without_options_it_is_what_spdk_does() {
        let options = parsed("").unwrap();
        assert_eq!(options.rpc_socket, Some(DEFAULT_SOCKET.into()));
        assert_eq!(options.cores, None);
        assert_eq!(options.memory, None);
        assert!(options.eal_args.is_empty());
        assert!(!options.no_huge && !options.no_pci && !options.wait_for_rpc);
    }

    #[test]
    fn options_are_those_of_spdk() {
        let options = parsed(
            "-m [0,2] -c a.json -r /tmp/x.sock -s 1G -u -L bdev -L nvmf --no-huge --silence-noticelog -d -R -g \
             --huge-dir /dev/hugepages --interrupt-mode --disable-cpumask-locks --wait-for-rpc -f pid \
             --rpc-tcp 127.0.0.1:5260 --vfio-vf-token 12345678-1234-1234-1234-123456789012 \
             --env-context=--log-level=lib.eal:8",
        );
        let expected = Options {
            cores: Some(vec![0, 2]),
            share_cores: true,
            interrupt_mode: true,
            config: Some("a.json".into()),
            rpc_socket: Some("/tmp/x.sock".into()),
            rpc_tcp: Some("127.0.0.1:5260".parse().unwrap()),
            wait_for_rpc: true,
            memory: Some(Mib(1024)),
            no_huge: true,
            no_pci: true,
            eal_args: vec![
                "--huge-dir=/dev/hugepages".into(),
                "--huge-unlink".into(),
                "--single-file-segments".into(),
                "--vfio-vf-token=12345678-1234-1234-1234-123456789012".into(),
                "--log-level=lib.eal:8".into(),
            ],
            log_flags: vec!["bdev".into(), "nvmf".into()],
            silent: true,
            pid_file: Some("pid".into()),
        };
        assert_eq!(options.unwrap(), expected);
        for line in [
            "--config a.json",
            "--json a.json",
            "-ca.json",
            "--json=a.json",
        ] {
            assert_eq!(
                parsed(line).unwrap().config,
                Some("a.json".into()),
                "{line}"
            );
        }
        assert_eq!(parsed("--cpumask 0x6").unwrap().cores, Some(vec![1, 2]));
        assert_eq!(parsed("--no-rpc-server -r /x").unwrap().rpc_socket, None);
        let context = parse(["x", "--env-context", "--no-telemetry  -n4"]).unwrap();
        assert_eq!(context.eal_args, ["--no-telemetry", "-n4"]);
    }

    #[test]
    fn help_and_versions_are_no_errors() {
        let version = parsed("-v").unwrap_err();
        assert_eq!(version.exit_code(), 0);
        let text = version.to_string();
        assert!(text.starts_with("spdk-raid-tgt "), "{text}");
        assert!(text.contains(&spdk_safe::app::spdk_version()), "{text}");
        let help = parsed("--help").unwrap_err();
        assert_eq!(help.exit_code(), 0);
        let help = help.to_string();
        for option in ["--cpumask", "--rpc-socket", "--config", "--rpc-tcp"] {
            assert!(help.contains(option), "{help}");
        }
        assert!(!help.contains("--shm-id"), "{help}");
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        for (line, expected) in [
            ("--bogus", "--bogus"),
            ("disk.json", "disk.json"),
            ("-m xyz", "hexadecimal"),
            ("-m [3-1]", "ends before it begins"),
            ("-s 0", "less than 1 MiB"),
            ("-s much", "MiB"),
            ("--rpc-tcp localhost", "--rpc-tcp"),
            (
                "--rpc-tcp 127.0.0.1:1 --no-rpc-server",
                "cannot be used with",
            ),
            ("--wait-for-rpc --no-rpc-server", "cannot be used with"),
            ("-r 127.0.0.1:5260", "--rpc-tcp"),
            ("-c a -c b", "cannot be used multiple times"),
        ] {
            let error = parsed(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            let text = error.to_string();
            assert!(text.contains(expected), "{line}: {text}");
        }
    }

    #[test]
    fn options_that_are_refused_name_their_remedy() {
        for refused in REFUSED {
            let long = refused.name();
            let long = long.rsplit(' ').next().unwrap();
            let lines = [format!("{long}=1"), format!("{long} -1"), long.to_owned()];
            let texts: Vec<_> = lines
                .iter()
                .map(|line| parsed(line).unwrap_err().to_string())
                .collect();
            let with_remedy = texts.iter().filter(|text| text.contains(refused.remedy));
            assert!(with_remedy.count() >= 1, "{texts:?}");
        }
        let error = parsed("-i 0").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("-i, --shm-id"), "{error}");
        assert!(
            parsed("-e 0xffff")
                .unwrap_err()
                .to_string()
                .contains("trace")
        );
    }
}
