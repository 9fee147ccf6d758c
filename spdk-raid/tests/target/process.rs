//! A target as a process of its own, which never outlives its test.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spdk_safe::rpc::Client;
use tempfile::TempDir;

/// More than any step takes, on a machine where others spin as well.
const PATIENCE: Duration = Duration::from_secs(100);

/// The pools of SPDK's iSCSI target are large.
const MEMORY: &str = if cfg!(feature = "iscsi") {
    "--mem-size=2G"
} else {
    "--mem-size=512"
};

/// One target at a time: each keeps a core busy.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The program with these options, to be started.
pub(crate) fn command(options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spdk-raid-tgt"));
    command.args(options).stdin(Stdio::null());
    command
}

/// Runs the program to its end; what it printed to stderr.
pub(crate) fn fails(options: &[&str], status: i32) -> String {
    let mut target = Target::spawn(command(options));
    assert_eq!(
        target.wait().code(),
        Some(status),
        "{options:?}: {}",
        target.stderr()
    );
    target.stderr()
}

/// A running target.
pub(crate) struct Target {
    child: Child,
    /// What it prints to stdout, line by line.
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
    said: String,
}

impl Target {
    /// As `options` say, without hugepages and PCI, and with a socket in `folder`; waits until it has said so.
    pub(crate) fn start(folder: &TempDir, options: &[&str]) -> (Self, String) {
        let socket = socket(folder);
        let fixed = [
            "--no-huge",
            "--no-pci",
            MEMORY,
            "--disable-cpumask-locks",
            "--silence-noticelog",
            "--rpc-socket",
        ];
        let mut command = command(&fixed);
        command.arg(&socket).args(options);
        let mut target = Self::spawn(command);
        let line = target.line();
        (target, line)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut stderr: ChildStderr = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Self {
            child,
            lines,
            stderr: Some(stderr),
            said: String::new(),
        }
    }

    /// The next line that is its own.
    pub(crate) fn line(&mut self) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.starts_with("spdk-raid-tgt ") => return line,
                Ok(_) => {}
                Err(why) => {
                    let _ = self.child.kill();
                    panic!("no line came ({why}); {}", self.stderr());
                }
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, by its name.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            if Instant::now() > until {
                let _ = self.child.kill();
                panic!("it does not end; {}", self.stderr());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it in order.
    pub(crate) fn end(mut self) {
        self.signal("TERM");
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{status}: {}", self.stderr());
    }

    /// What it printed to stderr, once it has ended.
    pub(crate) fn stderr(&mut self) -> String {
        if let Some(thread) = self.stderr.take() {
            self.said = thread.join().unwrap();
        }
        self.said.clone()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("the target said:\n{}", self.stderr());
        }
    }
}

/// Where a target in `folder` listens.
pub(crate) fn socket(folder: &TempDir) -> PathBuf {
    folder.path().join("rpc.sock")
}

/// A client of the target in `folder`, as soon as it listens.
pub(crate) fn client(folder: &TempDir) -> Client {
    let path = socket(folder);
    let until = Instant::now() + PATIENCE;
    loop {
        match Client::connect(&path) {
            Ok(client) => return client.time_out(PATIENCE),
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Calls and expects a result.
#[track_caller]
pub(crate) fn call(client: &mut Client, method: &str, params: Value) -> Value {
    match client.call(method, &params) {
        Ok(result) => result,
        Err(error) => panic!("{error}"),
    }
}

/// A malloc bdev of 8 MiB.
#[track_caller]
pub(crate) fn malloc(client: &mut Client, name: &str) {
    let params = json!({"name": name, "num_blocks": 16384, "block_size": 512});
    call(client, "bdev_malloc_create", params);
}

/// The last bits of the mode of a file.
pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The umask of a process.
pub(crate) fn umask(id: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("Umask:"));
    line.unwrap().to_owned()
}

/// A mirror of two malloc bdevs.
#[track_caller]
pub(crate) fn array(client: &mut Client, name: &str) {
    for leg in ["leg0", "leg1"] {
        malloc(client, leg);
    }
    let params = json!({"name": name, "raid_level": "raid1", "base_bdevs": ["leg0", "leg1"]});
    call(client, "bdev_rust_raid1_create", params);
}
