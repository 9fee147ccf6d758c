//! A closed loop in C over SPDK's `vbdev_passthru` and over `spdk_bdevs::passthru`, each on a base of its own.
//!
//! The loop is that of [`crate::client`], `csrc/client.c`, for all; what differs is the bdev below it.
//!
//! | contender | the loop's bdev |
//! | --- | --- |
//! | [`C`](Contender::C) | SPDK's `vbdev_passthru` on a base |
//! | [`CAgain`](Contender::CAgain) | another one of these: shows what the instrument is worth |
//! | [`Rust`](Contender::Rust) | `spdk_bdevs::passthru` on a base |
//! | [`Bare`](Contender::Bare) | a base |

use std::cell::Cell;
use std::rc::Rc;

use spdk_bdevs::passthru::Passthru;
use spdk_safe::app::{Builder, Spdk};
use spdk_safe::bdev::{BdevDesc, MallocBdev, NullBdev, PassthruBdev};
use spdk_safe::env::DmaBuf;
use spdk_safe::units::{Blocks, Lba};

use crate::client::c::Client;
use crate::client::{self, Ran, RigError, Shape, Work};

/// What the load runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// SPDK's, which all others are divided by.
    C,
    /// SPDK's once more.
    CAgain,
    /// Ours.
    Rust,
    /// No pass-through at all.
    Bare,
}

impl Contender {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::C, Self::CAgain, Self::Rust, Self::Bare];

    /// Its name in results, and of its bdev.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::C => "C",
            Self::CAgain => "C-again",
            Self::Rust => "Rust",
            Self::Bare => "bare",
        }
    }

    fn base(self) -> String {
        match self {
            Self::Bare => self.name().to_owned(),
            _ => format!("below-{}", self.name()),
        }
    }
}

/// What is below the pass-throughs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A null bdev, which does nothing: what is measured is the pass-through.
    Null,
    /// A malloc bdev.
    Malloc,
}

impl Base {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Null, Self::Malloc];

    /// Its name in results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Malloc => "malloc",
        }
    }
}

/// The bdevs, a client on each, and the buffers.
pub struct Rig {
    spdk: Spdk,
    base: Base,
    shape: Shape,
    clients: Vec<Rc<Client>>,
    bufs: Cell<Vec<DmaBuf>>,
}

/// The app that the measurements run in.
pub fn app(name: &str) -> Builder {
    spdk_bdevs::passthru::with(client::app(name))
}

impl Rig {
    /// Makes everything, and shows that each contender on malloc writes to its base.
    ///
    /// # Errors
    ///
    /// What went wrong with any of them.
    pub async fn new(spdk: &Spdk, base: Base, shape: Shape) -> Result<Self, RigError> {
        let blocks = Blocks(shape.places() * u64::from(shape.io_blocks));
        let mut clients = Vec::new();
        for contender in Contender::ALL {
            let below = contender.base();
            match base {
                Base::Null => {
                    let disk = NullBdev::builder(&*below).blocks(blocks);
                    disk.block_size(shape.block_size).create(spdk).await?;
                }
                Base::Malloc => {
                    let disk = MallocBdev::builder(&*below).blocks(blocks);
                    disk.block_size(shape.block_size).create(spdk).await?;
                }
            }
            match contender {
                Contender::Bare => {}
                Contender::C | Contender::CAgain => {
                    let passthru = PassthruBdev::builder(contender.name(), &*below);
                    passthru.create(spdk).await?;
                }
                Contender::Rust => {
                    let passthru = Passthru::builder(contender.name(), &*below);
                    passthru.create(spdk).await?;
                }
            }
            if base == Base::Malloc {
                verify(spdk, contender).await?;
            }
            clients.push(Client::open(spdk, contender.name())?);
        }
        let desc = BdevDesc::open(spdk, Contender::Rust.name()).read_only()?;
        let bufs: Result<Vec<_>, _> = (0..shape.depth)
            .map(|_| desc.alloc(Blocks(u64::from(shape.io_blocks))))
            .collect();
        let bufs = Cell::new(bufs?);
        desc.close().await;
        Ok(Self {
            spdk: spdk.clone(),
            base,
            shape,
            clients,
            bufs,
        })
    }

    /// Has the loop do `work` on `contender`.
    ///
    /// # Errors
    ///
    /// [`RigError::Failed`] if an I/O failed.
    pub async fn run(&self, contender: Contender, work: &Work) -> Result<Ran, RigError> {
        if work.depth == 0 || work.depth > self.shape.depth {
            return Err(RigError::Work {
                what: "the depth",
                allowed: format!("1 to {}", self.shape.depth),
            });
        }
        let client = &self.clients[contender as usize];
        let bufs = self.bufs.take();
        let (result, bufs) = client.run(&self.shape, work, false, bufs).await;
        self.bufs.set(bufs);
        let (ran, failed) = result?;
        if failed != 0 || ran.completed != work.count {
            return Err(RigError::Failed {
                contender: contender.name(),
                failed: failed.max(work.count.abs_diff(ran.completed)),
            });
        }
        Ok(ran)
    }

    /// Closes and deletes everything.
    ///
    /// # Errors
    ///
    /// If a bdev can't be deleted.
    pub async fn close(self) -> Result<(), RigError> {
        drop(self.clients);
        for contender in Contender::ALL {
            match contender {
                Contender::Bare => {}
                Contender::C | Contender::CAgain => {
                    PassthruBdev::delete(&self.spdk, contender.name()).await?;
                }
                Contender::Rust => Passthru::delete(&self.spdk, contender.name()).await?,
            }
            match self.base {
                Base::Null => NullBdev::delete(&self.spdk, &contender.base()).await?,
                Base::Malloc => MallocBdev::delete(&self.spdk, &contender.base()).await?,
            }
        }
        Ok(())
    }
}

/// What is written through the contender is on its base.
async fn verify(spdk: &Spdk, contender: Contender) -> Result<(), RigError> {
    let untrue = || RigError::Untrue {
        contender: contender.name(),
        direction: "write",
        what: "the base does not have what was written".into(),
    };
    let desc = BdevDesc::open(spdk, contender.name()).read_write()?;
    let ch = desc.channel()?;
    let mut buf = ch.alloc(Blocks(1))?;
    buf.fill(0x5a);
    let written = ch.write(Lba(1), buf).await.0;
    drop(ch);
    desc.close().await;
    let base = BdevDesc::open(spdk, &contender.base()).read_only()?;
    let read = base.channel()?.read_blocks(Lba(1), Blocks(1)).await;
    base.close().await;
    match (written, read) {
        (Ok(()), Ok(read)) if read.iter().all(|&byte| byte == 0x5a) => Ok(()),
        _ => Err(untrue()),
    }
}

impl std::fmt::Debug for Rig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rig")
            .field("base", &self.base)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}
