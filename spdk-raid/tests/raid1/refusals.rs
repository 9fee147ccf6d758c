//! Legs that refuse an I/O when it is submitted, while others have it already: that leaves no difference behind.
//!
//! Of its own accord SPDK refuses what a bdev does not do any more (-ENOTSUP, for a FLUSH and for zeroes), and newer
//! versions do not even look again. Everything else that it would refuse is refused before, for all legs. So what is left
//! is the module of the leg, which is asked inside of the submission.

use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use spdk_raid::raid1::Raid1;
use spdk_safe::error::NvmeStatus;
use spdk_safe::module::{BdevModule, BlockDevice, BlockDeviceBuilder, Request, RequestStatus};
use spdk_safe::prelude::*;

use super::SPDK;
use super::common::{BLOCKS, Md, disk, options};

pub(crate) static MODULE: BdevModule = BdevModule::new(c"rust_refusing");

static REFUSES: AtomicBool = AtomicBool::new(false);

/// A disk that does nothing any more, by what it says of itself, whenever [`REFUSES`] says so.
struct Refusing(Mutex<Vec<u8>>);

impl BlockDevice for Refusing {
    type Channel = ();

    fn create_channel(&self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn supports(&self, io: IoType) -> bool {
        let types = [
            IoType::Read,
            IoType::Write,
            IoType::WriteZeroes,
            IoType::Unmap,
            IoType::Flush,
            IoType::Reset,
        ];
        types.contains(&io) && !REFUSES.load(Ordering::Relaxed)
    }

    fn submit(&self, _: &Rc<()>, request: Request) {
        if REFUSES.load(Ordering::Relaxed) && !matches!(request, Request::Read(_)) {
            // Invalid opcode.
            let status = NvmeStatus { sct: 0, sc: 1 };
            return request.complete(RequestStatus::Nvme { cdw0: 0, status });
        }
        let at = |lba: Lba, blocks: Blocks| {
            let from = lba.0 as usize * 512;
            from..from + blocks.0 as usize * 512
        };
        {
            let mut memory = self.0.lock().unwrap();
            match &request {
                Request::Read(read) => {
                    let from = &memory[at(read.lba(), read.blocks())];
                    read.view().copy_from(Bytes(0), from).unwrap();
                }
                Request::Write(write) => {
                    let to = &mut memory[at(write.lba(), write.blocks())];
                    write.view().copy_to(Bytes(0), to).unwrap();
                }
                Request::Unmap(range) | Request::WriteZeroes(range) => {
                    memory[at(range.lba(), range.blocks())].fill(0);
                }
                _ => {}
            }
        }
        request.complete(RequestStatus::Success);
    }
}

#[test]
fn r33_b5_16_6_what_a_leg_refuses_when_it_is_submitted_leaves_no_difference() {
    SPDK.run(async |spdk| {
        // The refusing one is the first, the second, the last.
        for place in 0..3 {
            for io in [
                IoType::Write,
                IoType::WriteZeroes,
                IoType::Unmap,
                IoType::Flush,
                IoType::Reset,
            ] {
                let memory = Refusing(Mutex::new(vec![0; BLOCKS as usize * 512]));
                let refusing = BlockDeviceBuilder::new("refusing")
                    .blocks(Blocks(BLOCKS))
                    .write_cache(true)
                    .register(&spdk, &MODULE, memory)
                    .unwrap();
                let (mut builder, mut disks) =
                    (Raid1::builder("no").options(options()), Vec::new());
                for at in 0..3 {
                    builder = match at == place {
                        true => builder.base("refusing"),
                        false => {
                            let name = format!("no{at}");
                            disks.push(disk(&spdk, &name).await);
                            builder.base(name)
                        }
                    };
                }
                let t = Md::over(&spdk, builder, "no", disks).await;
                t.write(0, 64, 1).await.unwrap();
                REFUSES.store(true, Ordering::Relaxed);
                let refused = match io {
                    IoType::Write => t.write(4, 8, 2).await,
                    IoType::WriteZeroes => t.ch.write_zeroes(Lba(4), Blocks(8)).await,
                    IoType::Unmap => t.ch.unmap(Lba(4), Blocks(8)).await,
                    IoType::Flush => t.ch.flush(Lba(4), Blocks(8)).await,
                    _ => t.ch.reset().await,
                };
                // Nobody says that it is done, nobody is at fault, and all legs say the same of it.
                refused.unwrap_err();
                let changes = !matches!(io, IoType::Flush | IoType::Reset);
                assert_eq!(t.md.info().dirty_ranges, usize::from(changes), "{io:?}");
                let first = t.read(0, 16).await.unwrap();
                for _ in 0..6 {
                    assert_eq!(t.read(0, 16).await.unwrap(), first, "{place}, {io:?}");
                }
                REFUSES.store(false, Ordering::Relaxed);
                t.until_calm().await;
                assert_eq!((t.in_sync(), t.md.info().counters.faults), (3, 0));
                assert_eq!(t.read(0, 16).await.unwrap(), first, "{place}, {io:?}");
                // It looks whether they are equal.
                t.end().await;
                refusing.unregister().await;
            }
        }
    });
}
