//! JSON that SPDK asks modules for: their part of a saved configuration, and what they say about a bdev.
//!
//! C header: `include/spdk/json.h`. SPDK hands out a writer that stands in the middle of a text; what is written into it
//! wrongly makes the whole text unreadable. Here an [`Object`] takes names with values, an [`Array`] takes values, each
//! is anything that is [`Serialize`], and both end by themselves.
//!
//! | here | C |
//! | --- | --- |
//! | [`Object`], [`Array`] | `struct spdk_json_write_ctx` |
//! | [`Object::named`] | `spdk_json_write_named_string`, `_uint64`, `_bool`, ... |
//! | [`Array::value`] | `spdk_json_write_string`, ... |
//! | [`Object::object`], [`Array::object`] | `spdk_json_write_named_object_begin`, `spdk_json_write_object_end` |

use std::marker::PhantomData;
use std::ptr::NonNull;

use serde::Serialize;
use thiserror::Error;

use crate::thread::ThreadBound;

/// Why something was not written; what was written before it stands.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The value has no form in JSON: a map whose keys are no strings, say, or its own code refused.
    #[error("no JSON can be made of the value: {0}")]
    Value(#[from] serde_json::Error),
    /// SPDK has no room for more, or no memory. The whole text is lost.
    #[error("SPDK could not write the JSON")]
    Write,
}

/// An object that SPDK has begun, or that was begun in another one.
#[derive(Debug)]
pub struct Object<'w>(Raw<'w>);

/// An array that SPDK has begun, or that was begun in another one.
#[derive(Debug)]
pub struct Array<'w>(Raw<'w>);

/// A call that a configuration is to make: an entry of a module's part of it.
///
/// ```
/// # use spdk_safe::json::Call;
/// let call = Call { method: "bdev_ramdisk_create", params: serde_json::json!({"name": "disk0"}) };
/// assert_eq!(
///     serde_json::to_string(&call).unwrap(),
///     r#"{"method":"bdev_ramdisk_create","params":{"name":"disk0"}}"#
/// );
/// ```
#[derive(Debug, Clone, Serialize)]
pub struct Call<P> {
    /// The method.
    pub method: &'static str,
    /// Its parameters: an object.
    pub params: P,
}

impl Object<'_> {
    /// The object that SPDK has begun.
    ///
    /// # Safety
    ///
    /// `writer` stands inside of an object and lives, unused by others, for as long as the result.
    #[must_use]
    #[allow(dead_code, reason = "for bdev modules to write with")]
    pub(crate) unsafe fn from_raw<'w>(
        writer: NonNull<spdk_sys::spdk_json_write_ctx>,
    ) -> Object<'w> {
        Object(Raw::new(writer))
    }

    /// Writes `name` and `value`.
    ///
    /// # Errors
    ///
    /// [`WriteError`]. With [`WriteError::Value`] nothing was written.
    pub fn named<T: Serialize + ?Sized>(
        &mut self,
        name: &str,
        value: &T,
    ) -> Result<(), WriteError> {
        let value = serde_json::to_vec(value)?;
        self.0.name(name)?;
        self.0.value(&value)
    }

    /// Writes `name`, and an object that `fill` fills.
    ///
    /// # Errors
    ///
    /// [`WriteError`], also that of `fill`; the object is whole, with what it had got.
    pub fn object(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut Object<'_>) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        self.0.name(name)?;
        self.0.object(fill)
    }

    /// Writes `name`, and an array that `fill` fills.
    ///
    /// # Errors
    ///
    /// As [`object`](Self::object).
    pub fn array(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut Array<'_>) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        self.0.name(name)?;
        self.0.array(fill)
    }
}

