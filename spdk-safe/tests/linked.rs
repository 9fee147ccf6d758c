//! A Rust module in a C application: `examples/linked_module.rs` as a static library, and `tests/linked/app.c`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

/// The linked C program.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("linked-app");
        link(&path);
        path
    })
}

/// Builds the library, and links the program with it, by what Cargo and the build script of `spdk-sys` say.
fn link(program: &Path) {
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--example",
            "linked_module",
            "--message-format=json",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let messages: Vec<Value> = String::from_utf8_lossy(&built.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let library = messages
        .iter()
        .find(|message| {
            message["reason"] == "compiler-artifact" && message["target"]["name"] == "linked_module"
        })
        .and_then(|message| message["filenames"][0].as_str())
        .expect("the static library");
    let sys = messages
        .iter()
        .find(|message| {
            let package = message["package_id"].as_str().unwrap_or_default();
            message["reason"] == "build-script-executed" && package.contains("spdk-sys")
        })
        .expect("what the build script of spdk-sys says");
    // What it says to dependents is in a file beside its output folder.
    let out_dir = Path::new(sys["out_dir"].as_str().unwrap());
    let said = std::fs::read_to_string(out_dir.with_file_name("output")).unwrap();
    let include = said
        .lines()
        .find_map(|line| line.strip_prefix("cargo::metadata=include="))
        .unwrap();

    let mut cc = Command::new("cc");
    cc.arg("tests/linked/app.c")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["-Wall", "-o"])
        .arg(program)
        .arg(format!("-I{include}"));
    for path in strings(&sys["linked_paths"]) {
        cc.arg(format!("-L{}", path.trim_start_matches("native=")));
    }
    let libs = strings(&sys["linked_libs"]);
    let of = |kind: &'static str| libs.iter().filter_map(move |lib| lib.strip_prefix(kind));
    cc.args(["-Wl,--whole-archive", library]);
    cc.args(of("static:+whole-archive,-bundle=").map(|name| format!("-l:lib{name}.a")));
    cc.arg("-Wl,--no-whole-archive");
    cc.args(of("static:-bundle=").map(|name| format!("-l:lib{name}.a")));
    cc.args(of("dylib=").map(|name| format!("-l{name}")));
    cc.args(["-lpthread", "-ldl", "-lm", "-lrt", "-lgcc_s"]);
    let linked = cc.output().unwrap();
    assert!(
        linked.status.success(),
        "{}",
        String::from_utf8_lossy(&linked.stderr)
    );
}

fn strings(value: &Value) -> Vec<&str> {
    let values = value.as_array().map(Vec::as_slice).unwrap_or_default();
    values.iter().filter_map(Value::as_str).collect()
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
