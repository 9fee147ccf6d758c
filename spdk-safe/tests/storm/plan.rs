//! What a case does: operations that proptest makes from a seed.

use proptest::prelude::*;

/// How many SPDK threads a case has, with the app thread, which is number 0.
pub(crate) const THREADS: usize = 4;
/// How many kinds of disk there are.
pub(crate) const KINDS: usize = 4;

/// What kind of I/O.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Read,
    Write,
    Compare,
    CompareAndWrite,
    Copy,
    Zcopy,
    Unmap,
    WriteZeroes,
    Flush,
    Reset,
    ReadThen,
    WriteThen,
    ReadLoop,
    WriteLoop,
}

/// What is done with its future.
#[derive(Debug, Clone, Copy)]
pub(crate) enum How {
    /// Polled once, with a waker that does this, and kept.
    Held(Wakes),
    /// Kept, and not polled yet.
    New,
    /// Awaited by a task.
    Task,
    /// Awaited by a task that gives up after so many turns.
    Race(u8),
}

/// What its waker does, which runs inside of the completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wakes {
    Quiet,
    DropsAnother,
    DropsAll,
    DropsChannels,
    StartsAnother,
    Panics,
}

/// What memory it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    Dma,
    Part,
    Heap,
    Boxed,
    Shared,
    /// One `Vec` for each block.
    Pieces,
    /// Two pieces that are no whole blocks.
    Uneven,
    Uninit,
}

/// One I/O.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Io {
    pub(crate) chan: u8,
    pub(crate) what: What,
    pub(crate) how: How,
    pub(crate) memory: Memory,
    pub(crate) lba: u8,
    pub(crate) blocks: u8,
    pub(crate) batch: bool,
}

/// How a region ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    Commit,
    Discard,
    Drop,
    Forget,
}

/// What is injected.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Fail,
    Hold,
    NoMemory,
    Clear,
}

/// On a thread.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    Channel {
        share: u8,
    },
    DropChannel {
        chan: u8,
    },
    ForgetChannel {
        chan: u8,
    },
    DropShare {
        share: u8,
    },
    Io(Io),
    Poll {
        held: u8,
        times: u8,
    },
    Drop {
        held: u8,
    },
    Forget {
        held: u8,
    },
    DropAll,
    /// Aborts a batch; the future is dropped after so many polls, if it is not awaited.
    Abort {
        chan: u8,
        polls: Option<u8>,
    },
    AbortTask {
        task: u8,
    },
    CopyIn {
        region: u8,
    },
    CopyOut {
        region: u8,
    },
    EndRegion {
        region: u8,
        end: End,
    },
    /// Smuggles something to the other SPDK threads of this OS thread.
    Give {
        what: u8,
    },
    /// Takes it, and drops it or uses it.
    Take {
        keep: bool,
    },
}

/// One step of a case.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    On {
        thread: u8,
        act: Act,
    },
    Open {
        kind: u8,
        shares: u8,
    },
    Close {
        desc: u8,
        wait: bool,
    },
    Create {
        kind: u8,
    },
    Remove {
        kind: u8,
        base_first: bool,
        detach: bool,
    },
    Inject {
        fault: Fault,
        write: bool,
        count: u8,
    },
    Exit {
        thread: u8,
        wait: bool,
    },
    New {
        thread: u8,
        drop: bool,
    },
    Yield {
        turns: u8,
    },
}

/// How a case ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Everything is let go of, and the disks are looked at.
    InOrder,
    /// The disks are removed under all that is alive.
    RemoveFirst,
    /// The threads exit with all that is alive.
    ExitFirst,
    /// Both, at once.
    AllAtOnce,
}

/// A case.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) ops: Vec<Op>,
    pub(crate) ending: Ending,
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        8 => Just(What::Read),
        10 => Just(What::Write),
        2 => Just(What::Compare),
        3 => Just(What::CompareAndWrite),
        2 => Just(What::Copy),
        4 => Just(What::Zcopy),
        1 => Just(What::Unmap),
        2 => Just(What::WriteZeroes),
        1 => Just(What::Flush),
        1 => Just(What::Reset),
        2 => Just(What::ReadThen),
        2 => Just(What::WriteThen),
        2 => Just(What::ReadLoop),
        2 => Just(What::WriteLoop),
    ]
}

