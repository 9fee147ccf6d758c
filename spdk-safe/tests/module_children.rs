//! Children of requests: I/Os below, without an allocation, in whatever order they end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Mutex;

use spdk_safe::bdev::SharedDesc;
use spdk_safe::error::IoCause;
use spdk_safe::module::{
    BdevModule, BlockDevice, BlockDeviceBuilder, ChildIos, Children, ReadRequest, RegisteredBdev,
    Request, RequestStatus, WriteRequest,
};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static MODULE: BdevModule = BdevModule::new(c"rust_children");
static SPDK: Harness = Harness::new(&[&MODULE]);

type Leg = IoChannel<ReadWrite>;

/// A device over malloc legs, which does with each request what the test says.
struct Over<S> {
    legs: Mutex<Vec<SharedDesc<ReadWrite>>>,
    submit: S,
}

impl<S: Fn(&Rc<Vec<Leg>>, Request) + Send + Sync + 'static> BlockDevice for Over<S> {
    type Channel = Vec<Leg>;

    fn create_channel(&self) -> Result<Vec<Leg>, ChannelError> {
        let legs = self.legs.lock().unwrap();
        legs.iter().map(SharedDesc::channel).collect()
    }

    fn supports(&self, io: IoType) -> bool {
        matches!(
            io,
            IoType::Read
                | IoType::Write
                | IoType::Unmap
                | IoType::WriteZeroes
                | IoType::Flush
                | IoType::Reset
        )
    }

    fn submit(&self, channel: &Rc<Vec<Leg>>, request: Request) {
        (self.submit)(channel, request);
    }
}

/// Legs `<name>0`, `<name>1`, ... of 64 blocks, and the device over them.
async fn over(
    spdk: &Spdk,
    name: &str,
    legs: usize,
    submit: impl Fn(&Rc<Vec<Leg>>, Request) + Send + Sync + 'static,
) -> RegisteredBdev {
    let mut descs = Vec::new();
    for leg in 0..legs {
        let leg = format!("{name}{leg}");
        MallocBdev::builder(&leg)
            .blocks(64)
            .create(spdk)
            .await
            .unwrap();
        let desc = BdevDesc::open(spdk, &leg).read_write().unwrap();
        descs.push(desc.claim(&MODULE).unwrap().share());
    }
    let legs = Mutex::new(descs);
    BlockDeviceBuilder::new(name)
        .blocks(Blocks(32))
        .register(spdk, &MODULE, Over { legs, submit })
        .unwrap()
}

async fn end(spdk: &Spdk, bdev: RegisteredBdev, name: &str, legs: usize) {
    bdev.unregister().await;
    for leg in 0..legs {
        MallocBdev::delete(spdk, &format!("{name}{leg}"))
            .await
            .unwrap();
    }
}

/// Blocks `first..first + blocks`, each full of its number.
fn numbered(desc: &BdevDesc<ReadWrite>, first: u8, blocks: u8) -> DmaBuf {
    let mut buf = desc.alloc(Blocks(blocks.into())).unwrap();
    for (at, block) in buf.chunks_exact_mut(512).enumerate() {
        block.fill(first + at as u8);
    }
    buf
}

/// A passthru in one line.
fn pass(legs: &Rc<Vec<Leg>>, request: Request) {
    match request {
        Request::Read(read) => {
            let lba = read.lba();
            read.forward(&legs[0], lba, ReadRequest::complete)
        }
        Request::Write(write) => {
            let lba = write.lba();
            write.forward(&legs[0], lba, |write, result| write.complete(result))
        }
        Request::Unmap(range) | Request::WriteZeroes(range) | Request::Flush(range) => {
            let lba = range.lba();
            range.forward(&legs[0], lba, |range, result| range.complete(result))
        }
        Request::Reset(reset) => reset.forward(&legs[0], |reset, result| reset.complete(result)),
        other => other.complete(RequestStatus::Failed),
    }
}

