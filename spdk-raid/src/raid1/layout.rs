//! What a set of bases makes together. Pure: no SPDK in here.
//!
//! ```text
//!   base 0   ├──────────────────┤          512 B blocks, 8192 of them
//!   base 1   ├───────────────────────┤     512 B blocks, 9000 of them
//!   array    ├──────────────────┤          512 B blocks, 8192 of them: the smallest
//! ```

use spdk_safe::units::Blocks;
use thiserror::Error;

/// The most bases that an array may have.
pub const MAX_BASES: usize = 32;

/// A base, as far as the layout cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Its name.
    pub name: String,
    /// Bytes in a logical block.
    pub block_size: u32,
    /// Its size.
    pub blocks: Blocks,
    /// Bytes that a buffer's address must be a multiple of: a power of two.
    pub align: usize,
    /// Bytes of metadata with each block.
    pub metadata_size: u32,
    /// Whether they follow the data of each block, and are among its bytes.
    pub metadata_interleaved: bool,
    /// Whether they protect the data (DIF, DIX).
    pub has_dif: bool,
    /// Whether it has a volatile write cache.
    pub write_cache: bool,
}

/// The array that bases make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Bytes in a logical block: that of every base.
    pub block_size: u32,
    /// The size of the smallest base.
    pub blocks: Blocks,
    /// The strictest alignment of the bases, in bytes.
    pub align: usize,
    /// Whether any base has a volatile write cache, so that clients must flush.
    pub write_cache: bool,
    /// Bytes of metadata with each block: those of every base.
    pub metadata_size: u32,
    /// Whether they follow the data of each block, and are among its bytes.
    pub metadata_interleaved: bool,
}

/// Why bases do not make an array.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A mirror needs two bases or more, and [`MAX_BASES`] at the most.
    #[error("a RAID1 needs 2 to {MAX_BASES} bases, not {given}")]
    Count {
        /// How many were given.
        given: usize,
    },
    /// A base is named twice. A mirror of a disk with itself protects nothing.
    #[error("base {name:?} is named twice; each base must be another bdev")]
    Twice {
        /// Its name.
        name: String,
    },
    /// All places are empty.
    #[error("a RAID1 needs at least one base to begin with")]
    NoBase,
    /// Bases differ in block size. Choose bases with the same one.
    #[error(
        "base {name:?} has blocks of {block_size} B, but {first:?} has {expected} B; all bases need the same block size"
    )]
    BlockSize {
        /// The base that differs.
        name: String,
        /// Its block size in bytes.
        block_size: u32,
        /// The first base.
        first: String,
        /// Its block size in bytes.
        expected: u32,
    },
    /// Bases differ in their metadata. Choose bases with the same.
    #[error(
        "base {name:?} has {metadata_size} B of {} metadata with each block, unlike {first:?}; all bases need the same",
        kind(*interleaved)
    )]
    Metadata {
        /// The base that differs.
        name: String,
        /// Bytes with each block.
        metadata_size: u32,
        /// Whether they follow the data of each block.
        interleaved: bool,
        /// The first base.
        first: String,
    },
    /// A base's metadata protects its data: that is not mirrored (nor does SPDK's own raid module). Format it without.
    #[error("base {name:?} has protection information (DIF), which a RAID1 can't have")]
    Dif {
        /// The base.
        name: String,
    },
    /// A base has no blocks.
    #[error("base {name:?} has no blocks")]
    Empty {
        /// The base.
        name: String,
    },
}

const fn kind(interleaved: bool) -> &'static str {
    match interleaved {
        true => "interleaved",
        false => "separate",
    }
}

fn twice<S: AsRef<str>>(names: &[S]) -> Result<(), LayoutError> {
    for (at, name) in names.iter().enumerate() {
        if names[..at]
            .iter()
            .any(|before| before.as_ref() == name.as_ref())
        {
            return Err(LayoutError::Twice {
                name: name.as_ref().to_owned(),
            });
        }
    }
    Ok(())
}

/// Checks the places of an array, of which some may be empty, before any base is opened.
///
/// # Errors
///
/// [`LayoutError::Count`], [`LayoutError::Twice`], [`LayoutError::NoBase`].
pub fn check_places(places: &[Option<String>]) -> Result<(), LayoutError> {
    if !(2..=MAX_BASES).contains(&places.len()) {
        return Err(LayoutError::Count {
            given: places.len(),
        });
    }
    let names: Vec<_> = places.iter().flatten().collect();
    if names.is_empty() {
        return Err(LayoutError::NoBase);
    }
    twice(&names)
}

