//! The sources: from one suite after the other until one gives what the recipe is for, unpacked and changed.

use std::path::{Path, PathBuf};

use super::apt::{self, Refusal};
use super::error::{Context, Error};
use super::recipe::{self, SOURCE_PACKAGE, Substitution};
use crate::host::Host;
use crate::locate::Version;
use crate::progress::Progress;
use crate::run::Log;

/// SPDK's sources, ready to be built.
#[derive(Debug)]
pub(crate) struct Source {
    /// Top of the tree.
    pub(crate) tree: PathBuf,
    /// The tarball's name and the suite it is of.
    pub(crate) from: String,
}

/// Fetches and unpacks the sources below `work`.
///
/// # Errors
/// [`Error::NoNetwork`] and [`Error::NoSource`] have every suite's reason.
pub(crate) fn provide(
    host: &Host,
    work: &Path,
    log: &mut Log,
    progress: &mut Progress,
) -> Result<Source, Error> {
    let mut reasons = Vec::new();
    let mut all_unreachable = true;
    for mirror in apt::archives(&host.at("/etc/apt"))? {
        for suite in recipe::SUITES {
            progress.step(1, format!("fetching SPDK's sources from Debian {suite}"));
            let refusal = match apt::fetch(host, (&mirror, suite), work, log, progress)? {
                Ok(tarball) => {
                    progress.step(2, "unpacking the sources");
                    match unpack(host, &tarball, work, log, progress)? {
                        Ok(tree) => {
                            let name = tarball.file_name().unwrap_or_default().to_string_lossy();
                            let from = format!("{name} of Debian {suite}");
                            std::fs::remove_file(&tarball).context("cannot remove", &tarball)?;
                            return Ok(Source { tree, from });
                        }
                        Err(refusal) => refusal,
                    }
                }
                Err(refusal) => refusal,
            };
            reasons.push((format!("{suite} ({mirror})"), refusal.why));
            all_unreachable &= refusal.unreachable;
            if refusal.unreachable {
                break;
            }
        }
    }
    Err(match all_unreachable {
        true => Error::NoNetwork { reasons },
        false => Error::NoSource {
            version: recipe::VERSION,
            reasons,
        },
    })
}

/// Unpacks `src/spdk` alone, and sees what SPDK it is.
fn unpack(
    host: &Host,
    tarball: &Path,
    work: &Path,
    log: &mut Log,
    progress: &mut Progress,
) -> Result<Result<PathBuf, Refusal>, Error> {
    let dir = work.join("source");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).context("cannot create", &dir)?;
    let mut tar = host.clean_command("tar", work);
    tar.args([
        "--extract",
        "--xz",
        "--no-same-owner",
        "--wildcards",
        "--strip-components=2",
    ]);
    tar.arg("--file")
        .arg(tarball)
        .arg("--directory")
        .arg(&dir)
        .arg("*/src/spdk/*");
    let refuse = |why: String| {
        Ok(Err(Refusal {
            why,
            unreachable: false,
        }))
    };
    if let Err(e) = log.run("unpacking", &mut tar, &mut |_| progress.tick()) {
        return refuse(format!(
            "src/spdk of {SOURCE_PACKAGE} can't be unpacked: {}",
            e.tail.join(" ")
        ));
    }
    let tree = dir.join("spdk");
    let header = tree.join("include/spdk/version.h");
    match std::fs::read_to_string(&header).map(|text| Version::parse_header(&text)) {
        Ok(Ok(version)) if version == recipe::VERSION => Ok(Ok(tree)),
        Ok(Ok(other)) => refuse(format!(
            "its {SOURCE_PACKAGE} carries SPDK {other}, not {}",
            recipe::VERSION
        )),
        Ok(Err(_)) | Err(_) => refuse(format!("its {SOURCE_PACKAGE} carries no SPDK that we know")),
    }
}

/// Applies every substitution to the tree.
///
/// # Errors
/// [`Error::Substitution`] if a text is not there exactly once.
pub(crate) fn substitute(tree: &Path, substitutions: &[Substitution]) -> Result<(), Error> {
    for change in substitutions {
        let file = tree.join(change.file);
        let text = std::fs::read_to_string(&file).context("cannot read", &file)?;
        let found = text.matches(change.find).count();
        if found != 1 {
            return Err(Error::Substitution {
                file,
                find: change.find.to_owned(),
                found,
            });
        }
        let text = text.replacen(change.find, change.replace, 1);
        std::fs::write(&file, text).context("cannot write", &file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGE: Substitution = Substitution {
        file: "a.c",
        find: "one\n",
        replace: "two\n",
        why: "because",
    };

    fn tree(text: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.c"), text).unwrap();
        dir
    }

    #[test]
    fn a_text_that_is_there_once_is_replaced() {
        let dir = tree("zero\none\n");
        substitute(dir.path(), &[CHANGE]).unwrap();
        assert_eq!(
            std::fs::read_to_string(dir.path().join("a.c")).unwrap(),
            "zero\ntwo\n"
        );
    }

    #[test]
    fn a_text_that_is_not_there_or_there_twice_is_an_error_that_names_file_and_text() {
        for (text, times) in [("zero\n", "0 times"), ("one\none\n", "2 times")] {
            let dir = tree(text);
            let error = substitute(dir.path(), &[CHANGE]).unwrap_err().to_string();
            assert!(
                error.contains("a.c") && error.contains("one\n") && error.contains(times),
                "{error}"
            );
            assert_eq!(
                std::fs::read_to_string(dir.path().join("a.c")).unwrap(),
                text,
                "untouched"
            );
        }
    }

    #[test]
    fn each_substitution_changes_something_and_says_why() {
        for change in recipe::SUBSTITUTIONS {
            assert_ne!(change.find, change.replace);
            assert!(change.why.len() > 40, "{}", change.file);
        }
    }
}
