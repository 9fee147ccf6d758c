//! Bdevs of SPDK's own modules that come back with their bases: those modules examine what is registered.

use spdk_safe::bdev::{self, DelayBdev, NullBdev};
use spdk_safe::error::BdevError;
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static SPDK: Harness = Harness::new(&[]).auto_examine();

async fn null(spdk: &Spdk, name: &str) {
    NullBdev::builder(name)
        .blocks(64)
        .create(spdk)
        .await
        .unwrap();
}

#[test]
fn a_bdev_that_went_away_with_its_base_comes_again_and_says_so() {
    SPDK.run(async |spdk| {
        null(&spdk, "back").await;
        DelayBdev::builder("d-back", "back")
            .create(&spdk)
            .await
            .unwrap();
        NullBdev::delete(&spdk, "back").await.unwrap();
        assert!(bdev::find(&spdk, "d-back").unwrap().is_none());
        null(&spdk, "other").await;
        let error = DelayBdev::builder("d-back", "other").create(&spdk).await;
        assert_eq!(
            error,
            Err(BdevError::Awaited {
                name: "d-back".into()
            })
        );
        NullBdev::delete(&spdk, "other").await.unwrap();
        null(&spdk, "back").await;
        DelayBdev::delete(&spdk, "d-back").await.unwrap();
        // Now it is forgotten.
        NullBdev::delete(&spdk, "back").await.unwrap();
        null(&spdk, "back").await;
        assert!(bdev::find(&spdk, "d-back").unwrap().is_none());
        NullBdev::delete(&spdk, "back").await.unwrap();
    });
}
