//! Which bdevs there are, what they are, and those that SPDK's own modules make.

use std::cell::RefCell;
use std::future::Future;
use std::num::NonZeroU8;
use std::task::{Context, Waker};
use std::time::Duration;

use futures_util::future::{join, join_all};
use spdk_safe::app::yield_now;
use spdk_safe::bdev::{
    self, AioBdev, DelayBdev, DifType, ErrorBdev, Fault, Injection, Latency, NullBdev,
    PassthruBdev, QosLimits, Uuid,
};
use spdk_safe::error::{BdevError, NvmeStatus};
use spdk_safe::prelude::*;
use spdk_safe::test::Harness;

static SPDK: Harness = Harness::new(&[]);

/// Whether the linked SPDK is this version or newer.
fn since(major: u32, minor: u32) -> bool {
    spdk_sys::VERSION >= (major, minor, 0)
}

async fn null(spdk: &Spdk, name: &str) {
    NullBdev::builder(name)
        .blocks(64)
        .create(spdk)
        .await
        .unwrap();
}

async fn malloc(spdk: &Spdk, name: &str) {
    MallocBdev::builder(name)
        .blocks(64)
        .create(spdk)
        .await
        .unwrap();
}

/// What `create` did, or that this SPDK is too old for it, which then has to be what it says.
fn made<T>(result: Result<T, BdevError>, (major, minor): (u32, u32)) -> Option<T> {
    if since(major, minor) {
        return Some(result.unwrap());
    }
    match result {
        Err(error @ BdevError::NeedsVersion { needs, .. }) => {
            assert_eq!(needs, format!("{major}.{minor:02}"));
            println!("not on this SPDK: {error}");
            None
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("this SPDK is too old for it"),
    }
}

#[test]
fn a_list_has_every_bdev_in_order_with_what_it_is() {
    SPDK.run(async |spdk| {
        for name in ["list-a", "list-b", "list-c"] {
            null(&spdk, name).await;
        }
        let listed = bdev::list(&spdk).unwrap();
        let names: Vec<_> = listed
            .iter()
            .map(|bdev| bdev.name.as_str())
            .filter(|name| name.starts_with("list-"))
            .collect();
        assert_eq!(names, ["list-a", "list-b", "list-c"]);
        let desc = BdevDesc::open(&spdk, "list-b").read_only().unwrap();
        let found = listed.iter().find(|bdev| bdev.name == "list-b").unwrap();
        assert_eq!(desc.info(), found);
        desc.close().await;
        for name in ["list-a", "list-b", "list-c"] {
            NullBdev::delete(&spdk, name).await.unwrap();
        }
        assert!(
            !bdev::list(&spdk)
                .unwrap()
                .iter()
                .any(|bdev| bdev.name.starts_with("list-"))
        );
    });
}

#[test]
fn d7_an_enumeration_goes_on_while_bdevs_come_and_go() {
    SPDK.run(async |spdk| {
        for at in 0..8 {
            null(&spdk, &format!("enum-{at}")).await;
        }
        let mut seen = Vec::new();
        for bdev in bdev::list(&spdk).unwrap() {
            let Some(at) = bdev.name.strip_prefix("enum-") else {
                continue;
            };
            // What is looked at goes, and so does the next one; another one comes.
            let _ = NullBdev::delete(&spdk, &bdev.name).await;
            let next = format!("enum-{}", at.parse::<u32>().unwrap() + 1);
            let _ = NullBdev::delete(&spdk, &next).await;
            null(&spdk, &format!("came-{at}")).await;
            yield_now().await;
            assert_eq!(bdev.block_size, 512);
            seen.push(bdev);
        }
        assert_eq!(
            seen.len(),
            8,
            "the picture that was taken, whatever happened since"
        );
        for at in 0..8 {
            NullBdev::delete(&spdk, &format!("came-{at}"))
                .await
                .unwrap();
        }
    });
}

#[test]
fn a_list_while_bdevs_are_being_removed_leaves_those_out() {
    SPDK.run(async |spdk| {
        null(&spdk, "going").await;
        let desc = BdevDesc::open(&spdk, "going").read_only().unwrap();
        let delete = NullBdev::delete(&spdk, "going");
        let look = async {
            // The deletion has begun, and our descriptor has not been told yet.
            assert!(!desc.is_removed());
            assert!(bdev::find(&spdk, "going").unwrap().is_none());
            assert!(
                !bdev::list(&spdk)
                    .unwrap()
                    .iter()
                    .any(|bdev| bdev.name == "going")
            );
            assert!(matches!(
                BdevDesc::open(&spdk, "going").read_only(),
                Err(OpenError::NotFound { .. })
            ));
            assert!(matches!(
                NullBdev::delete(&spdk, "going").await,
                Err(BdevError::NotFound { .. } | BdevError::Deleting { .. })
            ));
        };
        join(delete, look).await.0.unwrap();
    });
}

#[test]
fn a_bdev_is_found_by_its_name_and_by_its_uuid() {
    SPDK.run(async |spdk| {
        let uuid: Uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse().unwrap();
        for malloc in [false, true] {
            if malloc {
                MallocBdev::builder("by-uuid")
                    .blocks(8)
                    .uuid(uuid)
                    .create(&spdk)
                    .await
                    .unwrap();
            } else {
                NullBdev::builder("by-uuid")
                    .blocks(8)
                    .uuid(uuid)
                    .create(&spdk)
                    .await
                    .unwrap();
            }
            for name in [
                "by-uuid",
                "67e55044-10b1-426f-9247-bb680e5fe0c8",
                "67E55044-10B1-426F-9247-BB680E5FE0C8",
                "67e5504410b1426f9247bb680e5fe0c8",
            ] {
                let found = bdev::find(&spdk, name).unwrap().unwrap();
                assert_eq!((found.name.as_str(), found.uuid), ("by-uuid", uuid));
                let desc = BdevDesc::open(&spdk, name).read_only().unwrap();
                assert_eq!(desc.info().name, "by-uuid");
                desc.close().await;
            }
            for name in [
                "",
                "by-uui",
                "by\0uuid",
                "67e55044-10b1-426f-9247-bb680e5fe0c9",
            ] {
                assert_eq!(bdev::find(&spdk, name).unwrap(), None, "{name:?}");
            }
            if malloc {
                MallocBdev::delete(&spdk, "by-uuid").await.unwrap();
            } else {
                NullBdev::delete(&spdk, "by-uuid").await.unwrap();
            }
        }
    });
}

#[test]
fn the_info_has_the_geometry_and_what_is_supported() {
    SPDK.run(async |spdk| {
        malloc(&spdk, "info").await;
        let info = bdev::find(&spdk, "info").unwrap().unwrap();
        assert_eq!(
            (
                info.block_size,
                info.data_block_size,
                info.physical_block_size
            ),
            (512, 512, 512)
        );
        assert_eq!(
            (info.num_blocks, info.size()),
            (Blocks(64), Some(Bytes(32_768)))
        );
        assert_eq!((info.metadata_size, info.dif, info.zones), (0, None, None));
        assert_eq!((info.write_unit, info.acwu), (1, 1));
        assert!(!info.uuid.is_nil());
        assert!(info.write_cache && !info.media_events && info.claim.is_none());
        for io in [
            IoType::Read,
            IoType::Write,
            IoType::Unmap,
            IoType::Flush,
            IoType::Reset,
            IoType::WriteZeroes,
        ] {
            assert!(info.supports(io), "{io}");
            assert!(info.io_types.iter().any(|have| have == io), "{io}");
        }
        let picture = info.to_string();
        for line in [
            "info (Malloc disk, module malloc)",
            "64 blocks of 512 B = 32768 B",
            "claimed    no",
        ] {
            assert!(picture.contains(line), "{picture}");
        }
        MallocBdev::delete(&spdk, "info").await.unwrap();

        null(&spdk, "info").await;
        let info = bdev::find(&spdk, "info").unwrap().unwrap();
        assert!(!info.supports(IoType::Unmap) && !info.supports(IoType::Flush));
        assert!(info.supports(IoType::WriteZeroes));
        NullBdev::delete(&spdk, "info").await.unwrap();
    });
}

#[test]
fn the_info_has_the_metadata_and_its_protection() {
    SPDK.run(async |spdk| {
        NullBdev::builder("dif")
            .blocks(8)
            .interleaved_metadata(8)
            .dif(DifType::Type1, true)
            .create(&spdk)
            .await
            .unwrap();
        let info = bdev::find(&spdk, "dif").unwrap().unwrap();
        assert_eq!((info.block_size, info.data_block_size), (520, 512));
        assert_eq!((info.metadata_size, info.metadata_interleaved), (8, true));
        let dif = info.dif.unwrap();
        assert_eq!(
            (dif.kind, dif.at_head, dif.guard_bits),
            (DifType::Type1, true, 16)
        );
        assert!(dif.checks_guard && dif.checks_ref_tag && !dif.checks_app_tag);
        assert!(info.to_string().contains("DIF Type1 at the head"), "{info}");
        NullBdev::delete(&spdk, "dif").await.unwrap();

        let separate = MallocBdev::builder("md")
            .blocks(8)
            .separate_metadata(16)
            .dif(DifType::Type3, false)
            .create(&spdk)
            .await;
        if made(separate, (23, 1)).is_some() {
            let info = bdev::find(&spdk, "md").unwrap().unwrap();
            assert_eq!((info.block_size, info.metadata_size), (512, 16));
            assert!(!info.metadata_interleaved);
            let dif = info.dif.unwrap();
            assert!(dif.kind == DifType::Type3 && !dif.at_head && !dif.checks_ref_tag);
            MallocBdev::delete(&spdk, "md").await.unwrap();
        }
        let interleaved = MallocBdev::builder("md")
            .blocks(8)
            .block_size(4096)
            .interleaved_metadata(64)
            .create(&spdk)
            .await;
        if made(interleaved, (23, 1)).is_some() {
            let info = bdev::find(&spdk, "md").unwrap().unwrap();
            assert_eq!((info.block_size, info.data_block_size), (4160, 4096));
            assert_eq!((info.metadata_interleaved, info.dif), (true, None));
            MallocBdev::delete(&spdk, "md").await.unwrap();
        }
    });
}

#[test]
fn what_a_version_does_not_have_is_an_error_that_names_the_one_that_does() {
    SPDK.run(async |spdk| {
        let builder = || MallocBdev::builder("opts").blocks(64);
        let info = || bdev::find(&spdk, "opts").unwrap().unwrap();
        if made(
            builder().optimal_io_boundary(8).create(&spdk).await,
            (22, 1),
        )
        .is_some()
        {
            assert_eq!(
                (info().optimal_io_boundary, info().splits_at_boundary),
                (8, true)
            );
            MallocBdev::delete(&spdk, "opts").await.unwrap();
        }
        if made(
            builder().physical_block_size(4096).create(&spdk).await,
            (23, 5),
        )
        .is_some()
        {
            assert_eq!(info().physical_block_size, 4096);
            MallocBdev::delete(&spdk, "opts").await.unwrap();
        }
        let null = NullBdev::builder("opts")
            .blocks(8)
            .physical_block_size(4096);
        if made(null.create(&spdk).await, (23, 5)).is_some() {
            assert_eq!(info().physical_block_size, 4096);
            NullBdev::delete(&spdk, "opts").await.unwrap();
        }
        if made(builder().numa_node(0).create(&spdk).await, (26, 1)).is_some() {
            assert_eq!(info().numa_node, Some(0));
            MallocBdev::delete(&spdk, "opts").await.unwrap();
        }
        let nowhere = builder().numa_node(1000).create(&spdk).await;
        assert!(nowhere.is_err(), "there is no such node");
        let nowhere = builder().numa_node(u32::MAX).create(&spdk).await;
        assert!(
            matches!(nowhere, Err(BdevError::Geometry { .. })),
            "{nowhere:?}"
        );
        let uuid = Uuid::from_bytes([7; 16]);
        malloc(&spdk, "under").await;
        let delay = DelayBdev::builder("over", "under").uuid(uuid);
        if made(delay.create(&spdk).await, (23, 5)).is_some() {
            assert_eq!(bdev::find(&spdk, "over").unwrap().unwrap().uuid, uuid);
            DelayBdev::delete(&spdk, "over").await.unwrap();
        }
        let passthru = PassthruBdev::builder("over", "under").uuid(uuid);
        if made(passthru.create(&spdk).await, (23, 9)).is_some() {
            assert_eq!(bdev::find(&spdk, "over").unwrap().unwrap().uuid, uuid);
            PassthruBdev::delete(&spdk, "over").await.unwrap();
        }
        assert_eq!(
            bdev::find(&spdk, "under").unwrap().unwrap().claim,
            None,
            "let go"
        );
        MallocBdev::delete(&spdk, "under").await.unwrap();
    });
}

#[test]
fn names_and_sizes_that_can_not_be_are_errors() {
    SPDK.run(async |spdk| {
        null(&spdk, "taken").await;
        let long = "n".repeat(256);
        for name in ["", "a\0b", long.as_str()] {
            let errors = [
                MallocBdev::builder(name).blocks(8).create(&spdk).await,
                NullBdev::builder(name).blocks(8).create(&spdk).await,
                DelayBdev::builder(name, "taken").create(&spdk).await,
                PassthruBdev::builder(name, "taken").create(&spdk).await,
                AioBdev::builder(name, "/dev/null").create(&spdk).await,
            ];
            for error in errors {
                assert!(matches!(error, Err(BdevError::Name { .. })), "{error:?}");
            }
            let missing = [
                MallocBdev::delete(&spdk, name).await,
                NullBdev::delete(&spdk, name).await,
                ErrorBdev::delete(&spdk, name).await,
                DelayBdev::delete(&spdk, name).await,
                PassthruBdev::delete(&spdk, name).await,
                AioBdev::delete(&spdk, name).await,
                NullBdev::resize(&spdk, name, 8),
                ErrorBdev::clear(&spdk, name),
                ErrorBdev::abort_held(&spdk, name).await,
                ErrorBdev::inject(&spdk, name, Injection::new(Fault::Fail)),
                DelayBdev::set_latency(&spdk, name, Latency::P99Read, Duration::ZERO),
            ];
            for error in missing {
                assert!(
                    matches!(error, Err(BdevError::NotFound { .. })),
                    "{error:?}"
                );
            }
        }
        let exists = [
            MallocBdev::builder("taken").blocks(8).create(&spdk).await,
            NullBdev::builder("taken").blocks(8).create(&spdk).await,
            DelayBdev::builder("taken", "taken").create(&spdk).await,
            PassthruBdev::builder("taken", "taken").create(&spdk).await,
            AioBdev::builder("taken", "/dev/null").create(&spdk).await,
        ];
        for error in exists {
            assert_eq!(
                error,
                Err(BdevError::Exists {
                    name: "taken".into()
                })
            );
        }
        let kinds = [
            MallocBdev::delete(&spdk, "taken").await,
            ErrorBdev::delete(&spdk, "taken").await,
            DelayBdev::delete(&spdk, "taken").await,
            PassthruBdev::delete(&spdk, "taken").await,
            AioBdev::delete(&spdk, "taken").await,
            ErrorBdev::inject(&spdk, "taken", Injection::new(Fault::Fail)),
            DelayBdev::set_latency(&spdk, "taken", Latency::P99Read, Duration::ZERO),
        ];
        for error in kinds {
            assert_eq!(
                error,
                Err(BdevError::NotFound {
                    name: "taken".into()
                }),
                "a bdev of another kind is left alone"
            );
        }
        let sizes = [
            (0, 512, 0),
            (8, 0, 0),
            (8, 500, 0),
            (8, 131_072, 0),
            (u64::MAX, 512, 0),
            (8, 512, 9),
        ];
        for (blocks, block_size, metadata) in sizes {
            let errors = [
                NullBdev::builder("size")
                    .blocks(blocks)
                    .block_size(block_size)
                    .interleaved_metadata(metadata)
                    .create(&spdk)
                    .await,
                MallocBdev::builder("size")
                    .blocks(blocks)
                    .block_size(block_size)
                    .separate_metadata(metadata)
                    .create(&spdk)
                    .await,
            ];
            for error in errors {
                assert!(
                    matches!(error, Err(BdevError::Geometry { .. })),
                    "{blocks} {block_size} {metadata}: {error:?}"
                );
            }
        }
        let error = NullBdev::builder("size")
            .blocks(8)
            .dif(DifType::Type2, false)
            .create(&spdk)
            .await;
        assert!(
            matches!(error, Err(BdevError::Geometry { .. })),
            "{error:?}"
        );
        let error = NullBdev::builder("size")
            .blocks(8)
            .physical_block_size(100)
            .create(&spdk)
            .await;
        assert!(
            matches!(error, Err(BdevError::Geometry { .. })),
            "{error:?}"
        );
        let us = Duration::from_micros;
        for (average, p99) in [
            (us(2), us(1)),
            (us(1), Duration::MAX),
            (us(3_600_000_001), Duration::MAX),
        ] {
            let error = DelayBdev::builder("size", "taken")
                .read(average, p99)
                .create(&spdk)
                .await;
            assert!(
                matches!(error, Err(BdevError::Geometry { .. })),
                "{error:?}"
            );
        }
        assert!(bdev::find(&spdk, "size").unwrap().is_none());
        assert_eq!(bdev::find(&spdk, "taken").unwrap().unwrap().claim, None);
        NullBdev::delete(&spdk, "taken").await.unwrap();
    });
}

#[test]
fn a_base_that_is_missing_claimed_or_going_is_an_error_and_nothing_is_left_behind() {
    SPDK.run(async |spdk| {
        let all = async |base: &str| {
            [
                ErrorBdev::on(base).create(&spdk).await.map(drop),
                DelayBdev::builder("over", base).create(&spdk).await,
                PassthruBdev::builder("over", base).create(&spdk).await,
            ]
        };
        for base in ["", "base", "ba\0se"] {
            for error in all(base).await {
                assert!(matches!(error, Err(BdevError::NoBase { .. })), "{error:?}");
            }
        }
        // SPDK would have taken note of the name, and taken the bdev now.
        null(&spdk, "base").await;
        assert_eq!(bdev::find(&spdk, "base").unwrap().unwrap().claim, None);
        assert!(bdev::find(&spdk, "over").unwrap().is_none());

        PassthruBdev::builder("holder", "base")
            .create(&spdk)
            .await
            .unwrap();
        for error in all("base").await {
            match error {
                Err(BdevError::BaseClaimed { by, claim, .. }) => {
                    assert_eq!(
                        (by.as_str(), claim),
                        ("passthru", Some(bdev::ClaimKind::ExclusiveWrite))
                    );
                }
                other => panic!("{other:?}"),
            }
        }
        let claim = bdev::find(&spdk, "base").unwrap().unwrap().claim.unwrap();
        assert_eq!(claim.by, "passthru");
        PassthruBdev::delete(&spdk, "holder").await.unwrap();

        let desc = BdevDesc::open(&spdk, "base").read_only().unwrap();
        let look = async {
            for error in all("base").await {
                assert!(matches!(error, Err(BdevError::NoBase { .. })), "{error:?}");
            }
        };
        join(NullBdev::delete(&spdk, "base"), look).await.0.unwrap();
        desc.close().await;
    });
}

/// An error bdev over a malloc bdev, and a descriptor of it.
async fn error_bdev(spdk: &Spdk, base: &str) -> (String, BdevDesc<ReadWrite>) {
    malloc(spdk, base).await;
    let name = ErrorBdev::on(base).create(spdk).await.unwrap();
    let desc = BdevDesc::open(spdk, &name).read_write().unwrap();
    (name, desc)
}

#[test]
fn an_injected_failure_fails_so_many_ios_of_that_type() {
    SPDK.run(async |spdk| {
        let (name, desc) = error_bdev(&spdk, "fail").await;
        let ch = desc.channel().unwrap();
        let read = async || ch.read(Lba(0), desc.alloc(Blocks(1)).unwrap()).await.0;
        let write = async || ch.write(Lba(0), desc.alloc(Blocks(1)).unwrap()).await.0;
        read().await.unwrap();
        let two = Injection::new(Fault::Fail)
            .into_type(IoType::Write)
            .count(2);
        ErrorBdev::inject(&spdk, &name, two).unwrap();
        read().await.unwrap();
        assert!(matches!(write().await, Err(IoError::Failed { .. })));
        assert!(matches!(write().await, Err(IoError::Failed { .. })));
        write().await.unwrap();

        ErrorBdev::inject(&spdk, &name, Injection::new(Fault::Fail)).unwrap();
        for _ in 0..10 {
            assert!(read().await.is_err() && write().await.is_err());
            assert!(ch.unmap(Lba(0), Blocks(1)).await.is_err());
            assert!(ch.flush(Lba(0), Blocks(1)).await.is_err());
        }
        ErrorBdev::clear(&spdk, &name).unwrap();
        read().await.unwrap();
        write().await.unwrap();

        for io in [IoType::Reset, IoType::WriteZeroes] {
            let error = ErrorBdev::inject(&spdk, &name, Injection::new(Fault::Fail).into_type(io));
            assert!(matches!(error, Err(BdevError::Inject { .. })), "{error:?}");
        }
        drop((ch, desc));
        ErrorBdev::delete(&spdk, &name).await.unwrap();
        MallocBdev::delete(&spdk, "fail").await.unwrap();
    });
}

#[test]
fn injected_faults_of_newer_versions_or_an_error_that_names_them() {
    SPDK.run(async |spdk| {
        let (name, desc) = error_bdev(&spdk, "faults").await;
        let ch = desc.channel().unwrap();
        let read = async || ch.read(Lba(0), desc.alloc(Blocks(1)).unwrap()).await;
        let xor = NonZeroU8::new(0x55).unwrap();
        let corrupt = Injection::new(Fault::Corrupt { offset: 3, xor }).count(1);
        if made(ErrorBdev::inject(&spdk, &name, corrupt), (23, 1)).is_some() {
            let (result, data) = read().await;
            result.unwrap();
            assert_eq!(&data[..5], [0, 0, 0, 0x55, 0]);
            assert!(read().await.1.iter().all(|byte| *byte == 0));
        }
        let error = ErrorBdev::inject(&spdk, &name, corrupt.into_type(IoType::Write));
        assert!(matches!(error, Err(BdevError::Inject { .. })), "{error:?}");

        let no_memory = Injection::new(Fault::NoMemory).count(3);
        if made(ErrorBdev::inject(&spdk, &name, no_memory), (24, 1)).is_some() {
            read().await.0.unwrap();
        }
        let status = NvmeStatus { sct: 2, sc: 0x81 };
        if made(
            ErrorBdev::inject(&spdk, &name, Injection::new(Fault::Nvme(status)).count(1)),
            (26, 5),
        )
        .is_some()
        {
            let error = read().await.0.unwrap_err();
            assert!(error.status().unwrap().nvme == status, "{error}");
        }
        let deep = Injection::new(Fault::Fail).at_queue_depth(1).count(1);
        if made(ErrorBdev::inject(&spdk, &name, deep), (23, 9)).is_some() {
            read().await.0.unwrap();
            let (first, second) = join(read(), read()).await;
            first.0.unwrap();
            assert!(second.0.is_err(), "one was below then");
        }
        drop((ch, desc));
        ErrorBdev::delete(&spdk, &name).await.unwrap();
        MallocBdev::delete(&spdk, "faults").await.unwrap();
    });
}

#[test]
fn d8_io_that_an_error_bdev_holds_back_fails_when_the_bdev_is_deleted() {
    SPDK.run(async |spdk| {
        let (name, desc) = error_bdev(&spdk, "hold").await;
        let ch = desc.channel().unwrap();
        let hold = Injection::new(Fault::Hold).into_type(IoType::Read).count(2);
        ErrorBdev::inject(&spdk, &name, hold).unwrap();
        let held = ch.read(Lba(0), desc.alloc(Blocks(1)).unwrap());
        let let_go = async {
            ch.write(Lba(0), desc.alloc(Blocks(1)).unwrap())
                .await
                .0
                .unwrap();
            ErrorBdev::abort_held(&spdk, &name).await.unwrap();
        };
        let ((result, _), ()) = join(held, let_go).await;
        assert!(matches!(result, Err(IoError::Failed { .. })), "{result:?}");

        ErrorBdev::inject(&spdk, &name, hold).unwrap();
        let held = ch.read(Lba(0), desc.alloc(Blocks(1)).unwrap());
        let delete = async { ErrorBdev::delete(&spdk, &name).await.unwrap() };
        let ((result, _), ()) = join(held, delete).await;
        assert!(result.is_err());
        drop((ch, desc));
        MallocBdev::delete(&spdk, "hold").await.unwrap();
    });
}

#[test]
fn a_deletion_whose_future_was_dropped_goes_on() {
    SPDK.run(async |spdk| {
        null(&spdk, "dropped").await;
        let desc = BdevDesc::open(&spdk, "dropped").read_only().unwrap();
        let mut delete = Box::pin(NullBdev::delete(&spdk, "dropped"));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(delete.as_mut().poll(&mut cx).is_pending());
        drop(delete);
        while !desc.is_removed() {
            yield_now().await;
        }
        desc.close().await;
        while bdev::find(&spdk, "dropped").unwrap().is_some() {
            yield_now().await;
        }
        // One that was never polled does nothing.
        null(&spdk, "dropped").await;
        drop(NullBdev::delete(&spdk, "dropped"));
        yield_now().await;
        NullBdev::delete(&spdk, "dropped").await.unwrap();
    });
}

#[test]
fn a_delay_bdev_delays_what_it_was_told_to() {
    SPDK.run(async |spdk| {
        malloc(&spdk, "slow-base").await;
        DelayBdev::builder("slow", "slow-base")
            .create(&spdk)
            .await
            .unwrap();
        let long = Duration::from_millis(if since(22, 1) { 60_000 } else { 500 });
        DelayBdev::set_latency(&spdk, "slow", Latency::AverageRead, long).unwrap();
        DelayBdev::set_latency(&spdk, "slow", Latency::P99Read, long).unwrap();
        let desc = BdevDesc::open(&spdk, "slow").read_write().unwrap();
        let ch = desc.channel().unwrap();
        let order = RefCell::new(Vec::new());
        let read = async {
            let result = ch.read(Lba(0), desc.alloc(Blocks(1)).unwrap()).await.0;
            order.borrow_mut().push("read");
            result
        };
        let write = async {
            ch.write(Lba(0), desc.alloc(Blocks(1)).unwrap())
                .await
                .0
                .unwrap();
            order.borrow_mut().push("write");
            ch.reset().await
        };
        let (read, reset) = join(read, write).await;
        assert_eq!(*order.borrow(), ["write", "read"]);
        if since(22, 1) {
            reset.unwrap();
            assert!(matches!(read, Err(IoError::Failed { .. })), "{read:?}");
        } else {
            // It would crash the process.
            assert!(matches!(reset, Err(IoError::Unsupported { .. })));
            read.unwrap();
            let error = PassthruBdev::builder("over", "slow").create(&spdk).await;
            assert!(
                matches!(error, Err(BdevError::NeedsVersion { needs: "22.01", .. })),
                "{error:?}"
            );
        }
        let error = DelayBdev::set_latency(&spdk, "slow", Latency::P99Write, Duration::MAX);
        assert!(
            matches!(error, Err(BdevError::Geometry { .. })),
            "{error:?}"
        );
        drop((ch, desc));
        DelayBdev::delete(&spdk, "slow").await.unwrap();
        MallocBdev::delete(&spdk, "slow-base").await.unwrap();
    });
}

#[test]
fn a_pass_through_bdev_shows_its_base() {
    SPDK.run(async |spdk| {
        malloc(&spdk, "pt-base").await;
        // By its UUID, which the module would take for a name that is yet to come.
        let uuid = bdev::find(&spdk, "pt-base")
            .unwrap()
            .unwrap()
            .uuid
            .to_string();
        PassthruBdev::builder("pt", uuid)
            .create(&spdk)
            .await
            .unwrap();
        let desc = BdevDesc::open(&spdk, "pt").read_write().unwrap();
        let below = BdevDesc::open(&spdk, "pt-base").read_only().unwrap();
        let (ch, ch_below) = (desc.channel().unwrap(), below.channel().unwrap());
        let mut buf = desc.alloc(Blocks(1)).unwrap();
        buf.fill(0x77);
        ch.write(Lba(9), buf).await.0.unwrap();
        let (result, data) = ch_below.read(Lba(9), below.alloc(Blocks(1)).unwrap()).await;
        result.unwrap();
        assert!(data.iter().all(|byte| *byte == 0x77));
        drop((ch, ch_below, desc, below));
        // The base goes, and what stands on it.
        MallocBdev::delete(&spdk, "pt-base").await.unwrap();
        assert!(bdev::find(&spdk, "pt").unwrap().is_none());
    });
}

#[test]
fn an_aio_bdev_shows_its_file() {
    SPDK.run(async |spdk| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        std::fs::write(&path, vec![3_u8; 16 * 512]).unwrap();
        AioBdev::builder("aio", &path).create(&spdk).await.unwrap();
        let desc = BdevDesc::open(&spdk, "aio").read_write().unwrap();
        assert_eq!(desc.num_blocks(), Blocks(16));
        let ch = desc.channel().unwrap();
        let mut buf = desc.alloc(Blocks(1)).unwrap();
        buf.fill(4);
        ch.write(Lba(1), buf).await.0.unwrap();
        ch.flush(Lba(0), Blocks(16)).await.unwrap();
        let (result, data) = ch.read(Lba(0), desc.alloc(Blocks(2)).unwrap()).await;
        result.unwrap();
        assert!(
            data[..512].iter().all(|byte| *byte == 3) && data[512..].iter().all(|byte| *byte == 4)
        );
        drop((ch, desc));
        AioBdev::delete(&spdk, "aio").await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap()[512], 4);

        let read_only = AioBdev::builder("aio", &path)
            .read_only()
            .create(&spdk)
            .await;
        if made(read_only, (23, 1)).is_some() {
            let desc = BdevDesc::open(&spdk, "aio").read_write().unwrap();
            let ch = desc.channel().unwrap();
            let write = ch.write(Lba(0), desc.alloc(Blocks(1)).unwrap());
            assert!(matches!(write.await.0, Err(IoError::Failed { .. })));
            drop((ch, desc));
            AioBdev::delete(&spdk, "aio").await.unwrap();
        }
        let odd = dir.path().join("odd");
        std::fs::write(&odd, [0; 1000]).unwrap();
        let empty = dir.path().join("empty");
        std::fs::write(&empty, []).unwrap();
        for path in [odd, empty] {
            let error = AioBdev::builder("bad", path).create(&spdk).await;
            assert!(
                matches!(error, Err(BdevError::Geometry { .. })),
                "{error:?}"
            );
        }
        for path in [
            dir.path().to_owned(),
            dir.path().join("none"),
            "/dev/tty".into(),
            "a\0b".into(),
            "".into(),
        ] {
            let error = AioBdev::builder("bad", path).create(&spdk).await;
            assert!(matches!(error, Err(BdevError::File { .. })), "{error:?}");
        }
        for size in [0, 256, 513, 131_072] {
            let error = AioBdev::builder("bad", &path)
                .block_size(size)
                .create(&spdk)
                .await;
            assert!(
                matches!(error, Err(BdevError::Geometry { .. })),
                "{error:?}"
            );
        }
    });
}

