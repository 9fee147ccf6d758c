//! Children of any request, by any rules: each block and each byte once, in order, within the rules; needs no SPDK.
//!
//! `cargo xtask fuzz split`.

#![no_main]

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use spdk_raid::split::{Extent, Rules, SplitError, Whole, split};
use spdk_safe::units::{Blocks, Lba};

#[derive(Debug, Arbitrary)]
struct Request {
    lba: u64,
    blocks: u16,
    block_size: u16,
    /// Lengths of pieces; the last one is made to fit, if it can be.
    pieces: Option<Vec<u16>>,
    fits: bool,
    strip: u64,
    max_blocks: u16,
    max_pieces: u8,
    front: Option<u64>,
}

/// More children than this are not looked at.
const ENOUGH: usize = 10_000;

fuzz_target!(|request: Request| {
    let Ok(extent) = Extent::new(Lba(request.lba), Blocks(request.blocks.into())) else {
        let room = u64::MAX - request.lba;
        assert!(request.blocks == 0 || u64::from(request.blocks) - 1 > room);
        return;
    };
    let block_size = NonZeroU32::new(request.block_size.into()).unwrap_or(NonZeroU32::MIN);
    let bytes = usize::from(request.blocks) * block_size.get() as usize;
    let pieces = request.pieces.map(|pieces| {
        let mut pieces: Vec<_> = pieces.into_iter().map(usize::from).collect();
        if request.fits {
            let mut left = bytes;
            for piece in &mut pieces {
                *piece = (*piece).min(left);
                left -= *piece;
            }
            pieces.push(left);
        }
        pieces
    });
    let rules = Rules {
        strip: NonZeroU64::new(request.strip),
        max_blocks: NonZeroU64::new(request.max_blocks.into()),
        max_pieces: NonZeroUsize::new(request.max_pieces.into()),
        front: request.front.map(Lba),
    };
    let whole = Whole {
        extent,
        block_size,
        memory: pieces.as_deref(),
    };
    let children = match split(whole, rules) {
        Ok(children) => children,
        Err(SplitError::Memory { bytes: given, .. }) => return assert_ne!(given, bytes as u128),
        Err(SplitError::Scattered { max_pieces, .. }) => {
            return assert_eq!(rules.max_pieces, NonZeroUsize::new(max_pieces));
        }
        Err(error) => panic!("{error}"),
    };
    let (mut next, mut at, mut within, mut seen) = (0_u64, 0_usize, 0_usize, 0_usize);
    for child in children {
        seen += 1;
        if seen > ENOUGH {
            return;
        }
        assert_eq!(child.offset, Blocks(next));
        assert_eq!(child.extent.lba().0, request.lba + next);
        let (first, last) = (child.extent.lba().0, child.extent.last().0);
        next += child.extent.blocks().0;
        assert!(
            rules
                .strip
                .is_none_or(|strip| first / strip == last / strip)
        );
        assert!(
            rules
                .max_blocks
                .is_none_or(|most| child.extent.blocks().0 <= most.get())
        );
        assert!(
            rules
                .front
                .is_none_or(|front| (first < front.0) == (last < front.0))
        );
        let Some(pieces) = &pieces else {
            assert_eq!(child.window, None);
            continue;
        };
        let window = child.window.expect("there is memory");
        assert_eq!(
            window.bytes,
            child.extent.blocks().0 * u64::from(block_size.get())
        );
        let (mut sum, mut count) = (0, 0);
        for (piece, from, bytes) in window.parts(pieces.as_slice()) {
            // The byte that follows the last one.
            while at < piece {
                assert_eq!(within, pieces[at], "a byte was left out");
                (at, within) = (at + 1, 0);
            }
            assert_eq!((piece, from), (at, within));
            within += bytes;
            sum += bytes as u64;
            count += 1;
        }
        assert_eq!(sum, window.bytes);
        assert_eq!(count, window.pieces);
        assert!(rules.max_pieces.is_none_or(|most| count <= most.get()));
    }
    assert_eq!(next, u64::from(request.blocks));
});
