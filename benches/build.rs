//! Compiles the C loop and the floor against the SPDK that `spdk-sys` found.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=csrc");
    if std::env::var_os("CARGO_FEATURE_SPDK").is_none() {
        return ExitCode::SUCCESS;
    }
    // For what a table says about where it was measured.
    println!(
        "cargo::rustc-env=BENCH_RUSTC={}",
        first_line(std::env::var("RUSTC").unwrap_or("rustc".into()))
    );
    println!(
        "cargo::rustc-env=BENCH_CC={}",
        first_line(cc::Build::new().get_compiler().path())
    );
    let Some(include) = std::env::var_os("DEP_SPDK_INCLUDE") else {
        println!("cargo::error=spdk-sys did not say where SPDK's headers are (DEP_SPDK_INCLUDE)");
        return ExitCode::FAILURE;
    };
    let result = cc::Build::new()
        .files([
            "csrc/client.c",
            "csrc/clock.c",
            "csrc/context.c",
            "csrc/count.c",
            "csrc/floor.c",
        ])
        .include(Path::new(&include))
        .std("gnu11")
        // `cc` turns it on with debug information, which costs the rival five instructions per I/O.
        .force_frame_pointer(false)
        // SPDK's own headers are not free of warnings under a newer compiler.
        .flag_if_supported("-Wno-unused-parameter")
        .flag_if_supported("-Werror=implicit-function-declaration")
        .flag_if_supported("-Werror=incompatible-pointer-types")
        .try_compile("bench_client");
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error=the C client: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a compiler says it is.
fn first_line(program: impl AsRef<std::ffi::OsStr>) -> String {
    let output = std::process::Command::new(program)
        .arg("--version")
        .output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().next().unwrap_or("unknown").to_owned()
}
