//! Splitting against an oracle that looks at every block, and edges by hand.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};

use proptest::prelude::*;
use spdk_safe::units::{Blocks, Lba};

use super::{Child, Extent, Join, Rules, SplitError, Whole, Window, split};

const BLOCK: u32 = 512;

fn whole(lba: u64, blocks: u64, memory: Option<&[usize]>) -> Whole<'_> {
    Whole {
        extent: Extent::new(Lba(lba), Blocks(blocks)).unwrap(),
        block_size: NonZeroU32::new(BLOCK).unwrap(),
        memory,
    }
}

fn ranges(whole: Whole<'_>, rules: Rules) -> Vec<(u64, u64)> {
    let range = |child: Child| (child.extent.lba().0, child.extent.blocks().0);
    split(whole, rules).unwrap().map(range).collect()
}

/// Where each byte of a window lies: the piece, and where in it.
fn bytes_of(window: Window, memory: &[usize]) -> Vec<(usize, usize)> {
    let parts = window.parts(memory);
    parts
        .flat_map(|(at, from, bytes)| (from..from + bytes).map(move |byte| (at, byte)))
        .collect()
}

/// Pieces that hold `bytes` bytes, cut where `cuts` says, with empty ones among them.
fn pieces(bytes: usize, cuts: &[usize]) -> Vec<usize> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut % (bytes + 1)).collect();
    ends.extend([0, bytes]);
    ends.sort_unstable();
    ends.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

prop_compose! {
    /// A request and rules; a good part of them close to the last block that there can be.
    fn request()(
        blocks in 1_u64..40,
        back in 0_u64..60,
        low in 0_u64..60,
        high in any::<bool>(),
    ) -> (u64, u64) {
        let lba = if high { u64::MAX - (blocks - 1) - back } else { low };
        (lba, blocks)
    }
}

fn rules(lba: u64) -> impl Strategy<Value = Rules> {
    let up_to = |most: u64| prop::option::of(1..most);
    (
        up_to(20),
        up_to(20),
        prop::option::of(1_usize..8),
        prop::option::of(0_u64..50),
    )
        .prop_map(move |(strip, max_blocks, max_pieces, front)| Rules {
            strip: strip.and_then(NonZeroU64::new),
            max_blocks: max_blocks.and_then(NonZeroU64::new),
            max_pieces: max_pieces.and_then(NonZeroUsize::new),
            front: front.map(|front| Lba(lba.saturating_sub(5).saturating_add(front))),
        })
}

