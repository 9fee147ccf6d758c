//! Where it was measured.

use std::fs::read_to_string;

use serde_json::{Value, json};
use spdk_safe::app::spdk_version;

/// Load averages above this say that others had the cores, too: one is ours.
const BUSY: f64 = 1.5;

#[derive(Debug, Clone)]
pub(crate) struct Host {
    cpu: String,
    cpus: usize,
    kernel: String,
    load: f64,
}

impl Host {
    /// As it is now.
    pub(crate) fn this() -> Self {
        let cpuinfo = read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let model = model.and_then(|line| line.split_once(": "));
        let virt = match cpuinfo.contains(" hypervisor") {
            true => ", virtual",
            false => "",
        };
        let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let load = read_to_string("/proc/loadavg").unwrap_or_default();
        let first = load.split(' ').next();
        Self {
            cpu: format!("{}{virt}", model.map_or("unknown", |(_, name)| name)),
            cpus: cpuinfo
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count(),
            kernel: kernel.trim().to_owned(),
            load: first.and_then(|load| load.parse().ok()).unwrap_or(0.0),
        }
    }

    /// Whether others worked as well.
    pub(crate) fn is_busy(&self) -> bool {
        self.load > BUSY
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "cpu": self.cpu,
            "cpus": self.cpus,
            "kernel": self.kernel,
            "load_before": self.load,
            "spdk": spdk_version(),
            "rustc": env!("BENCH_RUSTC"),
            "cc": env!("BENCH_CC"),
        })
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "SPDK {}; {} ({} CPUs); Linux {}; {}; {}; no hugepages; load average before: {:.1}",
            spdk_version(),
            self.cpu,
            self.cpus,
            self.kernel,
            env!("BENCH_RUSTC"),
            env!("BENCH_CC"),
            self.load
        )?;
        match self.is_busy() {
            true => write!(f, ", so others had the cores, too"),
            false => Ok(()),
        }
    }
}
