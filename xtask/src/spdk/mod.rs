//! `cargo xtask spdk`: an SPDK for those who have none, built from Debian's archive into the cache.
//!
//! What is built is in [`recipe`]; the rest is how.

mod apt;
mod build;
mod cache;
mod error;
mod install;
mod pkgconfig;
pub(crate) mod recipe;
mod smoke;
mod source;

use std::path::{Path, PathBuf};

pub(crate) use error::Error;

use crate::host::Host;
use crate::locate::{self, COMPLETE_MARKER};
use crate::packages;
use crate::progress::Progress;
use crate::run::Log;
use error::Context;

/// Steps that the progress shows.
const STEPS: usize = 7;

/// The prefix that this recipe installs, whether or not it is there.
pub(crate) fn prefix(host: &Host) -> Option<PathBuf> {
    Some(locate::cache_root(&mut |name| host.var(name))?.join(recipe::prefix_name()))
}

/// Whether the prefix of this recipe is there and complete.
pub(crate) fn is_built(host: &Host) -> bool {
    prefix(host).is_some_and(|p| p.join(COMPLETE_MARKER).is_file())
}

/// Builds SPDK into the cache, unless it is there; with `force`, even then. Returns the prefix.
///
/// # Errors
/// See [`Error`]; nothing but a log is left behind.
pub(crate) fn provide(host: &Host, force: bool) -> Result<PathBuf, Error> {
    let prefix = prefix(host).ok_or(Error::NoCache)?;
    if !force && is_built(host) {
        return Ok(prefix);
    }
    let root = prefix.parent().unwrap_or(Path::new("/"));
    must_be_debian(host)?;
    if root
        .as_os_str()
        .to_string_lossy()
        .contains(char::is_whitespace)
    {
        return Err(Error::Spaces(root.to_owned()));
    }
    packages::ensure(host, &packages::to_build())?;

    let mut waited = None;
    let lock = cache::Locked::take(root, &mut |holder| {
        let progress = waited.get_or_insert_with(|| {
            let mut progress = Progress::new(1);
            let title = format!("waiting for another build of SPDK (process {holder}) to end");
            progress.step(1, title);
            progress
        });
        progress.tick();
    })?;
    drop(waited);
    // The one we waited for may have built it.
    if !force && is_built(host) {
        return Ok(prefix);
    }
    let free = cache::free_space(root)?;
    if free < host.build_space {
        return Err(Error::NoSpace {
            dir: root.to_owned(),
            needed: host.build_space,
            free,
        });
    }
    let log_path = lock.work()?.join("build.log");
    let mut log = Log::create(&log_path, Some(lock.share()?)).context("cannot write", &log_path)?;
    let mut progress = Progress::new(STEPS);
    let built = build_in(host, &lock, &mut log, &mut progress);
    built.map_err(|mut error| {
        let kept = lock.keep_log(log.path());
        if let Error::Run(run) = &mut error {
            run.log = kept;
        }
        error
    })
}

fn build_in(
    host: &Host,
    lock: &cache::Locked,
    log: &mut Log,
    progress: &mut Progress,
) -> Result<PathBuf, Error> {
    let work = lock.work()?;
    let source = source::provide(host, work, log, progress)?;
    source::substitute(&source.tree, recipe::SUBSTITUTIONS)?;
    let facts = build::build(host, &source.tree, log, progress)?;
    progress.step(6, "installing");
    let staged = work.join("prefix");
    install::install(&source, &facts, &staged)?;
    progress.step(7, "trying it: a program that writes and reads a block");
    smoke::run(host, &staged, work, log, progress)?;
    let prefix = lock.publish(&staged, &recipe::prefix_name())?;
    progress.end();
    Ok(prefix)
}

fn must_be_debian(host: &Host) -> Result<(), Error> {
    let path = host.at("/etc/os-release");
    let Ok(text) = std::fs::read_to_string(&path) else {
        return Err(Error::NotDebian {
            found: format!("there is no {}", path.display()),
        });
    };
    let field = |name: &str| {
        text.lines()
            .find_map(|l| Some(l.strip_prefix(name)?.strip_prefix('=')?.trim_matches('"')))
    };
    match field("ID") {
        Some("debian") => Ok(()),
        id => Err(Error::NotDebian {
            found: field("PRETTY_NAME").or(id).unwrap_or("unknown").to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
