//! Fetches the source package from Debian's archive, by apt, which checks the signatures.
//!
//! The mirror is the one in the machine's own apt sources. Lists and caches are private: nothing of the
//! machine's apt is changed, and none of it needs root.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::{Context, Error};
use super::recipe::SOURCE_PACKAGE;
use crate::host::Host;
use crate::progress::Progress;
use crate::run::{Log, RunError};

/// Debian's keys, where Debian's own package has them.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// Why one suite of one mirror gave nothing.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What apt-get said.
    pub(crate) why: String,
    /// The mirror could not be reached, so its other suites can't be either.
    pub(crate) unreachable: bool,
}

/// The URIs of Debian's main archive in the apt sources below `etc_apt`, in order, each once.
pub(crate) fn archives(etc_apt: &Path) -> Result<Vec<String>, Error> {
    let mut files = vec![etc_apt.join("sources.list")];
    let mut parts: Vec<PathBuf> = match std::fs::read_dir(etc_apt.join("sources.list.d")) {
        Ok(entries) => entries.flatten().map(|e| e.path()).collect(),
        Err(_) => Vec::new(),
    };
    parts.sort();
    files.extend(parts);

    let mut uris: Vec<String> = Vec::new();
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        let entries = match file.extension().and_then(|e| e.to_str()) {
            Some("sources") => deb822(&text),
            Some("list") => one_line(&text),
            _ => continue,
        };
        for entry in entries.into_iter().filter(Entry::is_debian) {
            for uri in entry.uris {
                let uri = uri.trim_end_matches('/').to_owned();
                if is_main_archive(&uri) && !uris.contains(&uri) {
                    uris.push(uri);
                }
            }
        }
    }
    match uris.is_empty() {
        true => Err(Error::NoArchive {
            etc_apt: etc_apt.to_owned(),
        }),
        false => Ok(uris),
    }
}

/// One entry of the apt sources, in either format.
#[derive(Debug, Default)]
struct Entry {
    uris: Vec<String>,
    components: Vec<String>,
    disabled: bool,
}

impl Entry {
    /// Whether it may be an entry of Debian's own. (Whether it is, the signature tells.)
    fn is_debian(&self) -> bool {
        !self.disabled && self.components.iter().any(|c| c == "main")
    }
}

/// `.../debian`, or `mirror+file:/etc/apt/mirrors/debian.list`; not `debian-security` or a disc.
fn is_main_archive(uri: &str) -> bool {
    let name = uri.rsplit('/').next().unwrap_or_default();
    (name == "debian" || name == "debian.list") && !uri.starts_with("cdrom:")
}

/// Stanzas of `Field: value` lines; a line that begins with a space goes on with the field before.
fn deb822(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut entry = Entry::default();
    let mut field = String::new();
    // A blank line ends a stanza, and so does the end.
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            entries.push(std::mem::take(&mut entry));
            continue;
        }
        let value = match line.split_once(':') {
            Some((name, value)) if !line.starts_with([' ', '\t']) => {
                field = name.trim().to_ascii_lowercase();
                value
            }
            _ => line,
        };
        let words = value.split_whitespace().map(String::from);
        match field.as_str() {
            "uris" => entry.uris.extend(words),
            "components" => entry.components.extend(words),
            "enabled" => entry.disabled = matches!(value.trim(), "no" | "false" | "0"),
            _ => {}
        }
    }
    entries
}

/// `deb [options] uri suite component...`
fn one_line(text: &str) -> Vec<Entry> {
    let parse = |line: &str| {
        let line = line.split('#').next()?.trim();
        let rest = line
            .strip_prefix("deb-src")
            .or_else(|| line.strip_prefix("deb"))?;
        let rest = match rest.trim_start().strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => rest,
        };
        let mut words = rest.split_whitespace().map(String::from);
        Some(Entry {
            uris: vec![words.next()?],
            components: words.skip(1).collect(),
            disabled: false,
        })
    };
    text.lines().filter_map(parse).collect()
}

