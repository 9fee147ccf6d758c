//! UUIDs of bdevs.
//!
//! C type: `struct spdk_uuid` of `include/spdk/uuid.h`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The UUID of a bdev: SPDK finds the bdev by it as by its name.
///
/// ```
/// use spdk_safe::bdev::Uuid;
/// let uuid: Uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse()?;
/// assert_eq!(uuid.to_string(), "67e55044-10b1-426f-9247-bb680e5fe0c8");
/// # Ok::<(), spdk_safe::bdev::ParseUuidError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// The UUID of these bytes, in the order in which they are written.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes, in the order in which they are written.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether all of it is zero, which is none.
    #[must_use]
    pub fn is_nil(&self) -> bool {
        self.0 == [0; 16]
    }
}

/// Not 32 hexadecimal digits, with hyphens after the 8th, 12th, 16th and 20th, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a UUID is 32 hexadecimal digits: `67e55044-10b1-426f-9247-bb680e5fe0c8`, or without the hyphens"
)]
pub struct ParseUuidError;

impl FromStr for Uuid {
    type Err = ParseUuidError;

    fn from_str(text: &str) -> Result<Self, ParseUuidError> {
        let hyphens = match text.len() {
            36 => [8, 13, 18, 23].as_slice(),
            32 => &[],
            _ => return Err(ParseUuidError),
        };
        let mut bytes = [0; 16];
        let mut digits = 0;
        for (at, character) in text.bytes().enumerate() {
            if hyphens.contains(&at) {
                if character != b'-' {
                    return Err(ParseUuidError);
                }
                continue;
            }
            let digit = char::from(character).to_digit(16).ok_or(ParseUuidError)?;
            bytes[digits / 2] = bytes[digits / 2] << 4 | digit as u8;
            digits += 1;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let hyphen = if matches!(at, 4 | 6 | 8 | 10) {
                "-"
            } else {
                ""
            };
            write!(f, "{hyphen}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uuid({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::Uuid;

    #[test]
    fn what_is_no_uuid_does_not_parse() {
        let good = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        let parse = |text: &str| text.parse::<Uuid>();
        assert_eq!(parse(good), parse("67E5504410B1426F9247BB680E5FE0C8"));
        for bad in [
            "",
            "67e55044",
            "67e55044-10b1-426f-9247-bb680e5fe0c",
            "67e55044-10b1-426f-9247-bb680e5fe0c8 ",
            "67e5504-410b1-426f-9247-bb680e5fe0c8",
            "67e55044-10b1-426f-9247-bb680e5fe0cg",
            "67e55044+10b1+426f+9247+bb680e5fe0c8",
            "-67e5504410b1426f9247bb680e5fe0c",
            "ä7e5504410b1426f9247bb680e5fe0c",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
