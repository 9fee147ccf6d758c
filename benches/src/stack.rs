//! The contenders: what may stand on one or two bdevs, built anew for each turn, since claims exclude one another.
//!
//! | contender | what the load runs on |
//! | --- | --- |
//! | [`Raw`](Contender::Raw) | the first leg |
//! | [`Passthru`](Contender::Passthru) | `spdk_bdevs::passthru` on the first leg |
//! | [`CPassthru`](Contender::CPassthru) | SPDK's `vbdev_passthru` on the first leg |
//! | [`Floor`](Contender::Floor) | the least that a mirror of two legs can do in C: `csrc/floor.c` |
//! | [`Raid1`](Contender::Raid1) | our RAID1 on both legs |
//! | [`CRaid1`](Contender::CRaid1) | SPDK's raid1 on both legs; SPDK has one since 22.09 |
//! | [`Forgetful`](Contender::Forgetful), [`Garbling`](Contender::Garbling) | floors that are broken, to see that this is found |

use std::path::PathBuf;

use futures::channel::oneshot;
use serde_json::Value;
use spdk_bdevs::passthru::{self, Passthru};
use spdk_raid::raid1::{self, Raid1};
use spdk_safe::app::{App, Builder, Cores, LogLevel, Pools, Spdk};
use spdk_safe::bdev::{BdevDesc, MallocBdev, NullBdev, PassthruBdev};
use spdk_safe::rpc::Client;
use spdk_safe::units::{Blocks, Lba, Mib};
use tempfile::TempDir;

use crate::client::{Order, RigError};
use crate::floor::{Fault, Floor};
use crate::load::{Driver, End, Load, drive, pattern};
pub use crate::passthru::Base;
pub use crate::raid1::has_c as has_c_raid1;

/// Bytes in a block of the legs.
pub const BLOCK_SIZE: u32 = 512;
/// The names of the legs.
pub const LEGS: [&str; 2] = ["leg0", "leg1"];
/// The name of what stands on them.
const TOP: &str = "top";

/// What the load runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    /// A leg.
    Raw,
    /// Our pass-through.
    Passthru,
    /// SPDK's.
    CPassthru,
    /// The floor.
    Floor,
    /// Our RAID1.
    Raid1,
    /// SPDK's.
    CRaid1,
    /// A floor that does not write everything to its second leg.
    Forgetful,
    /// A floor that does not read what there is.
    Garbling,
}

impl Contender {
    /// Those that are measured.
    pub const ALL: [Self; 6] = [
        Self::Raw,
        Self::Passthru,
        Self::CPassthru,
        Self::Floor,
        Self::Raid1,
        Self::CRaid1,
    ];
    /// Those that are broken.
    pub const BROKEN: [Self; 2] = [Self::Forgetful, Self::Garbling];

    /// Its name in options and results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Passthru => "passthru",
            Self::CPassthru => "c-passthru",
            Self::Floor => "floor",
            Self::Raid1 => "raid1",
            Self::CRaid1 => "c-raid1",
            Self::Forgetful => "forgetful",
            Self::Garbling => "garbling",
        }
    }

    /// The one with that name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter().chain(Self::BROKEN);
        all.find(|contender| contender.name() == name)
    }

    /// Whether the linked SPDK has what it needs.
    #[must_use]
    pub fn is_there(self) -> bool {
        self != Self::CRaid1 || has_c_raid1()
    }

    /// How many legs should hold what is written through it.
    fn legs(self) -> usize {
        match self {
            Self::Raw | Self::Passthru | Self::CPassthru => 1,
            _ => 2,
        }
    }
}

/// The app that contenders run in, and the folder of the socket by which SPDK's raid1 is made.
pub fn app(name: &str, cores: &[u32]) -> Result<(Builder, TempDir), RigError> {
    let dir = tempfile::tempdir().map_err(|source| RigError::File {
        what: "a folder for the RPC socket".into(),
        source,
    })?;
    let app = App::builder(name)
        .no_huge()
        .no_pci()
        .share_cores()
        .memory(Mib(1024))
        // As many as SPDK has by itself: a depth of 256 on a mirror has 768 in flight.
        .pools(Pools {
            bdev_ios: 65_535,
            bdev_io_cache: 256,
            // Each thread keeps some hundred.
            small_buffers: 4096,
            large_buffers: 512,
            ..Pools::small()
        })
        .log_level(LogLevel::Error)
        .rpc_socket(socket(&dir));
    let app = match cores {
        [] => app,
        cores => app.cores(Cores::of(cores.iter().copied())),
    };
    let app = raid1::with(passthru::with(app));
    Ok((app, dir))
}

