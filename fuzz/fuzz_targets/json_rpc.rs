//! Any text as the parameters of a method: they are read as `serde_json` alone reads them, but for what is unknown, and
//! what is refused is said in words; needs no SPDK.
//!
//! The file that decodes is compiled as it is, with an error of ours: the one of `spdk-safe` knows SPDK's.
//!
//! `cargo xtask fuzz json_rpc`.

#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[path = "../../spdk-safe/src/rpc/decode.rs"]
#[allow(dead_code, reason = "other files use more of it")]
mod decode;

/// Panics are what is looked for.
mod panic {
    pub(crate) fn contain<T>(_what: &str, body: impl FnOnce() -> T) -> Option<T> {
        Some(body())
    }
}

/// What `decode` makes errors with.
#[derive(Debug)]
pub struct RpcError(Cow<'static, str>);

impl RpcError {
    fn invalid_params(message: impl Into<Cow<'static, str>>) -> Self {
        Self(message.into())
    }

    fn internal(_: impl Into<Cow<'static, str>>) -> Self {
        unreachable!("panics are not contained")
    }
}

/// Parameters with all that those of methods are made of.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Params {
    name: String,
    base_bdevs: Vec<Option<String>>,
    #[serde(default)]
    uuid: Option<String>,
    #[serde(default)]
    superblock: bool,
    #[serde(default)]
    num_blocks: u64,
    #[serde(default)]
    options: Inner,
    #[serde(default)]
    faults: Vec<Inner>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Inner {
    read_policy: Policy,
    window_size_kb: Option<u32>,
    io_timeout_s: Option<f64>,
    action: Action,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Policy {
    #[default]
    LeastLoaded,
    RoundRobin,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    #[default]
    Fail,
    Nvme {
        sct: u8,
        sc: u8,
    },
    DelayPolls(u32),
}

fuzz_target!(|text: &[u8]| {
    let trimmed = text.trim_ascii();
    match decode::decode::<Params>(text) {
        Ok(params) => {
            let plain: Params = serde_json::from_slice(trimmed).expect("it was read");
            assert_eq!(params, plain);
            // Nothing was left unread.
            let given: Map<String, Value> = serde_json::from_slice(trimmed).expect("an object");
            let known = serde_json::to_value(&params).expect("it can be written");
            for name in given.keys() {
                assert!(known.get(name).is_some(), "{name:?} is unknown");
            }
        }
        Err(error) => {
            assert!(!error.0.is_empty());
            // It is refused by serde_json too, or has something that nobody knows; `[...]` is what structs are not.
            let plain = serde_json::from_slice::<Params>(trimmed);
            assert!(
                plain.is_err()
                    || error.0.starts_with("there is no parameter")
                    || trimmed[0] != b'{',
                "{text:?}: {error:?}"
            );
        }
    }
    // What takes none.
    let _ = decode::decode::<()>(text);
    let _ = decode::decode::<Option<Inner>>(text);
});
