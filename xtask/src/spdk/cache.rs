//! The folder that prefixes are built in and for: one builder at a time, nothing half-done to be seen.
//!
//! ```text
//! ~/.cache/spdk-sys/
//!     lock                    held while building, and by every program of a build; empty
//!     lock-holder             the process id of who builds
//!     tmp-<pid>/              the build; left over if it was killed, and removed by the next
//!     failed.log              of the last build that failed
//!     spdk-20.07-r1-x86_64/   renamed into place when it is complete
//! ```

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::error::{Context, Error};
use crate::locate::COMPLETE_MARKER;

const FAILED_LOG: &str = "failed.log";

/// The cache, locked: we are the only builder.
#[derive(Debug)]
pub(crate) struct Locked {
    root: PathBuf,
    file: File,
    work: PathBuf,
}

impl Locked {
    /// Takes the lock, and removes what an interrupted build left.
    ///
    /// `waiting` is called again and again while another builder has the lock, with its process id.
    pub(crate) fn take(root: &Path, waiting: &mut dyn FnMut(&str)) -> Result<Self, Error> {
        std::fs::create_dir_all(root).context("cannot create", root)?;
        let path = root.join("lock");
        // Empty, and it stays so: programs of a build have it as their input.
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .context("cannot open", &path)?;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let holder =
                        std::fs::read_to_string(root.join("lock-holder")).unwrap_or_default();
                    waiting(holder.trim());
                    std::thread::sleep(Duration::from_millis(200));
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(std::io::Error::from(e)).context("cannot lock", &path),
            }
        }
        let holder = root.join("lock-holder");
        File::create(&holder)
            .and_then(|mut f| writeln!(f, "{}", std::process::id()))
            .context("cannot write", &holder)?;
        let locked = Self {
            root: root.to_owned(),
            file,
            work: root.join(format!("tmp-{}", std::process::id())),
        };
        locked.remove_leftovers();
        Ok(locked)
    }

    /// A new, empty folder to build in, on the same file system as the prefixes.
    pub(crate) fn work(&self) -> Result<&Path, Error> {
        std::fs::create_dir_all(&self.work).context("cannot create", &self.work)?;
        Ok(&self.work)
    }

    /// The lock file again, for programs to hold it too.
    pub(crate) fn share(&self) -> Result<File, Error> {
        self.file
            .try_clone()
            .context("cannot share", &self.root.join("lock"))
    }

    /// Marks `staged` as complete and makes it visible as `name`, in place of an older one.
    pub(crate) fn publish(&self, staged: &Path, name: &str) -> Result<PathBuf, Error> {
        let marker = staged.join(COMPLETE_MARKER);
        std::fs::write(&marker, "").context("cannot write", &marker)?;
        let prefix = self.root.join(name);
        let old = self.work()?.join("replaced");
        match std::fs::rename(&prefix, &old) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).context("cannot replace", &prefix);
            }
            _ => {}
        }
        std::fs::rename(staged, &prefix).context("cannot create", &prefix)?;
        let _ = std::fs::remove_file(self.root.join(FAILED_LOG));
        Ok(prefix)
    }

    /// Keeps the log of a build that failed; returns where.
    pub(crate) fn keep_log(&self, log: &Path) -> PathBuf {
        let kept = self.root.join(FAILED_LOG);
        match std::fs::rename(log, &kept) {
            Ok(()) => kept,
            Err(_) => log.to_owned(),
        }
    }

    fn remove_leftovers(&self) {
        for entry in std::fs::read_dir(&self.root)
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.file_name().to_string_lossy().starts_with("tmp-") {
                // What can't be removed now is in nobody's way, and the next builder tries again.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.work);
        let _ = std::fs::remove_file(self.root.join("lock-holder"));
    }
}

/// Bytes that this user may still write below `dir`.
pub(crate) fn free_space(dir: &Path) -> Result<u64, Error> {
    let stat = rustix::fs::statvfs(dir)
        .map_err(std::io::Error::from)
        .context("cannot read the free space of", dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests;