#[test]
fn b10_a_null_bdev_grows_under_its_descriptors_and_shrinks_without() {
    SPDK.run(async |spdk| {
        null(&spdk, "size").await;
        let desc = BdevDesc::open(&spdk, "size").read_only().unwrap();
        NullBdev::resize(&spdk, "size", 128).unwrap();
        while desc.num_blocks() != Blocks(128) {
            yield_now().await;
        }
        let error = NullBdev::resize(&spdk, "size", 32);
        assert_eq!(
            error,
            Err(BdevError::InUse {
                name: "size".into()
            })
        );
        desc.close().await;
        NullBdev::resize(&spdk, "size", 32).unwrap();
        assert_eq!(
            bdev::find(&spdk, "size").unwrap().unwrap().num_blocks,
            Blocks(32)
        );
        for blocks in [0, u64::MAX] {
            let error = NullBdev::resize(&spdk, "size", blocks);
            assert!(
                matches!(error, Err(BdevError::Geometry { .. })),
                "{error:?}"
            );
        }
        NullBdev::delete(&spdk, "size").await.unwrap();
    });
}

#[test]
fn b52_resets_that_meet_the_end_of_another_one_are_done_in_turn() {
    SPDK.run(async |spdk| {
        malloc(&spdk, "resets").await;
        let first = BdevDesc::open(&spdk, "resets").read_write().unwrap();
        let second = BdevDesc::open(&spdk, "resets").read_write().unwrap();
        let (ch, other) = (first.channel().unwrap(), second.channel().unwrap());
        let resets = (0..64).map(async |at: usize| {
            for turn in 0..16 {
                for _ in 0..(at * turn) % 5 {
                    yield_now().await;
                }
                let ch = if at % 2 == 0 { &ch } else { &other };
                ch.reset().await.unwrap();
            }
        });
        join_all(resets).await;
        drop((ch, other, first, second));
        MallocBdev::delete(&spdk, "resets").await.unwrap();
    });
}

#[test]
fn a_look_at_a_bdev_with_qos_limits_does_not_keep_it_from_going() {
    SPDK.run(async |spdk| {
        for _ in 0..10 {
            malloc(&spdk, "limited").await;
            let desc = BdevDesc::open(&spdk, "limited").read_write().unwrap();
            let limits = QosLimits {
                rw_ios_per_sec: Some(10_000),
                ..QosLimits::NONE
            };
            desc.set_qos_limits(limits).await.unwrap();
            // SPDK takes a channel of its own for the limits, and gives it back some time after the close.
            let ch = desc.channel().unwrap();
            ch.read(Lba(0), desc.alloc(Blocks(1)).unwrap())
                .await
                .0
                .unwrap();
            drop(ch);
            desc.close().await;
            // The limits stay, and the first descriptor would set off a walk over the channels.
            assert!(bdev::find(&spdk, "limited").unwrap().is_some());
            assert!(
                bdev::list(&spdk)
                    .unwrap()
                    .iter()
                    .any(|bdev| bdev.name == "limited")
            );
            MallocBdev::delete(&spdk, "limited").await.unwrap();
        }
    });
}
