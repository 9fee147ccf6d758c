//! M9: a bdev is unregistered once.
use spdk_safe::module::RegisteredBdev;

async fn misuse(bdev: RegisteredBdev) {
    bdev.unregister().await;
    bdev.unregister().await;
}

fn main() {}
