//! A closed loop in C over SPDK's raid1, ours and the floor, each on two bases of its own.
//!
//! | contender | the loop's bdev |
//! | --- | --- |
//! | [`C`](Contender::C) | SPDK's raid1 |
//! | [`CAgain`](Contender::CAgain) | another one of these: shows what the instrument is worth |
//! | [`Rust`](Contender::Rust) | ours |
//! | [`Floor`](Contender::Floor) | the least that a mirror of two legs can do in C: `csrc/floor.c` |
//! | [`Bare`](Contender::Bare) | a base |

use std::cell::Cell;
use std::rc::Rc;

use spdk_raid::raid1::{self, Raid1};
use spdk_safe::app::{Builder, Spdk, spdk_version};
use spdk_safe::bdev::BdevDesc;
use spdk_safe::env::DmaBuf;
use spdk_safe::units::Blocks;

use crate::client::c::Client;
use crate::client::{self, Ran, RigError, Shape, Work};
use crate::floor::{Fault, Floor};
use crate::passthru::Base;

/// What the load runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// SPDK's, which all others are divided by.
    C,
    /// SPDK's once more.
    CAgain,
    /// Ours.
    Rust,
    /// The least that a mirror can do.
    Floor,
    /// No array at all.
    Bare,
}

impl Contender {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::C, Self::CAgain, Self::Rust, Self::Floor, Self::Bare];

    /// Its name in results, and of its bdev.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::C => "C",
            Self::CAgain => "C-again",
            Self::Rust => "Rust",
            Self::Floor => "floor",
            Self::Bare => "bare",
        }
    }
}

/// The arrays, a client on each, and the buffers.
pub struct Rig {
    shape: Shape,
    clients: Vec<Rc<Client>>,
    bufs: Cell<Vec<DmaBuf>>,
    floor: Floor,
}

/// Whether the linked SPDK has a raid1 in C.
#[must_use]
pub fn has_c() -> bool {
    let version = spdk_version();
    let mut parts = version
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (22, 9)
}

/// The app that the measurements run in. Its configuration makes all bases, and the arrays in C, for which there is no
/// other way in from Rust.
pub fn app(name: &str, base: Base, shape: &Shape) -> Builder {
    let blocks = shape.places() * u64::from(shape.io_blocks);
    let block_size = shape.block_size;
    let mut calls = Vec::new();
    for contender in Contender::ALL {
        let bases = match contender {
            Contender::Bare => vec![contender.name().to_owned()],
            _ => bases_of(contender).to_vec(),
        };
        for name in &bases {
            let kind = base.name();
            calls.push(format!(
                r#"{{"method":"bdev_{kind}_create","params":{{"name":"{name}","num_blocks":{blocks},"block_size":{block_size}}}}}"#
            ));
        }
        if matches!(contender, Contender::C | Contender::CAgain) {
            calls.push(format!(
                r#"{{"method":"bdev_raid_create","params":{{"name":"{}","raid_level":"raid1","base_bdevs":["{}","{}"]}}}}"#,
                contender.name(),
                bases[0],
                bases[1]
            ));
        }
    }
    let config = format!(
        r#"{{"subsystems":[{{"subsystem":"bdev","config":[{}]}}]}}"#,
        calls.join(",")
    );
    client::app(name).module(&raid1::MODULE).config_json(config)
}

fn bases_of(contender: Contender) -> [String; 2] {
    [0, 1].map(|at| format!("{}-{at}", contender.name()))
}

impl Rig {
    /// Makes our array and the floor, and opens a client on each.
    ///
    /// # Errors
    ///
    /// What went wrong with any of them.
    pub async fn new(spdk: &Spdk, shape: Shape) -> Result<Self, RigError> {
        let mut builder = Raid1::builder(Contender::Rust.name());
        for base in bases_of(Contender::Rust) {
            builder = builder.base(base);
        }
        builder
            .create(spdk)
            .await
            .map_err(|error| RigError::Raid1(error.to_string()))?;
        let [one, two] = bases_of(Contender::Floor);
        let floor = Floor::create(spdk, Contender::Floor.name(), [&one, &two], Fault::Sound)?;
        let mut clients = Vec::new();
        for contender in Contender::ALL {
            clients.push(Client::open(spdk, contender.name())?);
        }
        let desc = BdevDesc::open(spdk, Contender::Rust.name()).read_only()?;
        let bufs: Result<Vec<_>, _> = (0..shape.depth)
            .map(|_| desc.alloc(Blocks(u64::from(shape.io_blocks))))
            .collect();
        let bufs = Cell::new(bufs?);
        desc.close().await;
        Ok(Self {
            shape,
            clients,
            bufs,
            floor,
        })
    }

    /// Has the loop do `work` on `contender`.
    ///
    /// # Errors
    ///
    /// [`RigError::Failed`] if an I/O failed.
    pub async fn run(&self, contender: Contender, work: &Work) -> Result<Ran, RigError> {
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

    /// Closes the clients, and deletes our array and the floor; the app's end has the rest.
    ///
    /// # Errors
    ///
    /// The floor did not go.
    pub async fn close(self) -> Result<(), RigError> {
        drop(self.clients);
        self.floor.delete().await?;
        if let Some(array) = Raid1::find(Contender::Rust.name()) {
            array.delete().await;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Rig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rig")
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}
