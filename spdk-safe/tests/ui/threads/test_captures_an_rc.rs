//! T2: a test runs on the app thread, so what it captures is sent there.
use std::rc::Rc;

use spdk_safe::test::Harness;

static SPDK: Harness = Harness::new(&[]);

fn misuse(shared: Rc<u32>) {
    SPDK.run(async move |_spdk| assert_eq!(*shared, 1));
}

fn main() {}
