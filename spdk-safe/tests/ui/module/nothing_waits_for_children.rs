//! M8: what waits for the children of a request is told how.
use spdk_safe::module::WriteRequest;

struct Count(u32);

fn misuse(write: WriteRequest) {
    drop(write.children(Count(2)));
}

fn main() {}