fn socket(dir: &TempDir) -> PathBuf {
    dir.path().join("rpc.sock")
}

/// JSON-RPC to ourselves: SPDK's raid has no other way in.
#[derive(Clone, Debug)]
pub struct Rpc {
    socket: PathBuf,
}

impl Rpc {
    /// By the socket in the folder that [`app`] made.
    #[must_use]
    pub fn of(dir: &TempDir) -> Self {
        Self {
            socket: socket(dir),
        }
    }

    /// Calls a method. That blocks, so it has an OS thread of its own.
    ///
    /// # Errors
    ///
    /// [`RigError::Rpc`].
    pub async fn call(&self, method: &'static str, params: Value) -> Result<Value, RigError> {
        let socket = self.socket.clone();
        let (sender, receiver) = oneshot::channel();
        std::thread::spawn(move || {
            let call = || Client::connect(socket)?.call(method, &params);
            let _ = sender.send(call());
        });
        let answer = receiver.await;
        Ok(answer.expect("the thread says what became of it")?)
    }
}

/// Two legs, and at most one stack on them.
#[derive(Debug)]
pub struct Legs {
    spdk: Spdk,
    rpc: Rpc,
    base: Base,
    blocks: u64,
}

/// What a contender is made of, until it is torn down.
#[derive(Debug)]
#[must_use = "tear it down: the next one needs the legs"]
pub struct Stack {
    what: What,
}

#[derive(Debug)]
enum What {
    Raw,
    Passthru,
    CPassthru,
    Floor(Floor),
    Raid1(Raid1),
    CRaid1,
}

impl Stack {
    /// The bdev that the load runs on.
    #[must_use]
    pub fn bdev(&self) -> &'static str {
        match self.what {
            What::Raw => LEGS[0],
            _ => TOP,
        }
    }

    /// Our array, if it is one.
    #[must_use]
    pub fn array(&self) -> Option<&Raid1> {
        match &self.what {
            What::Raid1(array) => Some(array),
            _ => None,
        }
    }
}

impl Legs {
    /// Makes the legs, of so many MiB each.
    ///
    /// # Errors
    ///
    /// [`RigError::Bdev`], and what a load may say.
    pub async fn new(spdk: &Spdk, dir: &TempDir, base: Base, size: Mib) -> Result<Self, RigError> {
        let blocks = size.0 * ((1 << 20) / u64::from(BLOCK_SIZE));
        for leg in LEGS {
            match base {
                Base::Null => {
                    let leg = NullBdev::builder(leg).blocks(blocks);
                    leg.block_size(BLOCK_SIZE).create(spdk).await?;
                }
                Base::Malloc => {
                    let leg = MallocBdev::builder(leg).blocks(blocks);
                    leg.block_size(BLOCK_SIZE).create(spdk).await?;
                }
            }
        }
        if base == Base::Malloc {
            // Memory that nobody has touched yet is slow, and would be the first contender's.
            for leg in LEGS {
                let load = Load {
                    reads: 0,
                    depth: 1,
                    io_blocks: 2048,
                    order: Order::Sequential,
                    end: End::Count(size.0),
                    latency: false,
                    verify: None,
                };
                drive(spdk, leg, &load, Driver::Rust, &[]).await?;
            }
        }
        Ok(Self {
            spdk: spdk.clone(),
            rpc: Rpc::of(dir),
            base,
            blocks,
        })
    }

    /// Deletes them.
    ///
    /// # Errors
    ///
    /// [`RigError::Bdev`].
    pub async fn delete(self) -> Result<(), RigError> {
        for leg in LEGS {
            match self.base {
                Base::Null => NullBdev::delete(&self.spdk, leg).await?,
                Base::Malloc => MallocBdev::delete(&self.spdk, leg).await?,
            }
        }
        Ok(())
    }

