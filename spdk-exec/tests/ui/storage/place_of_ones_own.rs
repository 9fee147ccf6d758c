//! `Place` promises what only this crate's places keep.
use spdk_exec::Place;

struct Mine;

impl<F: Future> Place<F> for Mine {}

fn main() {}