impl Layout {
    /// The array that `bases` make.
    ///
    /// ```
    /// use spdk_raid::raid1::layout::{Base, Layout};
    /// use spdk_safe::units::Blocks;
    ///
    /// let base = |name: &str, blocks| Base {
    ///     name: name.into(),
    ///     block_size: 512,
    ///     blocks: Blocks(blocks),
    ///     align: 1,
    ///     metadata_size: 0,
    ///     metadata_interleaved: false,
    ///     has_dif: false,
    ///     write_cache: false,
    /// };
    /// let layout = Layout::of(&[base("a", 8192), base("b", 9000)])?;
    /// assert_eq!(layout.blocks, Blocks(8192));
    /// # Ok::<(), spdk_raid::raid1::layout::LayoutError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`LayoutError`].
    pub fn of(bases: &[Base]) -> Result<Self, LayoutError> {
        let names: Vec<_> = bases.iter().map(|base| base.name.as_str()).collect();
        twice(&names)?;
        let Some(first) = bases.first() else {
            return Err(LayoutError::NoBase);
        };
        let mut layout = Self {
            block_size: first.block_size,
            blocks: first.blocks,
            align: 1,
            write_cache: false,
            metadata_size: first.metadata_size,
            metadata_interleaved: first.metadata_size != 0 && first.metadata_interleaved,
        };
        for base in bases {
            if base.block_size != first.block_size {
                return Err(LayoutError::BlockSize {
                    name: base.name.clone(),
                    block_size: base.block_size,
                    first: first.name.clone(),
                    expected: first.block_size,
                });
            }
            if base.has_dif {
                return Err(LayoutError::Dif {
                    name: base.name.clone(),
                });
            }
            let interleaves = |base: &Base| base.metadata_size != 0 && base.metadata_interleaved;
            if base.metadata_size != first.metadata_size || interleaves(base) != interleaves(first)
            {
                return Err(LayoutError::Metadata {
                    name: base.name.clone(),
                    metadata_size: base.metadata_size,
                    interleaved: base.metadata_interleaved,
                    first: first.name.clone(),
                });
            }
            if base.blocks == Blocks(0) {
                return Err(LayoutError::Empty {
                    name: base.name.clone(),
                });
            }
            layout.blocks = layout.blocks.min(base.blocks);
            layout.align = layout.align.max(base.align);
            layout.write_cache |= base.write_cache;
        }
        Ok(layout)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn base(name: &str) -> Base {
        Base {
            name: name.into(),
            block_size: 512,
            blocks: Blocks(100),
            align: 1,
            metadata_size: 0,
            metadata_interleaved: false,
            has_dif: false,
            write_cache: false,
        }
    }

    #[test]
    fn s2_too_few_or_too_many_bases_are_an_error() {
        let places =
            |count: usize| -> Vec<_> { (0..count).map(|at| Some(at.to_string())).collect() };
        assert_eq!(check_places(&[]), Err(LayoutError::Count { given: 0 }));
        assert_eq!(
            check_places(&places(1)),
            Err(LayoutError::Count { given: 1 })
        );
        assert!(check_places(&places(MAX_BASES)).is_ok());
        assert_eq!(
            check_places(&places(MAX_BASES + 1)),
            Err(LayoutError::Count {
                given: MAX_BASES + 1
            })
        );
    }

    #[test]
    fn a_place_may_be_empty_but_not_all_of_them() {
        assert!(check_places(&[None, Some("a".into())]).is_ok());
        assert_eq!(check_places(&[None, None]), Err(LayoutError::NoBase));
    }

    #[test]
    fn s2_the_same_base_twice_is_an_error() {
        let bases = [base("a"), base("b"), base("a")];
        assert_eq!(
            Layout::of(&bases),
            Err(LayoutError::Twice { name: "a".into() })
        );
    }

    #[test]
    fn s2_bases_that_differ_in_block_size_or_have_metadata_are_an_error() {
        let mut other = base("b");
        other.block_size = 4096;
        let error = Layout::of(&[base("a"), other]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "base \"b\" has blocks of 4096 B, but \"a\" has 512 B; all bases need the same block size"
        );
        let mut other = base("b");
        other.metadata_size = 8;
        assert!(matches!(
            Layout::of(&[base("a"), other.clone()]),
            Err(LayoutError::Metadata { .. })
        ));
        // All the same it may be.
        let mut first = other.clone();
        first.name = "a".into();
        let layout = Layout::of(&[first.clone(), other.clone()]).unwrap();
        assert_eq!(
            (layout.metadata_size, layout.metadata_interleaved),
            (8, false)
        );
        other.metadata_interleaved = true;
        assert!(matches!(
            Layout::of(&[first, other.clone()]),
            Err(LayoutError::Metadata { .. })
        ));
        other.has_dif = true;
        assert_eq!(
            Layout::of(&[other]),
            Err(LayoutError::Dif { name: "b".into() })
        );
    }

    #[test]
    fn a_base_without_blocks_is_an_error() {
        let mut other = base("b");
        other.blocks = Blocks(0);
        assert_eq!(
            Layout::of(&[base("a"), other]),
            Err(LayoutError::Empty { name: "b".into() })
        );
    }

    proptest! {
        #[test]
        fn the_array_fits_every_base_and_asks_for_what_any_base_asks(
            sizes in prop::collection::vec((1..=u64::MAX, 0..12_u32, any::<bool>()), 2..=MAX_BASES),
        ) {
            let bases: Vec<_> = sizes.iter().enumerate().map(|(at, &(blocks, align, write_cache))| Base {
                blocks: Blocks(blocks),
                align: 1 << align,
                write_cache,
                ..base(&at.to_string())
            }).collect();
            let layout = Layout::of(&bases).unwrap();
            prop_assert!(bases.iter().all(|base| layout.blocks <= base.blocks));
            prop_assert!(bases.iter().any(|base| layout.blocks == base.blocks));
            prop_assert!(bases.iter().all(|base| layout.align % base.align == 0));
            prop_assert_eq!(layout.write_cache, bases.iter().any(|base| base.write_cache));
        }
    }
}