#[test]
fn forwarded_requests_do_below_what_they_do_above() {
    SPDK.run(async |spdk| {
        let bdev = over(&spdk, "fwd", 1, pass).await;
        let desc = BdevDesc::open(&spdk, "fwd").read_write().unwrap();
        let ch = desc.channel().unwrap();
        ch.write(Lba(4), numbered(&desc, 10, 4)).await.0.unwrap();
        // In two pieces, of which one is not a whole block: the array of pieces goes down.
        let pieces = vec![vec![0_u8; 700], vec![0_u8; 4 * 512 - 700]];
        let (result, pieces) = ch.read(Lba(4), pieces).await;
        result.unwrap();
        let all = pieces.concat();
        assert!((0..4).all(|at| all[at * 512..][..512].iter().all(|&b| b == 10 + at as u8)));
        let (result, _) = ch
            .write(Lba(8), vec![vec![7_u8; 100], vec![7_u8; 412]])
            .await;
        result.unwrap();
        ch.write_zeroes(Lba(5), Blocks(1)).await.unwrap();
        ch.unmap(Lba(6), Blocks(1)).await.unwrap();
        ch.flush(Lba(0), Blocks(8)).await.unwrap();
        ch.reset().await.unwrap();
        let (result, buf) = ch.read(Lba(4), desc.alloc(Blocks(5)).unwrap()).await;
        result.unwrap();
        let blocks: Vec<u8> = buf.chunks_exact(512).map(|block| block[511]).collect();
        assert_eq!(blocks, [10, 0, 0, 13, 7]);
        drop((ch, desc));
        end(&spdk, bdev, "fwd", 1).await;
    });
}

/// Counts, and is done well if all were.
struct Count {
    seen: Cell<u64>,
    error: RefCell<Option<IoError>>,
}

impl Count {
    fn new() -> Self {
        Self {
            seen: Cell::new(0),
            error: RefCell::new(None),
        }
    }

    fn see(&self, tag: u8, result: Result<(), IoError>) {
        assert_eq!(self.seen.get() & (1 << tag), 0, "each child ends once");
        self.seen.set(self.seen.get() | (1 << tag));
        if let Err(error) = result {
            self.error.replace(Some(error));
        }
    }

    fn status(self) -> RequestStatus {
        self.error.into_inner().map_or(Ok(()), Err).into()
    }
}

impl Children<WriteRequest> for Count {
    fn ended(&self, tag: u8, result: Result<(), IoError>) {
        self.see(tag, result);
    }

    fn all_ended(self, request: WriteRequest) {
        request.complete(self.status());
    }
}

impl Children<ReadRequest> for Count {
    fn ended(&self, tag: u8, result: Result<(), IoError>) {
        self.see(tag, result);
    }

    fn all_ended(self, request: ReadRequest) {
        request.complete(self.status());
    }
}

/// Writes to all legs; reads the first half from leg 0 and the rest from leg 1.
fn mirror(legs: &Rc<Vec<Leg>>, request: Request) {
    match request {
        Request::Write(write) => {
            let lba = write.lba();
            let children = write.children(Count::new());
            for (tag, leg) in legs.iter().enumerate() {
                children.write(leg, lba, tag as u8);
            }
            children.submit();
        }
        Request::Read(read) => {
            let (lba, blocks) = (read.lba(), read.blocks());
            let half = Blocks(blocks.0 / 2);
            let rest = Blocks(blocks.0 - half.0);
            let children = read.children(Count::new());
            if half != Blocks(0) {
                assert!(children.read_part(&legs[0], lba, Blocks(0), half, 0));
            }
            let at = lba.checked_add(half).unwrap();
            assert!(children.read_part(&legs[1], at, half, rest, 1));
            assert!(
                !children.read_part(&legs[1], at, half, blocks, 2),
                "too long"
            );
            let far = Blocks(u64::MAX);
            assert!(!children.read_part(&legs[1], at, far, far, 3), "overflows");
        }
        other => other.complete(RequestStatus::Failed),
    }
}

#[test]
fn a_request_waits_for_all_of_its_children_and_parts_of_its_memory_are_cut_right() {
    SPDK.run(async |spdk| {
        let bdev = over(&spdk, "mir", 2, mirror).await;
        let desc = BdevDesc::open(&spdk, "mir").read_write().unwrap();
        let ch = desc.channel().unwrap();
        ch.write(Lba(0), numbered(&desc, 1, 8)).await.0.unwrap();
        for pieces in [
            vec![vec![0_u8; 8 * 512]],
            vec![vec![0_u8; 1], vec![0_u8; 8 * 512 - 1]],
            vec![vec![0_u8; 1024], vec![0_u8; 1024], vec![0_u8; 2048]],
            vec![vec![0_u8; 2047], vec![0_u8; 2], vec![0_u8; 2047]],
        ] {
            let (result, pieces) = ch.read(Lba(0), pieces).await;
            result.unwrap();
            let all = pieces.concat();
            assert!((0..8).all(|at| all[at * 512..][..512].iter().all(|&b| b == 1 + at as u8)));
        }
        drop((ch, desc));
        end(&spdk, bdev, "mir", 2).await;
    });
}

