//! What must not compile, with messages that say what to do instead; and beside it, in `pass.rs`, what must.
//!
//! One mistake a file, named for it; its first line names its row of the list of misuses. After a change of the
//! library: `TRYBUILD=overwrite cargo test -p spdk-safe --test ui`, and read what changed as a user would.

use std::io::Write;
use std::path::Path;
use std::process::Command;

/// The compiler that the messages are of; others word them differently.
const COMPILER: &str = "1.95.";

const TOPICS: [&str; 6] = ["descriptors", "io", "module", "rpc", "threads", "units"];

/// The twins without the mistakes: they only have to compile.
#[expect(dead_code, reason = "nothing is called")]
mod ui {
    #[path = "descriptors/pass.rs"]
    mod descriptors;
    #[path = "io/pass.rs"]
    mod io;
    #[path = "module/pass.rs"]
    mod module;
    #[path = "rpc/pass.rs"]
    mod rpc;
    #[path = "threads/pass.rs"]
    mod threads;
    #[path = "units/pass.rs"]
    mod units;
}

#[test]
fn misuse_does_not_compile() {
    if let Some(why) = other_messages() {
        // Not with `eprintln`, of which a test that passes shows nothing.
        let _ = writeln!(std::io::stderr(), "skipped the compile-fail cases: {why}");
        return;
    }
    let cases = trybuild::TestCases::new();
    for topic in TOPICS {
        let mut found = 0;
        for entry in std::fs::read_dir(format!("tests/ui/{topic}")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ext| ext == "rs") && !path.ends_with("pass.rs") {
                cases.compile_fail(path);
                found += 1;
            }
        }
        assert!(found > 0, "no case in {topic}");
    }
}

/// Why this compiler's messages are not those in the `.stderr` files, if they are not.
fn other_messages() -> Option<String> {
    let version = rustc(&["--version"])?;
    let release = version.split(' ').nth(1).unwrap_or_default();
    if !release.starts_with(COMPILER) || release.contains('-') {
        return Some(format!(
            "their messages are those of rustc {COMPILER}x, and this is {version}"
        ));
    }
    let library = Path::new(&rustc(&["--print", "sysroot"])?).join("lib/rustlib/src/rust/library");
    library.exists().then(|| {
        "their messages quote nothing of std, and this toolchain has the component rust-src".into()
    })
}

/// What rustc answers; `None` leaves its absence to trybuild.
fn rustc(args: &[&str]) -> Option<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(args).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
