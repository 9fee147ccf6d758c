//! A part of a buffer.

use std::ops::{Deref, DerefMut, Range};

use super::DmaBuf;

/// A part of a [`DmaBuf`], which it owns: an I/O on it leaves the rest of the buffer alone.
#[derive(Debug)]
pub struct DmaPart {
    buf: DmaBuf,
    /// Within the buffer.
    range: Range<usize>,
}

impl DmaBuf {
    /// The bytes of `range` as a buffer of its own, for an I/O; [`DmaPart::into_whole`] gives the whole back.
    ///
    /// # Errors
    ///
    /// `self`, when the range is empty or does not lie within the buffer.
    pub fn part(self, range: Range<usize>) -> Result<DmaPart, Self> {
        match !range.is_empty() && range.end <= self.len() {
            true => Ok(DmaPart { buf: self, range }),
            false => Err(self),
        }
    }
}

impl DmaPart {
    /// The whole buffer.
    #[must_use]
    pub fn into_whole(self) -> DmaBuf {
        self.buf
    }
}

impl Deref for DmaPart {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buf[self.range.clone()]
    }
}

impl DerefMut for DmaPart {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.range.clone()]
    }
}