/// Fetches the upstream tarball of the source package from one suite of one mirror into `work`.
///
/// The tarball alone: a suite's `.dsc` may be gone while its tarball is there.
pub(crate) fn fetch(
    host: &Host,
    (mirror, suite): (&str, &str),
    work: &Path,
    log: &mut Log,
    progress: &mut Progress,
) -> Result<Result<PathBuf, Refusal>, Error> {
    let apt = Private::new(host, mirror, suite, work)?;
    let refusal = |e: RunError, text: &str| Ok(Err(refusal(&e, text)));

    progress.count("(package lists)");
    if let Err(e) = log.run("apt-get update", apt.get("update").arg("-q"), &mut |_| {
        progress.tick()
    }) {
        let said = e.tail.join("\n");
        return refusal(e, &said);
    }
    let mut ask = apt.get("source");
    ask.args(["--print-uris", "--tar-only", SOURCE_PACKAGE]);
    let uris = match log.run("apt-get source --print-uris", &mut ask, &mut |_| {
        progress.tick()
    }) {
        Ok(text) => text,
        Err(e) => {
            let said = e.tail.join("\n");
            return refusal(e, &said);
        }
    };
    // 'uri' name size checksum
    let uri_line = uris
        .lines()
        .filter(|l| l.starts_with('\''))
        .find(|l| l.contains(".orig.tar."));
    let words: Vec<_> = uri_line.unwrap_or_default().split_whitespace().collect();
    let [_, name, size, ..] = words[..] else {
        let why = format!("it has no {SOURCE_PACKAGE} sources");
        return Ok(Err(Refusal {
            why,
            unreachable: false,
        }));
    };
    let (file, size) = (apt.dir.join(name), size.parse::<u64>().unwrap_or(0));

    let mut get = apt.get("source");
    get.args(["-q", "--download-only", "--tar-only", SOURCE_PACKAGE]);
    let downloaded = log.run("apt-get source", &mut get, &mut |_| {
        let have = file.metadata().map_or(0, |m| m.len());
        progress.count(format!("{} of {} MB", have / 1_000_000, size / 1_000_000));
    });
    match downloaded {
        Ok(_) => Ok(Ok(file)),
        Err(e) => {
            let said = e.tail.join("\n");
            refusal(e, &said)
        }
    }
}

/// An apt that uses one `deb-src` line and folders of its own.
struct Private<'a> {
    host: &'a Host,
    /// Lists, caches and what is fetched.
    dir: PathBuf,
}

impl<'a> Private<'a> {
    fn new(host: &'a Host, mirror: &str, suite: &str, work: &Path) -> Result<Self, Error> {
        let dir = work.join("apt");
        match std::fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).context("cannot empty", &dir);
            }
            _ => {}
        }
        for sub in ["lists/partial", "cache/archives/partial"] {
            let sub = dir.join(sub);
            std::fs::create_dir_all(&sub).context("cannot create", &sub)?;
        }
        let keyring = KEYRINGS.iter().find(|k| host.at(k).is_file());
        let options = keyring.map_or(String::new(), |k| {
            format!("[signed-by={}] ", host.at(k).display())
        });
        let list = dir.join("sources.list");
        let line = format!("deb-src {options}{mirror} {suite} main\n");
        std::fs::write(&list, line).context("cannot write", &list)?;
        Ok(Self { host, dir })
    }

    fn get(&self, verb: &str) -> Command {
        let at = |name: &str| self.dir.join(name).display().to_string();
        let mut command = self.host.clean_command("apt-get", &self.dir);
        let options = [
            format!("Dir::Etc::SourceList={}", at("sources.list")),
            "Dir::Etc::SourceParts=-".to_owned(),
            format!("Dir::State::Lists={}", at("lists")),
            format!("Dir::Cache={}", at("cache")),
            // The folder is the user's, or below root's home: apt's own user has no business there.
            "APT::Sandbox::User=".to_owned(),
            // Else a list that can't be had is a warning, and the status is 0.
            "APT::Update::Error-Mode=any".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=1".to_owned(),
            "Acquire::http::Timeout=30".to_owned(),
            "Acquire::https::Timeout=30".to_owned(),
        ];
        for option in options {
            command.args(["-o", &option]);
        }
        command.current_dir(&self.dir).arg(verb);
        command
    }
}

/// Boils down what apt-get printed.
fn refusal(error: &RunError, said: &str) -> Refusal {
    const UNREACHABLE: [&str; 9] = [
        "Could not connect",
        "Unable to connect",
        "Cannot initiate the connection",
        "Could not resolve",
        "Temporary failure resolving",
        "Connection failed",
        "Connection refused",
        "timed out",
        "Network is unreachable",
    ];
    let errors: Vec<_> = said
        .lines()
        .filter_map(|l| l.strip_prefix("E: "))
        .map(str::trim)
        .collect();
    let why = match errors.first() {
        Some(first) => (*first).to_owned(),
        None => error.how.clone(),
    };
    let unreachable = UNREACHABLE.iter().any(|text| why.contains(text));
    Refusal { why, unreachable }
}

#[cfg(test)]
mod tests;
