//! The bdev, the clients, the buffers.

use std::cell::Cell;
use std::rc::Rc;

use spdk_safe::app::Spdk;
use spdk_safe::bdev::{BdevDesc, IoChannel, MallocBdev, ReadWrite};
use spdk_safe::env::DmaBuf;
use spdk_safe::units::{Blocks, Lba};

use super::c::Client;
use super::{Contender, Direction, Order, Ran, RigError, Shape, Work, safe};

/// The name of the malloc bdev.
const DISK: &str = "bench0";

/// What all contenders work on.
pub struct Rig {
    spdk: Spdk,
    shape: Shape,
    desc: BdevDesc<ReadWrite>,
    channel: Rc<IoChannel<ReadWrite>>,
    c: Rc<Client>,
    c_again: Rc<Client>,
    /// One for each slot; a run takes them all.
    bufs: Cell<Vec<DmaBuf>>,
}

impl Rig {
    /// Makes the disk, opens it for every client, and takes the buffers.
    ///
    /// # Errors
    ///
    /// What went wrong with any of them.
    pub async fn new(spdk: &Spdk, shape: Shape) -> Result<Self, RigError> {
        let work = |what, allowed: String| Err(RigError::Work { what, allowed });
        if shape.places() == 0 || shape.places() > u64::from(u32::MAX) {
            return work("the disk's size in I/Os", "1 to 4294967295".into());
        }
        if shape.depth == 0 || u64::from(shape.depth) > shape.places() {
            return work("the depth", format!("1 to {}", shape.places()));
        }
        MallocBdev::builder(DISK)
            .blocks(Blocks(shape.places() * u64::from(shape.io_blocks)))
            .block_size(shape.block_size)
            .create(spdk)
            .await?;
        let desc = BdevDesc::open(spdk, DISK).read_write()?;
        let channel = Rc::new(desc.channel()?);
        let bufs: Result<Vec<_>, _> = (0..shape.depth)
            .map(|_| desc.alloc(Blocks(u64::from(shape.io_blocks))))
            .collect();
        Ok(Self {
            spdk: spdk.clone(),
            shape,
            c: Client::open(spdk, DISK)?,
            c_again: Client::open(spdk, DISK)?,
            bufs: Cell::new(bufs?),
            desc,
            channel,
        })
    }

    /// What it is made of.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Has `contender` do `work`.
    ///
    /// # Errors
    ///
    /// [`RigError::Failed`] if an I/O failed; [`RigError::Work`] for what can't be done.
    pub async fn run(&self, contender: Contender, work: &Work) -> Result<Ran, RigError> {
        if work.depth == 0 || work.depth > self.shape.depth {
            return Err(RigError::Work {
                what: "the depth",
                allowed: format!("1 to {}", self.shape.depth),
            });
        }
        let bufs = self.bufs.take();
        let shape = &self.shape;
        let (result, bufs) = match contender {
            Contender::C => self.c.run(shape, work, false, bufs).await,
            Contender::CAgain => self.c_again.run(shape, work, false, bufs).await,
            Contender::CVectored => self.c.run(shape, work, true, bufs).await,
            _ => {
                let channel = Rc::clone(&self.channel);
                safe::run(contender, channel, shape, work, bufs).await
            }
        };
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

    /// Shows that `contender` really writes and reads: all of the disk, once each.
    ///
    /// # Errors
    ///
    /// [`RigError::Untrue`] if it does not, and what [`run`](Self::run) says.
    pub async fn verify(&self, contender: Contender) -> Result<(), RigError> {
        let untrue = |direction: Direction, what| RigError::Untrue {
            contender: contender.name(),
            direction: direction.name(),
            what,
        };
        let whole = |direction| Work {
            direction,
            depth: self.shape.depth,
            count: self.shape.places(),
            order: Order::Sequential,
        };
        let places = self.shape.places();

        // Written: every place holds what one of the contender's buffers held, and did not before.
        self.fill_disk(|_| 0).await?;
        self.with_bufs(|slot, buf| fill(buf, slot as u64 + 1));
        self.run(contender, &whole(Direction::Write)).await?;
        for place in 0..places {
            let buf = self.read_place(place).await?;
            let word = uniform(&buf);
            if !word.is_some_and(|word| (1..=u64::from(self.shape.depth)).contains(&word)) {
                let what = format!("place {place} of the disk holds {word:?}");
                return Err(untrue(Direction::Write, what));
            }
        }

        // Read: every buffer holds what one place of the disk holds, each another.
        self.fill_disk(|place| place + 1).await?;
        self.with_bufs(|_, buf| fill(buf, 0));
        self.run(contender, &whole(Direction::Read)).await?;
        let mut words = Vec::new();
        self.with_bufs(|_, buf| words.push(uniform(buf)));
        words.sort_unstable();
        let len = words.len();
        words.dedup();
        let is_place = |word: &Option<u64>| word.is_some_and(|word| (1..=places).contains(&word));
        if words.len() != len || !words.iter().all(is_place) {
            let what = format!("the buffers hold {words:?}");
            return Err(untrue(Direction::Read, what));
        }
        Ok(())
    }

    /// Closes and deletes everything.
    ///
    /// # Errors
    ///
    /// If the disk can't be deleted.
    pub async fn close(self) -> Result<(), RigError> {
        drop((self.c, self.c_again, self.channel, self.bufs));
        self.desc.close().await;
        MallocBdev::delete(&self.spdk, DISK).await?;
        Ok(())
    }

    /// Writes to each place what `word` says, over and over.
    async fn fill_disk(&self, word: impl Fn(u64) -> u64) -> Result<(), RigError> {
        let mut buf = self.place_buf()?;
        for place in 0..self.shape.places() {
            fill(&mut buf, word(place));
            let (result, back) = self.channel.write(self.lba(place), buf).await;
            result.map_err(|_| self.failed())?;
            buf = back;
        }
        Ok(())
    }

    async fn read_place(&self, place: u64) -> Result<DmaBuf, RigError> {
        let (result, buf) = self.channel.read(self.lba(place), self.place_buf()?).await;
        result.map_err(|_| self.failed())?;
        Ok(buf)
    }

    fn place_buf(&self) -> Result<DmaBuf, RigError> {
        let blocks = Blocks(u64::from(self.shape.io_blocks));
        Ok(self.channel.alloc(blocks)?)
    }

    fn lba(&self, place: u64) -> Lba {
        Lba(place * u64::from(self.shape.io_blocks))
    }

    fn failed(&self) -> RigError {
        RigError::Failed {
            contender: "the rig",
            failed: 1,
        }
    }

    fn with_bufs(&self, mut each: impl FnMut(usize, &mut DmaBuf)) {
        let mut bufs = self.bufs.take();
        bufs.iter_mut()
            .enumerate()
            .for_each(|(at, buf)| each(at, buf));
        self.bufs.set(bufs);
    }
}

impl std::fmt::Debug for Rig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rig")
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

fn fill(buf: &mut [u8], word: u64) {
    buf.chunks_exact_mut(8)
        .for_each(|chunk| chunk.copy_from_slice(&word.to_le_bytes()));
}

/// The one word that all of `buf` is made of.
fn uniform(buf: &[u8]) -> Option<u64> {
    let mut words = buf
        .chunks_exact(8)
        .map(|chunk| u64::from_le_bytes(chunk.try_into().expect("8 bytes")));
    let first = words.next()?;
    words.all(|word| word == first).then_some(first)
}
