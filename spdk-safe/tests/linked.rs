//! A Rust module in a C application: `examples/linked_module.rs` as a static library, and `tests/linked/app.c`.

#[path = "linked/link.rs"]
mod link;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The linked C program.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("linked-app");
        let build = [
            "build",
            "--example",
            "linked_module",
            "--message-format=json",
        ];
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        link::link(
            top,
            &build,
            "linked_module",
            &top.join("tests/linked/app.c"),
            &path,
        );
        path
    })
}

/// Runs the program, and says what it printed, line by line.
fn run(variable: Option<&str>) -> (Output, Vec<String>) {
    let mut program = Command::new("timeout");
    program.args(["-k", "5", "100"]).arg(self::program());
    if let Some(variable) = variable {
        program.env(variable, "1");
    }
    let output = program.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let ours = [
        "init", "main", "examined", "linked0", "fini", "exit", "ended",
    ];
    let said = said
        .lines()
        .filter(|line| ours.iter().any(|start| line.starts_with(start)))
        .map(str::to_owned)
        .collect();
    (output, said)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_linked_module_works_in_a_c_application() {
    let (output, said) = run(None);
    assert_eq!(
        said,
        [
            "init: 42",
            "examined linked0: true",
            "main",
            "linked0 of linked: written",
            "fini_start",
            "exit hook",
            "fini",
            "ended: 0"
        ],
        "{}",
        stderr(&output)
    );
    // Its lines are lines of SPDK's log.
    let stderr = stderr(&output);
    for line in [
        ":rust: *NOTICE*: the module starts, 100%",
        ":linked_module: *WARNING*: the module ends, 100%",
    ] {
        let found = stderr.lines().find(|said| said.ends_with(line));
        let found = found.unwrap_or_else(|| panic!("{line}{stderr}"));
        assert!(found.contains("linked_module.rs: "), "{found}");
    }
}

#[test]
fn an_init_that_fails_at_once_ends_the_start_of_a_c_application() {
    let (output, said) = run(Some("LINKED_FAILS"));
    let stderr = stderr(&output);
    assert!(
        said.last().unwrap().starts_with("ended: "),
        "{said:?}\n{stderr}"
    );
    assert_ne!(said.last().unwrap(), "ended: 0");
    assert!(!said.contains(&"main".into()), "{said:?}");
    assert!(
        stderr.contains(r#"bdev module "linked" could not start: told to fail"#),
        "{stderr}"
    );
}

#[test]
fn an_init_that_fails_later_is_logged_and_a_c_application_goes_on_without_it() {
    let (output, said) = run(Some("LINKED_FAILS_LATER"));
    let stderr = stderr(&output);
    assert_eq!(
        said,
        ["init: 42", "main", "exit hook", "ended: 0"],
        "{stderr}"
    );
    assert!(
        stderr.contains(r#"bdev module "linked" could not start: told to fail later"#),
        "{stderr}"
    );
}
