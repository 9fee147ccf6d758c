//! Links and runs a small C program against the prefix, by its pkg-config files, before it can be seen.

use std::path::Path;

use super::error::{Context, Error};
use crate::host::Host;
use crate::progress::Progress;
use crate::run::Log;

const PROGRAM: &str = include_str!("smoke.c");
const CONFIG: &str = r#"{"subsystems": [{"subsystem": "bdev", "config": [
  {"method": "bdev_malloc_create", "params": {"name": "Smoke0", "num_blocks": 2048, "block_size": 512}}
]}]}
"#;

/// Tries `prefix` in `work`.
///
/// # Errors
/// The program does not link or does not run to its end.
pub(crate) fn run(
    host: &Host,
    prefix: &Path,
    work: &Path,
    log: &mut Log,
    progress: &mut Progress,
) -> Result<(), Error> {
    let dir = work.join("smoke");
    std::fs::create_dir_all(&dir).context("cannot create", &dir)?;
    for (name, text) in [("smoke.c", PROGRAM), ("config.json", CONFIG)] {
        let file = dir.join(name);
        std::fs::write(&file, text).context("cannot write", &file)?;
    }
    let mut flags = |args: &[&str]| {
        let mut command = host.clean_command("pkg-config", &dir);
        command
            .env("PKG_CONFIG_LIBDIR", prefix.join("lib/pkgconfig"))
            .args(args);
        log.run("asking pkg-config", &mut command, &mut |_| {})
            .map(|text| {
                text.split_whitespace()
                    .map(String::from)
                    .collect::<Vec<_>>()
            })
    };
    let include = flags(&["--cflags", "spdk_event_bdev"])?;
    let parts = [
        "spdk_event_bdev",
        "spdk_bdev_malloc",
        "spdk_sock_posix",
        "spdk_env_dpdk",
    ];
    let whole = flags(&[&["--libs"][..], &parts].concat())?;
    let system = flags(&["--libs", "spdk_syslibs"])?;

    let mut cc = host.clean_command("cc", &dir);
    cc.current_dir(&dir)
        .args(["-o", "smoke", "smoke.c", "-pthread"])
        .args(include);
    cc.arg("-Wl,--whole-archive")
        .args(whole)
        .arg("-Wl,--no-whole-archive")
        .args(system);
    log.run("linking a program with the new SPDK", &mut cc, &mut |_| {
        progress.tick()
    })?;

    // `timeout`: an SPDK that hangs is no use either.
    let mut smoke = host.clean_command("timeout", &dir);
    smoke
        .current_dir(&dir)
        .args(["60", "./smoke", "config.json"]);
    // Else DPDK shares a folder in /tmp with other users.
    smoke.env("XDG_RUNTIME_DIR", &dir);
    log.run(
        "running a program with the new SPDK",
        &mut smoke,
        &mut |_| progress.tick(),
    )?;
    Ok(())
}
