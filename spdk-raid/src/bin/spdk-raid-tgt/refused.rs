//! Options of SPDK's own apps that this one has not, each with what to do instead.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};

/// An option that is known, and refused.
pub(crate) struct Refused {
    short: Option<char>,
    long: &'static str,
    takes_value: bool,
    /// What to do instead.
    pub(crate) remedy: &'static str,
}

const fn with_value(short: Option<char>, long: &'static str, remedy: &'static str) -> Refused {
    Refused {
        short,
        long,
        takes_value: true,
        remedy,
    }
}

const fn flag(long: &'static str, remedy: &'static str) -> Refused {
    Refused {
        short: None,
        long,
        takes_value: false,
        remedy,
    }
}

/// All of them.
pub(crate) const REFUSED: &[Refused] = &[
    with_value(
        Some('p'),
        "main-core",
        "leave it out: the lowest core of --cpumask is the main one",
    ),
    with_value(
        None,
        "lcores",
        "say with --cpumask which cores to run on; a reactor runs on the CPU of its own number",
    ),
    with_value(
        Some('n'),
        "mem-channels",
        "leave it out, or hand it to DPDK: --env-context=-n4",
    ),
    with_value(
        Some('i'),
        "shm-id",
        "leave it out: this target shares no memory with other processes, so that nothing needs a name",
    ),
    with_value(
        None,
        "msg-mempool-size",
        "leave it out: SPDK's own 262143 messages do for 250 SPDK threads",
    ),
    flag(
        "enforce-numa",
        "leave it out: memory comes from where SPDK takes it",
    ),
    with_value(
        None,
        "iova-mode",
        "leave it out: SPDK finds the mode that works",
    ),
    with_value(
        None,
        "base-virtaddr",
        "leave it out: SPDK maps its memory at 0x200000000000",
    ),
    with_value(
        Some('A'),
        "pci-allowed",
        "hand it to DPDK: --env-context=--allow=BDF (before SPDK 21.01 --env-context=--pci-whitelist=BDF)",
    ),
    with_value(
        Some('B'),
        "pci-blocked",
        "hand it to DPDK: --env-context=--block=BDF (before SPDK 21.01 --env-context=--pci-blacklist=BDF)",
    ),
    with_value(
        None,
        "rpcs-allowed",
        "leave it out: whoever may use the socket may call every method; the socket is for its owner only",
    ),
    flag(
        "json-ignore-init-errors",
        "correct the configuration: errors in it name line and field, or the method that failed",
    ),
    with_value(
        Some('e'),
        "tpoint-group",
        "leave it out: this target has no trace buffers; `bdev_get_iostat` and `bdev_get_histogram` measure it",
    ),
    with_value(
        None,
        "num-trace-entries",
        "leave it out: this target has no trace buffers",
    ),
    with_value(
        Some('S'),
        "vhost-socket-dir",
        "leave it out: this target has no vhost; nvmf, iscsi, nbd and ublk export bdevs",
    ),
];

impl Refused {
    /// As clap takes it.
    pub(crate) fn arg(&self) -> Arg {
        let arg = Arg::new(self.long).long(self.long).hide(true);
        let arg = match self.takes_value {
            // Any value, and several: the remedy is what matters.
            true => arg.action(ArgAction::Append).allow_hyphen_values(true),
            false => arg.action(ArgAction::Count),
        };
        match self.short {
            Some(short) => arg.short(short),
            None => arg,
        }
    }

    /// Whether the command line has it.
    pub(crate) fn is_in(&self, matches: &ArgMatches) -> bool {
        matches.value_source(self.long) == Some(ValueSource::CommandLine)
    }

    /// As one reads it.
    pub(crate) fn name(&self) -> String {
        match self.short {
            Some(short) => format!("-{short}, --{}", self.long),
            None => format!("--{}", self.long),
        }
    }
}
