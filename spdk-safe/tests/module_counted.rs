//! Counted, not believed: what a request that is passed on costs in heap allocations and calls to SPDK.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::rc::Rc;

use spdk_safe::bdev::SharedDesc;
use spdk_safe::module::{
    BdevModule, BlockDevice, BlockDeviceBuilder, Children, ReadRequest, Request, WriteRequest,
};
use spdk_safe::prelude::*;
use spdk_safe::test::{Calls, Harness};

static MODULE: BdevModule = BdevModule::new(c"rust_counted");
static SPDK: Harness = Harness::new(&[&MODULE]);

/// Counts on the thread that allocates, where it has been told to.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<Option<u64>> = const { Cell::new(None) };
}

// SAFETY: everything is the system allocator's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get().map(|count| count + 1));
        // SAFETY: by this function's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: by this function's contract.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Reads from the first leg, writes to both.
struct Mirror(Vec<SharedDesc<ReadWrite>>);

struct Both;

impl Children<WriteRequest> for Both {
    fn ended(&self, _: u8, result: Result<(), IoError>) {
        result.unwrap();
    }

    fn all_ended(self, request: WriteRequest) {
        request.complete(Ok(()));
    }
}

impl BlockDevice for Mirror {
    type Channel = Vec<IoChannel<ReadWrite>>;

    fn create_channel(&self) -> Result<Self::Channel, ChannelError> {
        self.0.iter().map(SharedDesc::channel).collect()
    }

    fn submit(&self, legs: &Rc<Self::Channel>, request: Request) {
        match request {
            Request::Read(read) => {
                let lba = read.lba();
                read.forward(&legs[0], lba, ReadRequest::complete);
            }
            Request::Write(write) => {
                let lba = write.lba();
                let children = write.children(Both);
                children.write(&legs[0], lba, 0);
                children.write(&legs[1], lba, 1);
            }
            other => other.complete(Ok(())),
        }
    }
}

#[test]
fn in_steady_state_a_request_that_is_passed_on_allocates_nothing() {
    SPDK.run(async |spdk| {
        let mut legs = Vec::new();
        for leg in ["leg0", "leg1"] {
            MallocBdev::builder(leg)
                .blocks(64)
                .create(&spdk)
                .await
                .unwrap();
            let desc = BdevDesc::open(&spdk, leg).read_write().unwrap();
            legs.push(desc.claim(&MODULE).unwrap().share());
        }
        let bdev = BlockDeviceBuilder::new("mirror")
            .blocks(Blocks(64))
            .register(&spdk, &MODULE, Mirror(legs))
            .unwrap();
        let desc = BdevDesc::open(&spdk, "mirror").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let mut buf = desc.alloc(Blocks(8)).unwrap();
        // Those of the client make their slot.
        buf = ch.write(Lba(0), buf).await.1;

        let mut held = Some(buf);
        let before = Calls::so_far();
        ALLOCATIONS.set(Some(0));
        for _ in 0..1_000 {
            let (result, buf) = ch.read(Lba(8), held.take().unwrap()).await;
            result.unwrap();
            held = Some(buf);
        }
        let reads = Calls::so_far();
        for _ in 0..1_000 {
            let (result, buf) = ch.write(Lba(0), held.take().unwrap()).await;
            result.unwrap();
            held = Some(buf);
        }
        let count = ALLOCATIONS.take().unwrap();
        let writes = Calls::so_far();
        assert_eq!(count, 0, "allocations in 1,000 reads and writes");
        // The client's own, and one for each leg.
        assert_eq!(reads.submit - before.submit, 2_000);
        assert_eq!(reads.free - before.free, 2_000);
        assert_eq!(writes.submit - reads.submit, 3_000);
        assert_eq!(writes.free - reads.free, 3_000);
        // Which thread is current: for a read that is passed on, when it goes down and when it is completed. The
        // client's own take three (see `counted`).
        let per_read = (reads.thread - before.thread) as f64 / 1_000.0;
        let per_write = (writes.thread - reads.thread) as f64 / 1_000.0;
        println!("spdk_get_thread: {per_read} for each read, {per_write} for each write");
        assert!(per_read <= 5.0, "{per_read}");
        assert!(per_write <= 7.0, "{per_write}");
        drop((ch, held));
        desc.close().await;
        bdev.unregister().await;
        for leg in ["leg0", "leg1"] {
            MallocBdev::delete(&spdk, leg).await.unwrap();
        }
    });
}
