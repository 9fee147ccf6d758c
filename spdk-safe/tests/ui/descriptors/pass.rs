//! A descriptor does what it was opened and claimed for, and is closed once.
use spdk_safe::bdev::{ReadManyWriteNone, ReadManyWriteOne, ReadManyWriteShared};
use spdk_safe::module::BdevModule;
use spdk_safe::prelude::*;

static MODULE: BdevModule = BdevModule::new(c"ui");

async fn used_then_closed(desc: BdevDesc) -> u32 {
    let info = desc.info().clone();
    drop(desc.channel());
    desc.close().await;
    info.block_size
}

async fn writable(spdk: &Spdk, buf: DmaBuf) {
    let desc = BdevDesc::open(spdk, "disk0").read_write().unwrap();
    let ch = desc.channel().unwrap();
    let _ = ch.write(Lba(0), buf).await.0;
    let _ = ch.unmap(Lba(0), Blocks(8)).await;
    let _ = ch.write_zeroes(Lba(0), Blocks(8)).await;
    let _ = ch.flush(Lba(0), Blocks(8)).await;
    let _ = ch.reset().await;
    needs_a_claim(desc.claim(&MODULE).unwrap());
}

async fn claimed_for_reading(desc: BdevDesc<ReadOnly>, key: std::num::NonZeroU64) {
    let desc = desc.claim_as(&MODULE, ReadManyWriteNone).unwrap();
    let other: BdevDesc<ReadOnly> = opened();
    needs_a_claim(other.claim_as(&MODULE, ReadManyWriteOne).unwrap());
    let other: BdevDesc<ReadWrite> = opened();
    needs_a_claim(
        other
            .claim_as(&MODULE, ReadManyWriteShared { key })
            .unwrap(),
    );
    desc.close().await;
}

fn opened<T>() -> T {
    unimplemented!()
}

fn needs_a_claim(_desc: BdevDesc<ReadWrite, Claimed>) {}
