//! I1: memory for an I/O is a promise (`unsafe impl`), not a claim.
use spdk_safe::bdev::{IoBuf, Pieces};

struct Mapped(*mut u8);

impl IoBuf for Mapped {
    fn pieces(&mut self, pieces: &mut Pieces<'_>) {
        pieces.push(self.0, 4096);
    }
}

fn main() {}
