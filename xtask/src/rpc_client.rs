//! SPDK's own RPC client, the PyPI package `spdk`: a test drives our methods with it, as its users do.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::workspace;
use crate::host::Host;
use crate::packages;

/// The release that goes with the newest SPDK that we support.
const VERSION: &str = "26.5";

/// Where it is; `spdk-safe/tests/rpc_py.rs` looks there.
fn folder() -> PathBuf {
    workspace().join("target/rpc-client")
}

/// Sees to it that it is there. Without it the test says that it is left out, and passes.
pub(crate) fn ensure(host: &Host) {
    if let Err(why) = install(host, &folder()) {
        eprintln!(
            "warning: no `spdk` {VERSION} from PyPI, so the test of rpc.py is left out: {why}"
        );
    }
}

fn install(host: &Host, folder: &Path) -> Result<(), String> {
    let stamp = folder.join("version");
    if std::fs::read_to_string(&stamp).is_ok_and(|version| version == VERSION) {
        return Ok(());
    }
    packages::ensure(host, &packages::to_run_python()).map_err(|error| error.to_string())?;
    let python = host.program("python3").ok_or("there is no python3")?;
    run(Command::new(python)
        .args(["-m", "venv", "--clear"])
        .arg(folder))?;
    run(Command::new(folder.join("bin/python"))
        .args(["-m", "pip", "--disable-pip-version-check", "--quiet"])
        .args(["install", "--no-deps", &format!("spdk=={VERSION}")]))?;
    std::fs::write(&stamp, VERSION).map_err(|error| format!("{}: {error}", stamp.display()))
}

fn run(command: &mut Command) -> Result<(), String> {
    let line = format!("{command:?}");
    let output = command
        .output()
        .map_err(|error| format!("{line}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{line} failed ({}):\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        )),
    }
}