proptest! {
    #[test]
    fn children_cover_each_block_and_each_byte_once_in_order_and_keep_the_rules(
        ((lba, blocks), rules) in request().prop_flat_map(|(lba, blocks)| (Just((lba, blocks)), rules(lba))),
        cuts in prop::collection::vec(any::<usize>(), 0..30),
    ) {
        let memory = pieces(blocks as usize * BLOCK as usize, &cuts);
        let whole = whole(lba, blocks, Some(&memory));
        let all = Window { first: 0, skip: 0, pieces: 0, bytes: blocks * u64::from(BLOCK) };
        let expected = bytes_of(all, &memory);
        let children = match split(whole, rules) {
            Ok(children) => children,
            Err(SplitError::Scattered { lba: block, max_pieces }) => {
                // A cut after the blocks before it, and still the block is in too many.
                let at = (block.0 - lba) as usize * BLOCK as usize;
                let mut of_block: Vec<_> = expected[at..at + BLOCK as usize].iter().map(|byte| byte.0).collect();
                of_block.dedup();
                prop_assert!(of_block.len() > max_pieces);
                return Ok(());
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        let (mut next, mut bytes) = (0_u64, Vec::new());
        for child in children {
            let (first, last) = (child.extent.lba().0, child.extent.last().0);
            prop_assert_eq!(child.offset, Blocks(next));
            prop_assert_eq!(first, lba + next);
            next += child.extent.blocks().0;
            if let Some(strip) = rules.strip {
                prop_assert_eq!(first / strip, last / strip, "over a strip's boundary");
            }
            if let Some(most) = rules.max_blocks {
                prop_assert!(child.extent.blocks().0 <= most.get());
            }
            if let Some(front) = rules.front {
                prop_assert_eq!(first < front.0, last < front.0, "on both sides of the front");
            }
            let window = child.window.unwrap();
            prop_assert_eq!(window.bytes, child.extent.blocks().0 * u64::from(BLOCK));
            let parts = window.parts(memory.as_slice()).count();
            prop_assert_eq!(window.pieces, parts);
            if let Some(most) = rules.max_pieces {
                prop_assert!(parts <= most.get());
            }
            bytes.extend(bytes_of(window, &memory));
        }
        prop_assert_eq!(next, blocks);
        prop_assert_eq!(bytes, expected);
    }

    #[test]
    fn no_child_could_be_longer(
        ((lba, blocks), rules) in request().prop_flat_map(|(lba, blocks)| (Just((lba, blocks)), rules(lba))),
    ) {
        let rules = Rules { max_pieces: None, ..rules };
        let children: Vec<_> = split(whole(lba, blocks, None), rules).unwrap().collect();
        for pair in children.windows(2) {
            let (at, len) = (pair[1].extent.lba().0, pair[0].extent.blocks().0);
            let at_strip = rules.strip.is_some_and(|strip| at % strip == 0);
            let at_most = rules.max_blocks.is_some_and(|most| len == most.get());
            prop_assert!(at_strip || at_most || rules.front == Some(Lba(at)));
        }
    }

    #[test]
    fn the_first_failure_is_the_result_whatever_the_order(
        results in prop::collection::vec(prop::option::of(any::<u8>()), 0..12),
        sent in any::<prop::sample::Index>(),
    ) {
        let mut join = Join::new();
        results.iter().for_each(|_| join.begin());
        let sent = sent.index(results.len() + 1);
        let mut over = Vec::new();
        for (at, failure) in results.iter().enumerate() {
            if at == sent {
                over.extend(join.sent());
            }
            over.extend(join.end(failure.map_or(Ok(()), Err)));
        }
        if sent == results.len() {
            over.extend(join.sent());
        }
        let first = results.iter().flatten().next();
        prop_assert_eq!(over, [first.map_or(Ok(()), |failure| Err(*failure))]);
    }
}

#[test]
fn the_drawing_is_right() {
    let memory = [1536, 1024, 1536];
    let rules = Rules {
        strip: NonZeroU64::new(4),
        ..Rules::default()
    };
    let children: Vec<_> = split(whole(6, 8, Some(&memory)), rules).unwrap().collect();
    let parts: Vec<Vec<_>> = children
        .iter()
        .map(|child| child.window.unwrap().parts(&memory).collect())
        .collect();
    assert_eq!(parts[0], [(0, 0, 1024)]);
    assert_eq!(parts[1], [(0, 1024, 512), (1, 0, 1024), (2, 0, 512)]);
    assert_eq!(parts[2], [(2, 512, 1024)]);
}

#[test]
fn without_rules_a_request_is_its_own_child() {
    assert_eq!(ranges(whole(3, 9, None), Rules::default()), [(3, 9)]);
    let all = Whole {
        extent: Extent::new(Lba(1), Blocks(u64::MAX)).unwrap(),
        ..whole(0, 1, None)
    };
    assert_eq!(ranges(all, Rules::default()), [(1, u64::MAX)]);
}

#[test]
fn s1_a_boundary_larger_than_the_request_cuts_it_at_most_once() {
    let strip = |blocks| Rules {
        strip: NonZeroU64::new(blocks),
        ..Rules::default()
    };
    assert_eq!(ranges(whole(0, 8, None), strip(1000)), [(0, 8)]);
    assert_eq!(
        ranges(whole(996, 8, None), strip(1000)),
        [(996, 4), (1000, 4)]
    );
    assert_eq!(ranges(whole(5, 3, None), strip(u64::MAX)), [(5, 3)]);
}

#[test]
fn s1_odd_boundaries_are_boundaries() {
    let rules = Rules {
        strip: NonZeroU64::new(3),
        ..Rules::default()
    };
    assert_eq!(ranges(whole(2, 6, None), rules), [(2, 1), (3, 3), (6, 2)]);
}

#[test]
fn s1_a_request_may_end_with_the_last_block_there_can_be() {
    let rules = Rules {
        strip: NonZeroU64::new(1 << 32),
        front: Some(Lba(u64::MAX)),
        ..Rules::default()
    };
    assert_eq!(
        ranges(whole(u64::MAX - 1, 2, None), rules),
        [(u64::MAX - 1, 1), (u64::MAX, 1)]
    );
    let beyond = Extent::new(Lba(u64::MAX), Blocks(2));
    assert!(
        matches!(beyond, Err(SplitError::Overflow { .. })),
        "{beyond:?}"
    );
}

#[test]
fn s1_a_request_without_blocks_is_refused() {
    let none = Extent::new(Lba(7), Blocks(0));
    assert_eq!(none, Err(SplitError::Empty { lba: Lba(7) }));
}

#[test]
fn s1_memory_that_is_too_short_or_too_long_is_refused() {
    for bytes in [0, 511, 1023, 1025] {
        let error = split(whole(0, 2, Some(&[bytes])), Rules::default()).unwrap_err();
        assert!(
            matches!(error, SplitError::Memory { bytes: given, .. } if given == bytes as u128),
            "{error}"
        );
    }
}

#[test]
fn s1_empty_pieces_are_neither_counted_nor_lost() {
    let memory = [0, 512, 0, 0, 512, 0, 1024, 0];
    let rules = Rules {
        max_pieces: NonZeroUsize::new(2),
        ..Rules::default()
    };
    assert_eq!(ranges(whole(0, 4, Some(&memory)), rules), [(0, 2), (2, 2)]);
}

#[test]
fn a_block_in_too_many_pieces_is_refused_before_any_child_is_given_out() {
    let memory = [512, 200, 200, 112];
    let rules = Rules {
        max_pieces: NonZeroUsize::new(2),
        ..Rules::default()
    };
    let error = split(whole(9, 2, Some(&memory)), rules).unwrap_err();
    assert_eq!(
        error,
        SplitError::Scattered {
            lba: Lba(10),
            max_pieces: 2
        }
    );
}

#[test]
fn children_may_be_sent_in_any_order() {
    let memory = [700, 1348];
    let rules = Rules {
        max_blocks: NonZeroU64::new(1),
        ..Rules::default()
    };
    let mut children: Vec<_> = split(whole(0, 4, Some(&memory)), rules).unwrap().collect();
    children.reverse();
    let blocks: Vec<_> = children.iter().map(|child| child.extent.lba().0).collect();
    assert_eq!(blocks, [3, 2, 1, 0]);
    let bytes: usize = children
        .iter()
        .map(|child| bytes_of(child.window.unwrap(), &memory).len())
        .sum();
    assert_eq!(bytes, 2048);
}
