//! Runs the programs of a set-up, with all they print in a log and an eye on how far they are.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Lines of the log that an error shows.
const TAIL: usize = 15;
/// Lines further up that an error shows if they look like the cause.
const CAUSES: usize = 5;

/// A program of a set-up that did not do its work.
#[derive(Debug, thiserror::Error)]
#[error("{what} failed ({how}).\nThe last lines of its log:\n{}\nAll of it: {}", indent(.tail), .log.display())]
pub(crate) struct RunError {
    /// The step.
    pub(crate) what: String,
    /// The program and its status, or why it could not be started.
    pub(crate) how: String,
    /// The end of what it printed.
    pub(crate) tail: Vec<String>,
    /// The log.
    pub(crate) log: PathBuf,
}

fn indent(lines: &[String]) -> String {
    lines
        .iter()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The log that programs write to, and the input they get.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    /// Standard input of every program. It is the lock file, which is empty: should we be killed and a
    /// program live on, then the lock lives on with it, and nobody pulls the folder from under it.
    stdin: Option<File>,
}

impl Log {
    /// Begins a log at `path`.
    pub(crate) fn create(path: &Path, stdin: Option<File>) -> std::io::Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .read(true)
            .open(path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            stdin,
        })
    }

    /// Where the log is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `command` to its end. `watch` gets each new piece of output, whole lines, about ten times a
    /// second, and an empty one when there is nothing new. Returns all that the command printed.
    ///
    /// # Errors
    /// The command could not be started, or its status is not 0.
    pub(crate) fn run(
        &mut self,
        what: &str,
        command: &mut Command,
        watch: &mut dyn FnMut(&str),
    ) -> Result<String, RunError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let fail = |how: String, text: &str, path: &Path| {
            let tail = telling_lines(text);
            RunError {
                what: what.to_owned(),
                how,
                tail,
                log: path.to_owned(),
            }
        };
        let io = |e: std::io::Error| fail(format!("{program}: {e}"), "", &self.path);

        let mut reader = File::open(&self.path).map_err(io)?;
        let mut seen = reader.seek(SeekFrom::End(0)).map_err(io)?;
        let stdin = match &self.stdin {
            Some(file) => Stdio::from(file.try_clone().map_err(io)?),
            None => Stdio::null(),
        };
        command.stdin(stdin);
        command.stdout(self.file.try_clone().map_err(io)?);
        command.stderr(self.file.try_clone().map_err(io)?);
        let mut child = command.spawn().map_err(io)?;

        let mut text = String::new();
        let mut rest = Vec::new();
        let mut pause = Duration::from_millis(5);
        let status = loop {
            let status = child.try_wait().map_err(io)?;
            let mut new = std::mem::take(&mut rest);
            reader.seek(SeekFrom::Start(seen)).map_err(io)?;
            seen += reader.read_to_end(&mut new).map_err(io)? as u64;
            if status.is_none() {
                rest = new.split_off(new.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1));
            }
            let lines = String::from_utf8_lossy(&new);
            watch(&lines);
            text.push_str(&lines);
            if let Some(status) = status {
                break status;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        };
        match status.success() {
            true => Ok(text),
            false => Err(fail(format!("{program}: {status}"), &text, &self.path)),
        }
    }
}

/// The last lines, after those further up that look like the cause: builds run several programs at once, and
/// some programs end an error with a page of usage.
fn telling_lines(text: &str) -> Vec<String> {
    const SIGNS: [&str; 5] = ["error:", "ERROR", "EAL: ", "E: ", "*** "];
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let (before, last) = lines.split_at(lines.len().saturating_sub(TAIL));
    let is_cause = |line: &&&str| SIGNS.iter().any(|sign| line.contains(sign));
    let mut telling: Vec<String> = before
        .iter()
        .filter(is_cause)
        .take(CAUSES)
        .map(|l| (*l).to_owned())
        .collect();
    if !telling.is_empty() {
        telling.push("[...]".to_owned());
    }
    telling.extend(last.iter().map(|l| (*l).to_owned()));
    telling
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_the_last_lines_and_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::create(&dir.path().join("log"), None).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "seq 1 40; echo oh no >&2; exit 3"]);
        let error = log
            .run("counting", &mut command, &mut |_| {})
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("counting failed (sh: exit status: 3)"),
            "{error}"
        );
        assert!(error.contains("    oh no\n"), "{error}");
        assert!(
            error.contains("    27\n") && !error.contains("    26\n"),
            "15 lines: {error}"
        );
        assert!(
            error.contains(&dir.path().join("log").display().to_string()),
            "{error}"
        );
    }

    #[test]
    fn a_cause_further_up_is_shown_too() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::create(&dir.path().join("log"), None).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo fine; echo 'x.c:1: error: no'; seq 1 40; exit 1"]);
        let error = log.run("x", &mut command, &mut |_| {}).unwrap_err();
        assert_eq!(error.tail[..2], ["x.c:1: error: no", "[...]"]);
        assert_eq!(error.tail.len(), TAIL + 2);
    }

    #[test]
    fn watching_sees_whole_lines_while_the_program_runs_and_text_is_its_own_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::create(&dir.path().join("log"), None).unwrap();
        log.run("before", Command::new("echo").arg("earlier"), &mut |_| {})
            .unwrap();
        let mut pieces = String::new();
        let mut command = Command::new("sh");
        command.args(["-c", "printf 'a\\nb'; sleep 0.3; echo c"]);
        let text = log
            .run("now", &mut command, &mut |new| {
                assert!(new.is_empty() || new.ends_with('\n'), "{new:?}");
                pieces.push_str(new);
            })
            .unwrap();
        assert_eq!(text, "a\nbc\n");
        assert_eq!(pieces, text);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::create(&dir.path().join("log"), None).unwrap();
        let error = log
            .run("x", &mut Command::new("/no/such"), &mut |_| {})
            .unwrap_err();
        assert!(error.how.contains("/no/such"), "{error}");
    }
}