impl Array<'_> {
    /// The array that SPDK has begun.
    ///
    /// # Safety
    ///
    /// `writer` stands inside of an array and lives, unused by others, for as long as the result.
    #[must_use]
    #[allow(dead_code, reason = "for bdev modules to write with")]
    pub(crate) unsafe fn from_raw<'w>(writer: NonNull<spdk_sys::spdk_json_write_ctx>) -> Array<'w> {
        Array(Raw::new(writer))
    }

    /// Writes `value`.
    ///
    /// # Errors
    ///
    /// [`WriteError`]. With [`WriteError::Value`] nothing was written.
    pub fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), WriteError> {
        let value = serde_json::to_vec(value)?;
        self.0.value(&value)
    }

    /// Writes an object that `fill` fills.
    ///
    /// # Errors
    ///
    /// As [`Object::object`].
    pub fn object(
        &mut self,
        fill: impl FnOnce(&mut Object<'_>) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        self.0.object(fill)
    }

    /// Writes an array that `fill` fills.
    ///
    /// # Errors
    ///
    /// As [`Object::object`].
    pub fn array(
        &mut self,
        fill: impl FnOnce(&mut Array<'_>) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        self.0.array(fill)
    }
}

/// # Invariants
///
/// The writer lives as long as `'w`, and nobody else uses it meanwhile.
#[derive(Debug)]
struct Raw<'w> {
    writer: NonNull<spdk_sys::spdk_json_write_ctx>,
    _lent: PhantomData<&'w mut ()>,
    _bound: ThreadBound,
}

impl Raw<'_> {
    fn new<'w>(writer: NonNull<spdk_sys::spdk_json_write_ctx>) -> Raw<'w> {
        Raw {
            writer,
            _lent: PhantomData,
            _bound: ThreadBound::new(),
        }
    }

    fn name(&mut self, name: &str) -> Result<(), WriteError> {
        let (text, len) = (name.as_ptr().cast(), name.len());
        // SAFETY: by the type invariant the writer lives; the bytes are copied.
        done(unsafe { spdk_sys::spdk_json_write_name_raw(self.writer.as_ptr(), text, len) })
    }

    fn value(&mut self, json: &[u8]) -> Result<(), WriteError> {
        let (text, len) = (json.as_ptr().cast(), json.len());
        // SAFETY: as in `name`.
        done(unsafe { spdk_sys::spdk_json_write_val_raw(self.writer.as_ptr(), text, len) })
    }

    fn object(
        &mut self,
        fill: impl FnOnce(&mut Object<'_>) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        // SAFETY: as in `name`.
        done(unsafe { spdk_sys::spdk_json_write_object_begin(self.writer.as_ptr()) })?;
        let end = End(self.writer, spdk_sys::spdk_json_write_object_end);
        let filled = fill(&mut Object(Raw::new(self.writer)));
        drop(end);
        filled
    }

    fn array(
        &mut self,
        fill: impl FnOnce(&mut Array<'_>) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        // SAFETY: as in `name`.
        done(unsafe { spdk_sys::spdk_json_write_array_begin(self.writer.as_ptr()) })?;
        let end = End(self.writer, spdk_sys::spdk_json_write_array_end);
        let filled = fill(&mut Array(Raw::new(self.writer)));
        drop(end);
        filled
    }
}

/// Ends an object or an array that was begun, also when a panic goes by.
struct End(
    NonNull<spdk_sys::spdk_json_write_ctx>,
    unsafe extern "C" fn(*mut spdk_sys::spdk_json_write_ctx) -> std::ffi::c_int,
);

impl Drop for End {
    fn drop(&mut self) {
        // SAFETY: made in `Raw::object` and `Raw::array`, where the writer lives, and with what ends that which they
        // began. That it has failed shows in the next call, or at the end of the text.
        unsafe { (self.1)(self.0.as_ptr()) };
    }
}

fn done(rc: std::ffi::c_int) -> Result<(), WriteError> {
    match rc {
        0 => Ok(()),
        _ => Err(WriteError::Write),
    }
}

#[cfg(test)]
mod tests;