#[test]
fn more_children_than_there_is_room_for_take_slots() {
    SPDK.run(async |spdk| {
        let bdev = over(&spdk, "many", 1, |legs, request| match request {
            Request::Write(write) => {
                let (lba, blocks) = (write.lba(), write.blocks());
                let children = write.children(Count::new());
                for at in 0..blocks.0 {
                    let to = Lba(lba.0 + at);
                    assert!(children.write_part(&legs[0], to, Blocks(at), Blocks(1), at as u8));
                }
            }
            other => pass(legs, other),
        })
        .await;
        let desc = BdevDesc::open(&spdk, "many").read_write().unwrap();
        let ch = desc.channel().unwrap();
        ch.write(Lba(0), numbered(&desc, 1, 32)).await.0.unwrap();
        let (result, buf) = ch.read(Lba(0), desc.alloc(Blocks(32)).unwrap()).await;
        result.unwrap();
        assert!(
            buf.chunks_exact(512)
                .enumerate()
                .all(|(at, block)| { block.iter().all(|&byte| byte == 1 + at as u8) })
        );
        drop((ch, desc));
        end(&spdk, bdev, "many", 1).await;
    });
}

#[test]
fn what_is_wrong_with_a_child_is_told_later_and_not_below_itself() {
    static DEPTH: Mutex<(u32, u32)> = Mutex::new((0, 0));
    /// Reads past the end of the leg, and again, a thousand times.
    fn again(legs: &Rc<Vec<Leg>>, read: ReadRequest, left: u32) {
        {
            let mut depth = DEPTH.lock().unwrap();
            depth.0 += 1;
            depth.1 = depth.1.max(depth.0);
        }
        let next = Rc::clone(legs);
        read.forward(&legs[0], Lba(64), move |read, result| {
            let error = result.unwrap_err();
            assert!(
                matches!(error, IoError::Range { lba: Lba(64), .. }),
                "{error}"
            );
            match left {
                0 => read.complete(Err(error)),
                left => again(&next, read, left - 1),
            }
        });
        DEPTH.lock().unwrap().0 -= 1;
    }
    SPDK.run(async |spdk| {
        let bdev = over(&spdk, "deep", 1, |legs, request| match request {
            Request::Read(read) => again(legs, read, 1_000),
            other => pass(legs, other),
        })
        .await;
        let desc = BdevDesc::open(&spdk, "deep").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let error = ch.read(Lba(0), desc.alloc(Blocks(1)).unwrap()).await.0;
        assert_eq!(error.unwrap_err().status().unwrap().cause, IoCause::Failed);
        assert_eq!(DEPTH.lock().unwrap().1, 1);
        drop((ch, desc));
        end(&spdk, bdev, "deep", 1).await;
    });
}

#[test]
fn no_children_at_all_bring_the_request_back_at_once() {
    SPDK.run(async |spdk| {
        let bdev = over(&spdk, "none", 0, |_, request| match request {
            Request::Write(write) => write.children(Count::new()).submit(),
            other => other.complete(RequestStatus::Failed),
        })
        .await;
        let desc = BdevDesc::open(&spdk, "none").read_write().unwrap();
        let ch = desc.channel().unwrap();
        ch.write(Lba(0), desc.alloc(Blocks(1)).unwrap())
            .await
            .0
            .unwrap();
        drop((ch, desc));
        end(&spdk, bdev, "none", 0).await;
    });
}

/// Panics when a child ends, or when all have.
struct Explosive {
    at_child: bool,
    dropped: Dropped,
}

static DROPPED: Mutex<u32> = Mutex::new(0);

struct Dropped;

impl Drop for Dropped {
    fn drop(&mut self) {
        *DROPPED.lock().unwrap() += 1;
    }
}

impl Children<WriteRequest> for Explosive {
    fn ended(&self, _: u8, _: Result<(), IoError>) {
        assert!(!self.at_child, "on purpose");
    }

    fn all_ended(self, _request: WriteRequest) {
        let _dropped = self.dropped;
        panic!("on purpose");
    }
}

