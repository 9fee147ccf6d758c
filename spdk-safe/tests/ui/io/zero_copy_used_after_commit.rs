//! I1: a zero-copy's memory is the bdev's again after the commit.
use spdk_safe::bdev::Zcopy;

async fn misuse(region: Zcopy) {
    region.commit().await.unwrap();
    region.copy_out(0, &mut [0; 8]).unwrap();
}

fn main() {}
