//! Compiles the C loop against the SPDK that `spdk-sys` found.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=csrc");
    if std::env::var_os("CARGO_FEATURE_SPDK").is_none() {
        return ExitCode::SUCCESS;
    }
    let Some(include) = std::env::var_os("DEP_SPDK_INCLUDE") else {
        println!("cargo::error=spdk-sys did not say where SPDK's headers are (DEP_SPDK_INCLUDE)");
        return ExitCode::FAILURE;
    };
    let result = cc::Build::new()
        .files(["csrc/client.c", "csrc/clock.c", "csrc/count.c"])
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