#[test]
fn t13_panics_where_children_end_fail_the_request_once_and_drop_all() {
    SPDK.run(async |spdk| {
        let bdev = over(&spdk, "bang", 2, |legs, request| match request {
            Request::Write(write) => {
                let lba = write.lba();
                match lba.0 {
                    0 | 1 => {
                        let children = write.children(Explosive {
                            at_child: lba.0 == 0,
                            dropped: Dropped,
                        });
                        children.write(&legs[0], lba, 0);
                        children.write(&legs[1], lba, 1);
                    }
                    2 => {
                        let dropped = Dropped;
                        write.forward(&legs[0], lba, move |_, _| {
                            let _dropped = dropped;
                            panic!("on purpose")
                        });
                    }
                    // While children are submitted.
                    _ => {
                        let children = write.children(Explosive {
                            at_child: true,
                            dropped: Dropped,
                        });
                        children.write(&legs[0], lba, 0);
                        panic!("on purpose")
                    }
                }
            }
            other => pass(legs, other),
        })
        .await;
        let desc = BdevDesc::open(&spdk, "bang").read_write().unwrap();
        let ch = desc.channel().unwrap();
        for lba in 0..4 {
            let before = *DROPPED.lock().unwrap();
            let result = ch.write(Lba(lba), desc.alloc(Blocks(1)).unwrap()).await.0;
            assert!(matches!(result, Err(IoError::Failed { .. })), "{lba}");
            assert_eq!(*DROPPED.lock().unwrap(), before + 1, "{lba}");
        }
        drop((ch, desc));
        end(&spdk, bdev, "bang", 2).await;
    });
}

thread_local! {
    static HELD: RefCell<Option<ChildIos<WriteRequest, Count>>> = const { RefCell::new(None) };
    static LOWER: RefCell<Vec<Request>> = const { RefCell::new(Vec::new()) };
}

/// A device that keeps its requests in `LOWER`.
struct Keeps;

impl BlockDevice for Keeps {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn submit(&self, _: &Rc<()>, request: Request) {
        LOWER.with_borrow_mut(|lower| lower.push(request));
    }
}

/// In `ended` ends the other children of the same request.
struct Reenters(Cell<u8>);

impl Children<WriteRequest> for Reenters {
    fn ended(&self, tag: u8, result: Result<(), IoError>) {
        result.unwrap();
        self.0.set(self.0.get() | 1 << tag);
        if let Some(next) = LOWER.with_borrow_mut(Vec::pop) {
            next.complete(RequestStatus::Success);
        }
    }

    fn all_ended(self, request: WriteRequest) {
        assert_eq!(self.0.get(), 7);
        request.complete(RequestStatus::Success);
    }
}

#[test]
fn a_child_may_end_while_the_end_of_another_is_told() {
    SPDK.run(async |spdk| {
        let lower = BlockDeviceBuilder::new("kept")
            .blocks(Blocks(64))
            .register(&spdk, &MODULE, Keeps)
            .unwrap();
        let desc = BdevDesc::open(&spdk, "kept").read_write().unwrap();
        let leg = Mutex::new(vec![desc.claim(&MODULE).unwrap().share()]);
        let submit = |legs: &Rc<Vec<Leg>>, request: Request| match request {
            Request::Write(write) => {
                let children = write.children(Reenters(Cell::new(0)));
                (0..3).for_each(|tag| children.write(&legs[0], Lba(0), tag));
            }
            other => pass(legs, other),
        };
        let bdev = BlockDeviceBuilder::new("upper")
            .blocks(Blocks(64))
            .register(&spdk, &MODULE, Over { legs: leg, submit })
            .unwrap();
        let desc = BdevDesc::open(&spdk, "upper").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let mut io = std::pin::pin!(ch.write(Lba(0), desc.alloc(Blocks(1)).unwrap()));
        assert!(futures::poll!(&mut io).is_pending());
        assert_eq!(LOWER.with_borrow(Vec::len), 3);
        let first = LOWER.with_borrow_mut(Vec::pop).unwrap();
        first.complete(RequestStatus::Success);
        io.await.0.unwrap();
        drop((ch, desc));
        bdev.unregister().await;
        lower.unregister().await;
    });
}

