//! x
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;
static SPDK: Harness = Harness::new(&[]);
#[test]
fn a() {
    SPDK.run(async |spdk| {
        MallocBdev::builder("m")
            .blocks(1024)
            .create(&spdk)
            .await
            .unwrap();
        let desc = BdevDesc::open(&spdk, "m").read_write().unwrap();
        println!("{:?}", desc.info());
        let ch = desc.channel().unwrap();
        let mut buf = desc.alloc(Blocks(8)).unwrap();
        buf.fill(7);
        let (r, mut buf) = ch.write(Lba(3), buf).await;
        r.unwrap();
        buf.fill(0);
        let (r, buf) = ch.read(Lba(3), buf).await;
        r.unwrap();
        assert!(buf.iter().all(|b| *b == 7));
        drop(ch);
        desc.close().await;
        MallocBdev::delete(&spdk, "m").await.unwrap();
    });
}
