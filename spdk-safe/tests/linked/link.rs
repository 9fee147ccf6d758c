//! Links a C program with a static library of ours.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Builds the library, and links the program with it, by what Cargo and the build script of `spdk-sys` say.
///
/// `build` are the arguments for Cargo, in `folder`, that build the target `name`; `source` is the program.
pub(crate) fn link(folder: &Path, build: &[&str], name: &str, source: &Path, program: &Path) {
    let built = Command::new(env!("CARGO"))
        .args(build)
        .current_dir(folder)
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
            message["reason"] == "compiler-artifact" && message["target"]["name"] == name
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
    cc.arg(source)
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
