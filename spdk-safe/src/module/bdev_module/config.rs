//! What a module writes into the saved configuration.

use std::ffi::{c_int, c_void};

use serde::Serialize;

use super::BdevModule;
use crate::inside;

/// An RPC of a saved configuration: `{"method": ..., "params": {...}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry(Result<String, String>);

impl ConfigEntry {
    /// A call of `method` with `params`: a struct or a map. `()` is none.
    ///
    /// What can't be JSON, such as a map whose keys are lists, is left out of the configuration, and said in the log.
    pub fn new(method: &str, params: impl Serialize) -> Self {
        #[derive(Serialize)]
        struct Call<'a> {
            method: &'a str,
            #[serde(skip_serializing_if = "serde_json::Value::is_null")]
            params: serde_json::Value,
        }
        let text = serde_json::to_value(params)
            .and_then(|params| serde_json::to_string(&Call { method, params }))
            .map_err(|error| format!("{method}: {error}"));
        Self(text)
    }
}

/// Writes what `module` says, as values of the array that `w` is in.
///
/// # Safety
///
/// `w` is a writer of SPDK's inside of an array, for this call.
pub(super) unsafe fn write(
    module: &'static BdevModule,
    w: *mut spdk_sys::spdk_json_write_ctx,
) -> c_int {
    let Some(behaviour) = module.behaviour else {
        return 0;
    };
    let entries = {
        let _inside = inside::enter();
        behaviour.config()
    };
    // SAFETY: by this function's contract.
    unsafe { write_entries(&entries, w, &module.name()) }
}

/// Writes `entries` of `of`, as values of the array that `w` is in.
///
/// # Safety
///
/// As [`write`].
pub(in crate::module) unsafe fn write_entries(
    entries: &[ConfigEntry],
    w: *mut spdk_sys::spdk_json_write_ctx,
    of: &dyn std::fmt::Debug,
) -> c_int {
    let mut result = 0;
    for ConfigEntry(entry) in entries {
        match entry {
            Ok(text) => {
                // SAFETY: by this function's contract; the text is one whole JSON value, and is copied.
                let rc = unsafe {
                    spdk_sys::spdk_json_write_val_raw(w, text.as_ptr().cast::<c_void>(), text.len())
                };
                if rc != 0 {
                    result = -libc::EIO;
                }
            }
            Err(error) => {
                crate::log::error(&format!("left out of the configuration of {of:?}: {error}"));
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_call_with_its_parameters() {
        let entry = ConfigEntry::new("bdev_x_create", serde_json::json!({"name": "a\"b"}));
        let text = r#"{"method":"bdev_x_create","params":{"name":"a\"b"}}"#;
        assert_eq!(entry.0.unwrap(), text);
        assert_eq!(ConfigEntry::new("x", ()).0.unwrap(), r#"{"method":"x"}"#);
        let bad = std::collections::BTreeMap::from([(vec![1], 1)]);
        assert!(ConfigEntry::new("x", bad).0.unwrap_err().starts_with("x: "));
    }
}