#[test]
fn the_children_may_be_held_beyond_submit_and_dropped_on_another_thread() {
    SPDK.run(async |spdk| {
        let bdev = over(&spdk, "held", 1, |legs, request| match request {
            Request::Write(write) => {
                let lba = write.lba();
                let children = write.children(Count::new());
                children.write(&legs[0], lba, 0);
                HELD.set(Some(children));
            }
            other => pass(legs, other),
        })
        .await;
        let desc = BdevDesc::open(&spdk, "held").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let mut io = std::pin::pin!(ch.write(Lba(0), desc.alloc(Blocks(1)).unwrap()));
        // Its child ends, and it waits.
        for _ in 0..100 {
            assert!(futures::poll!(&mut io).is_pending());
            spdk_safe::app::yield_now().await;
        }
        let children = HELD.take().unwrap();
        assert_eq!(children.state().seen.get(), 1);
        HELD.set(Some(children));
        let other = Thread::builder("other").create(&spdk).await.unwrap();
        other.call(|| drop(HELD.take())).await.unwrap();
        io.await.0.unwrap();
        other.exit().await;
        drop((ch, desc));
        end(&spdk, bdev, "held", 1).await;
    });
}

#[test]
fn m10_children_that_find_no_memory_wait_and_go_on() {
    SPDK.run(async |spdk| {
        let bdev = over(&spdk, "m10", 3, mirror).await;
        let desc = BdevDesc::open(&spdk, "m10").read_write().unwrap();
        let ch = desc.channel().unwrap();
        // More than the pool has.
        let writes = (0..2_000).map(|at| ch.write(Lba(at % 32), vec![at as u8; 512]));
        for (result, _) in futures::future::join_all(writes).await {
            result.unwrap();
        }
        let reads = (0..2_000).map(|at| ch.read(Lba(at % 31), vec![0; 1024]));
        for (result, _) in futures::future::join_all(reads).await {
            result.unwrap();
        }
        drop((ch, desc));
        end(&spdk, bdev, "m10", 3).await;
    });
}

#[test]
fn d8_legs_that_go_while_children_are_in_flight_fail_them_and_go() {
    SPDK.run(async |spdk| {
        let bdev = over(&spdk, "d8", 2, mirror).await;
        let desc = BdevDesc::open(&spdk, "d8").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let mut failed = 0;
        let mut writes: Vec<_> = (0..500)
            .map(|at| Box::pin(ch.write(Lba(at % 32), vec![1_u8; 512])))
            .collect();
        for write in &mut writes {
            assert!(futures::poll!(write).is_pending());
        }
        let mut gone = std::pin::pin!(MallocBdev::delete(&spdk, "d80"));
        assert!(futures::poll!(&mut gone).is_pending());
        for (result, _) in futures::future::join_all(writes).await {
            failed += u32::from(result.is_err());
        }
        gone.await.unwrap();
        let error = ch.write(Lba(0), vec![1_u8; 512]).await.0.unwrap_err();
        assert!(
            matches!(error, IoError::Failed { .. }),
            "{error} after {failed}"
        );
        drop((ch, desc));
        bdev.unregister().await;
        MallocBdev::delete(&spdk, "d81").await.unwrap();
    });
}

#[test]
fn a_request_that_is_smuggled_to_another_thread_comes_home_with_an_error() {
    thread_local! {
        static POCKET: RefCell<Option<(WriteRequest, Rc<Vec<Leg>>)>> = const { RefCell::new(None) };
    }
    SPDK.run(async |spdk| {
        let bdev = over(&spdk, "t4", 1, |legs, request| match request {
            Request::Write(write) => POCKET.set(Some((write, Rc::clone(legs)))),
            other => pass(legs, other),
        })
        .await;
        let desc = BdevDesc::open(&spdk, "t4").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let other = Thread::builder("t4").create(&spdk).await.unwrap();
        for with_children in [false, true] {
            let mut io = Box::pin(ch.write(Lba(0), desc.alloc(Blocks(1)).unwrap()));
            assert!(futures::poll!(&mut io).is_pending());
            other
                .call(move || {
                    let (write, legs) = POCKET.take().unwrap();
                    if with_children {
                        write.children(Count::new()).write(&legs[0], Lba(0), 0);
                    } else {
                        write.forward(&legs[0], Lba(0), |write, result| {
                            let home = std::thread::current().id();
                            let error = result.unwrap_err();
                            assert!(matches!(error, IoError::Thread(_)), "{error} on {home:?}");
                            write.complete(RequestStatus::Aborted);
                        });
                    }
                })
                .await
                .unwrap();
            let error = io.await.0.unwrap_err();
            assert_eq!(error.is_aborted(), !with_children, "{error}");
        }
        other.exit().await;
        drop((ch, desc));
        end(&spdk, bdev, "t4", 1).await;
    });
}