    /// Builds `contender` on the legs.
    ///
    /// # Errors
    ///
    /// What went wrong; there is nothing on the legs then.
    pub async fn build(&self, contender: Contender) -> Result<Stack, RigError> {
        let floor = |fault| Floor::create(&self.spdk, TOP, LEGS, fault).map(What::Floor);
        let what = match contender {
            Contender::Raw => What::Raw,
            Contender::Passthru => {
                Passthru::builder(TOP, LEGS[0]).create(&self.spdk).await?;
                What::Passthru
            }
            Contender::CPassthru => {
                let passthru = PassthruBdev::builder(TOP, LEGS[0]);
                passthru.create(&self.spdk).await?;
                What::CPassthru
            }
            Contender::Floor => floor(Fault::Sound)?,
            Contender::Forgetful => floor(Fault::Forgets)?,
            Contender::Garbling => floor(Fault::Garbles)?,
            Contender::Raid1 => {
                let array = Raid1::builder(TOP).base(LEGS[0]).base(LEGS[1]);
                let array = array.create(&self.spdk).await;
                What::Raid1(array.map_err(|error| RigError::Raid1(error.to_string()))?)
            }
            Contender::CRaid1 => {
                let params = serde_json::json!({
                    "name": TOP,
                    "raid_level": "raid1",
                    "base_bdevs": LEGS,
                });
                self.rpc.call("bdev_raid_create", params).await?;
                What::CRaid1
            }
        };
        Ok(Stack { what })
    }

    /// Takes a stack away.
    ///
    /// # Errors
    ///
    /// What went wrong; it may still be there.
    pub async fn tear_down(&self, stack: Stack) -> Result<(), RigError> {
        match stack.what {
            What::Raw => {}
            What::Passthru => Passthru::delete(&self.spdk, TOP).await?,
            What::CPassthru => PassthruBdev::delete(&self.spdk, TOP).await?,
            What::Floor(floor) => floor.delete().await?,
            What::Raid1(array) => array.delete().await,
            What::CRaid1 => {
                let params = serde_json::json!({ "name": TOP });
                self.rpc.call("bdev_raid_delete", params).await?;
            }
        }
        Ok(())
    }

    /// Shows that what is written through `contender` can be read through it, and is on all its legs: everything, once.
    ///
    /// # Errors
    ///
    /// [`RigError::Mismatch`] and [`RigError::Leg`] for data that does not verify.
    pub async fn verify(&self, contender: Contender, seed: u64) -> Result<(), RigError> {
        let stack = self.build(contender).await?;
        let through = self.through(stack.bdev(), seed).await;
        self.tear_down(stack).await?;
        through.map_err(|error| match error {
            RigError::Mismatch { block, byte, .. } => RigError::Mismatch {
                bdev: contender.name().into(),
                block,
                byte,
            },
            other => other,
        })?;
        for leg in &LEGS[..contender.legs()] {
            self.on_leg(contender, leg, seed).await?;
        }
        Ok(())
    }

    async fn through(&self, bdev: &str, seed: u64) -> Result<(), RigError> {
        const IO_BLOCKS: u32 = 8;
        for reads in [0, 100] {
            let load = Load {
                reads,
                depth: 32,
                io_blocks: IO_BLOCKS,
                order: Order::Sequential,
                end: End::Count(self.blocks / u64::from(IO_BLOCKS)),
                latency: false,
                verify: Some(seed),
            };
            drive(&self.spdk, bdev, &load, Driver::Rust, &[]).await?;
        }
        Ok(())
    }

    async fn on_leg(
        &self,
        contender: Contender,
        leg: &'static str,
        seed: u64,
    ) -> Result<(), RigError> {
        const STEP: u64 = 2048;
        let desc = BdevDesc::open(&self.spdk, leg).read_only()?;
        let channel = desc.channel()?;
        let mut wrong = None;
        let mut lba = 0;
        while lba < self.blocks && wrong.is_none() {
            let blocks = STEP.min(self.blocks - lba);
            let buf = channel.read_blocks(Lba(lba), Blocks(blocks)).await?;
            wrong = pattern::check(&buf, Lba(lba), BLOCK_SIZE, seed).err();
            lba += blocks;
        }
        drop(channel);
        desc.close().await;
        match wrong {
            None => Ok(()),
            Some(at) => Err(RigError::Leg {
                contender: contender.name(),
                leg: leg.into(),
                block: at.block,
                byte: at.byte,
            }),
        }
    }
}
