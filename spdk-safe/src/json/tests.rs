//! On SPDK's own writer, which needs no running SPDK.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use serde_json::{Value, json};

use super::*;

unsafe extern "C" fn append(ctx: *mut c_void, data: *const c_void, size: usize) -> c_int {
    if size != 0 {
        // SAFETY: `written` passes a vector that lives until the writer has ended.
        let text = unsafe { &mut *ctx.cast::<Vec<u8>>() };
        // SAFETY: SPDK passes `size` bytes.
        text.extend_from_slice(unsafe { std::slice::from_raw_parts(data.cast(), size) });
    }
    0
}

/// What `fill` makes of an object.
fn written(fill: impl FnOnce(&mut Object<'_>)) -> Value {
    let mut text = Vec::<u8>::new();
    let ctx = (&raw mut text).cast();
    // SAFETY: `text` outlives the writer.
    let writer = unsafe { spdk_sys::spdk_json_write_begin(Some(append), ctx, 0) };
    let writer = NonNull::new(writer).unwrap();
    // SAFETY: the writer is there, and nothing was written yet.
    unsafe { spdk_sys::spdk_json_write_object_begin(writer.as_ptr()) };
    // SAFETY: the writer stands in an object, and is not used by others meanwhile.
    fill(&mut unsafe { Object::from_raw(writer) });
    // SAFETY: as before.
    unsafe { spdk_sys::spdk_json_write_object_end(writer.as_ptr()) };
    // SAFETY: the writer is not used again.
    assert_eq!(unsafe { spdk_sys::spdk_json_write_end(writer.as_ptr()) }, 0);
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn objects_and_arrays_are_whole() {
    let json = written(|object| {
        object.named("number", &u64::MAX).unwrap();
        object.named("na\"me\u{1F980}", "te\0xt\u{1F980}").unwrap();
        object
            .array("calls", |array| {
                array.value(&Call {
                    method: "m",
                    params: json!({"a": [1, 2]}),
                })?;
                array.object(|object| object.named("x", &None::<u8>))?;
                array.array(|array| array.value(&1.5))
            })
            .unwrap();
        object.object("empty", |_| Ok(())).unwrap();
    });
    assert_eq!(
        json,
        json!({
            "number": u64::MAX, "na\"me\u{1F980}": "te\0xt\u{1F980}",
            "calls": [{"method": "m", "params": {"a": [1, 2]}}, {"x": null}, [1.5]],
            "empty": {},
        })
    );
}

#[test]
fn what_fails_leaves_the_rest_readable() {
    let json = written(|object| {
        let no_json = BTreeMap::from([((1, 2), 3)]);
        object.named("bad", &no_json).unwrap_err();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            object.object("half", |inner| {
                inner.named("a", &1)?;
                panic!("on purpose")
            })
        }));
        assert!(panicked.is_err());
        object.named("after", &2).unwrap();
    });
    assert_eq!(json, json!({"half": {"a": 1}, "after": 2}));
}
