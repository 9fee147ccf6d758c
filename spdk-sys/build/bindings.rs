//! bindgen over `csrc/wrapper.h`, and the C shim.

use std::error::Error;

use crate::config::Config;

/// Functions that Rust may call, by concept. Everything else of SPDK stays out of reach until it is needed.
const FUNCTIONS: &[&[&str]] = &[SHIM, APP, THREADS, MEMORY, BDEVS, IO, STATS, MODULES, RPC];

const SHIM: &[&str] = &["spdk_shim_.*"];

const APP: &[&str] = &[
    "spdk_app_(stop|fini|start_shutdown)",
    "spdk_thread_(poll|destroy|lib_fini)",
    "spdk_env_fini",
    "spdk_log_(set_level|get_level|set_print_level|get_print_level|set_flag|clear_flag|get_flag)",
];

const THREADS: &[&str] = &[
    "spdk_[gs]et_thread",
    "spdk_thread_(create|exit|is_exited|send_msg|get_id|get_name|get_by_id|get_count|get_stats)",
    "spdk_cpuset_(alloc|free|set_cpu)",
    "spdk_env_get_(first|next|current)_core",
    "spdk_poller_(register_named|unregister|pause|resume)",
    "spdk_io_device_(register|unregister)",
    "spdk_(get|put)_io_channel",
    "spdk_io_channel_get_thread",
];

const MEMORY: &[&str] = &["spdk_dma_(z?malloc|free)", "spdk_get_ticks(_hz)?"];

/// Bdevs, as a client.
const BDEVS: &[&str] = &[
    "spdk_bdev_(close|desc_get_bdev|get_by_name)",
    "spdk_bdev_get_(io_channel|name|num_blocks|media_events)",
    // For tests, of those who listen.
    "spdk_bdev_(push_media_events|notify_media_management)",
];

const IO: &[&str] = &[
    "spdk_bdev_(read|write|readv|writev|comparev)_blocks(_with_md)?",
    "spdk_bdev_(comparev_and_writev|unmap|write_zeroes|flush)_blocks",
    "spdk_bdev_(abort|zcopy_end|free_io|queue_io_wait)",
    "spdk_bdev_io_get_iovec",
];

/// What SPDK counts about bdevs, and limits.
const STATS: &[&str] = &[
    "spdk_bdev_histogram_enable",
    "spdk_bdev_(get|set)_qos_rate_limits",
    "spdk_bdev_set_timeout",
];

/// Bdevs, as a module.
const MODULES: &[&str] = &[
    "spdk_bdev_module_(list_add|list_find|claim_bdev|release_bdev|init_done|examine_done)",
    "spdk_json_write_val_raw",
    "spdk_bdev_(register|unregister|destruct_done|alias_add|notify_blockcnt_change|get_block_size)",
    "spdk_bdev_io_(complete|complete_nvme_status|get_buf|get_thread)",
];

/// JSON-RPC: methods of ours, and the JSON that goes in and out.
const RPC: &[&str] = &[
    "spdk_rpc_(register_method|is_method_allowed)",
    "spdk_jsonrpc_(begin_result|end_result|send_error_response)",
    "spdk_json_write_(begin|end|val|val_raw|name_raw|(array|object)_(begin|end))",
];

/// Types beyond those that the functions bring along.
const TYPES: &[&str] = &[
    "spdk_bdev_io_status",
    "spdk_bdev_io_type",
    "spdk_log_level",
    "spdk_shim_at",
    "spdk_thread_poller_rc",
];

/// Types whose contents Rust never touches: their layout moves with the version, or bindgen can't express it.
const OPAQUE: &[&str] = &[
    "spdk_bdev",
    "spdk_bdev_io",
    "spdk_nvme_.*",
    "spdk_cpuset",
    "spdk_log_flag",
];

/// Writes `bindings.rs` into the output folder.
pub(crate) fn generate(config: &Config) -> Result<(), Box<dyn Error>> {
    let mut builder = bindgen::Builder::default()
        .header("csrc/wrapper.h")
        .clang_arg(format!("-I{}", config.include.display()))
        .default_enum_style(bindgen::EnumVariation::NewType {
            is_bitfield: false,
            is_global: false,
        })
        .layout_tests(true)
        .derive_default(false)
        .use_core()
        .merge_extern_blocks(true)
        .rust_target(bindgen::RustTarget::stable(85, 0).map_err(|e| e.to_string())?)
        .rust_edition(bindgen::RustEdition::Edition2024)
        // libc's iovec, so that it is the type that everybody else has too.
        .blocklist_type("iovec")
        .raw_line("use libc::iovec;")
        .blocklist_type("_IO_.*")
        .blocklist_type("FILE")
        .raw_line(
            "#[allow(unused_imports, reason = \"a part of some versions' API\")]\nuse libc::FILE;",
        )
        .parse_callbacks(Box::new(
            bindgen::CargoCallbacks::new().rerun_on_header_files(true),
        ));
    for function in FUNCTIONS.iter().copied().flatten() {
        builder = builder.allowlist_function(function);
    }
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    builder = builder.allowlist_var("SPDK_VERSION_(MAJOR|MINOR|PATCH)");
    builder = builder.allowlist_var("SPDK_SHIM_IO_.*");
    // For C alone: it has a va_list.
    builder = builder.blocklist_function("spdk_shim_log_callback");
    for name in OPAQUE {
        builder = builder.opaque_type(name);
    }
    let bindings = builder.generate().map_err(|e| {
        format!(
            "bindgen could not read SPDK {}'s headers in {}: {e}\n\
             If libclang is missing: on Debian, `apt-get install libclang-dev`.",
            config.version,
            config.include.display()
        )
    })?;
    bindings.write_to_file(config.out_dir.join("bindings.rs"))?;
    Ok(())
}

/// Compiles the shim, `csrc/*.c`, against the same headers.
pub(crate) fn compile_shim(config: &Config) -> Result<(), Box<dyn Error>> {
    let mut build = cc::Build::new();
    for entry in std::fs::read_dir("csrc")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "c") {
            build.file(path);
        }
    }
    build
        .include(&config.include)
        .std("gnu11")
        .warnings(true)
        .extra_warnings(false)
        // SPDK's own headers are not free of warnings under a newer compiler.
        .flag_if_supported("-Wno-unused-parameter")
        .flag_if_supported("-Werror=implicit-function-declaration")
        .flag_if_supported("-Werror=incompatible-pointer-types");
    for feature in &config.features {
        // `bdev-malloc` is SPDK_SHIM_BDEV_MALLOC.
        let name = feature.replace('-', "_").to_uppercase();
        build.define(&format!("SPDK_SHIM_{name}"), None);
    }
    // A source tree has the headers of SPDK's bdev modules, which are not installed.
    let modules = config
        .spdk
        .as_ref()
        .and_then(|spdk| spdk.source.as_deref())
        .map(|top| top.join("module"))
        .filter(|modules| modules.join("bdev/malloc/bdev_malloc.h").is_file());
    if let Some(modules) = modules {
        build.include(modules);
        build.define("SPDK_SHIM_HAVE_SOURCE", None);
    }
    build.try_compile("spdk_shim")?;
    Ok(())
}
