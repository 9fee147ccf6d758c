//! D9: safe code can't make a descriptor of a pointer.
use std::ffi::c_void;

use spdk_safe::prelude::*;

fn misuse(raw: *mut c_void) -> BdevDesc {
    std::mem::transmute(raw)
}

fn main() {}