fn wakes() -> impl Strategy<Value = Wakes> {
    prop_oneof![
        10 => Just(Wakes::Quiet),
        2 => Just(Wakes::DropsAnother),
        1 => Just(Wakes::DropsAll),
        1 => Just(Wakes::DropsChannels),
        2 => Just(Wakes::StartsAnother),
        1 => Just(Wakes::Panics),
    ]
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        6 => wakes().prop_map(How::Held),
        1 => Just(How::New),
        4 => Just(How::Task),
        2 => (0..12_u8).prop_map(How::Race),
    ]
}

fn memory() -> impl Strategy<Value = Memory> {
    use Memory::*;
    prop::sample::select(vec![
        Dma, Dma, Part, Heap, Heap, Boxed, Shared, Pieces, Uneven, Uninit,
    ])
}

fn io() -> impl Strategy<Value = Io> {
    (
        any::<u8>(),
        what(),
        how(),
        memory(),
        0..8_u8,
        0..5_u8,
        any::<bool>(),
    )
        .prop_map(|(chan, what, how, memory, lba, blocks, batch)| Io {
            chan,
            what,
            how,
            memory,
            lba,
            blocks,
            batch,
        })
}

fn act() -> impl Strategy<Value = Act> {
    let at = any::<u8>;
    prop_oneof![
        8 => at().prop_map(|share| Act::Channel { share }),
        2 => at().prop_map(|chan| Act::DropChannel { chan }),
        1 => at().prop_map(|chan| Act::ForgetChannel { chan }),
        1 => at().prop_map(|share| Act::DropShare { share }),
        40 => io().prop_map(Act::Io),
        8 => (at(), 1..4_u8).prop_map(|(held, times)| Act::Poll { held, times }),
        8 => at().prop_map(|held| Act::Drop { held }),
        2 => at().prop_map(|held| Act::Forget { held }),
        1 => Just(Act::DropAll),
        3 => (at(), prop::option::of(0..3_u8)).prop_map(|(chan, polls)| Act::Abort { chan, polls }),
        2 => at().prop_map(|task| Act::AbortTask { task }),
        3 => at().prop_map(|region| Act::CopyIn { region }),
        2 => at().prop_map(|region| Act::CopyOut { region }),
        4 => (at(), prop::sample::select(vec![End::Commit, End::Discard, End::Drop, End::Forget]))
            .prop_map(|(region, end)| Act::EndRegion { region, end }),
        3 => at().prop_map(|what| Act::Give { what }),
        3 => any::<bool>().prop_map(|keep| Act::Take { keep }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let thread = || 0..THREADS as u8;
    let kind = || 0..KINDS as u8;
    let fault = prop::sample::select(vec![
        Fault::Fail,
        Fault::Hold,
        Fault::NoMemory,
        Fault::NoMemory,
        Fault::Clear,
    ]);
    prop_oneof![
        70 => (thread(), act()).prop_map(|(thread, act)| Op::On { thread, act }),
        6 => (kind(), 0..16_u8).prop_map(|(kind, shares)| Op::Open { kind, shares }),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(desc, wait)| Op::Close { desc, wait }),
        3 => kind().prop_map(|kind| Op::Create { kind }),
        2 => (kind(), any::<bool>(), any::<bool>())
            .prop_map(|(kind, base_first, detach)| Op::Remove { kind, base_first, detach }),
        3 => (fault, any::<bool>(), 1..4_u8)
            .prop_map(|(fault, write, count)| Op::Inject { fault, write, count }),
        3 => (1..THREADS as u8, any::<bool>()).prop_map(|(thread, wait)| Op::Exit { thread, wait }),
        4 => (1..THREADS as u8, prop::bool::weighted(0.1))
            .prop_map(|(thread, drop)| Op::New { thread, drop }),
        12 => (1..20_u8).prop_map(|turns| Op::Yield { turns }),
    ]
}

/// Plans of up to `most` operations.
pub(crate) fn plan(most: usize) -> impl Strategy<Value = Plan> {
    let ending = prop::sample::select(vec![
        Ending::InOrder,
        Ending::InOrder,
        Ending::RemoveFirst,
        Ending::ExitFirst,
        Ending::AllAtOnce,
    ]);
    (prop::collection::vec(op(), 10..most), ending).prop_map(|(ops, ending)| Plan { ops, ending })
}
