//! D3: who holds a claim that nobody writes does not write either.
use spdk_safe::bdev::ReadManyWriteNone;
use spdk_safe::module::BdevModule;
use spdk_safe::prelude::*;

static MODULE: BdevModule = BdevModule::new(c"ui");

async fn misuse(desc: BdevDesc<ReadOnly>, buf: DmaBuf) {
    let desc = desc.claim_as(&MODULE, ReadManyWriteNone).unwrap();
    let _ = desc.channel().unwrap().write(Lba(0), buf).await;
}

fn main() {}
