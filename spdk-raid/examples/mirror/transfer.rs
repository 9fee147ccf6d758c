//! Moves all blocks of a bdev once, at a queue depth: one task for each I/O in flight.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use spdk_safe::bdev::DescMode;
use spdk_safe::prelude::*;

use crate::options::Options;
use crate::pattern::Pattern;
use crate::report::Difference;

/// Writes the pattern to all of `channel`'s bdev.
pub(crate) async fn write_all(
    channel: IoChannel<ReadWrite>,
    pattern: Pattern,
    options: &Options,
) -> anyhow::Result<()> {
    let channel = Rc::new(channel);
    let name = channel.info().name.clone();
    each_io(&name, "write", options, move |lba, blocks| {
        let channel = Rc::clone(&channel);
        async move {
            let mut buf = channel.alloc(blocks)?;
            pattern.fill(lba, &mut buf);
            let (result, _buf) = channel.write(lba, buf).await;
            Ok(result?)
        }
    })
    .await
}

/// Reads all of `channel`'s bdev and compares it with the pattern. The first byte that differs, if one does.
pub(crate) async fn verify_all<M: DescMode>(
    channel: IoChannel<M>,
    pattern: Pattern,
    options: &Options,
) -> anyhow::Result<Option<Difference>> {
    let channel = Rc::new(channel);
    let (name, block_size) = (channel.info().name.clone(), channel.info().block_size);
    let first = Rc::new(RefCell::new(None::<Difference>));
    let found = Rc::clone(&first);
    each_io(&name, "verify", options, move |lba, blocks| {
        let (channel, found) = (Rc::clone(&channel), Rc::clone(&found));
        async move {
            let buf = channel.alloc(blocks)?;
            let (result, buf) = channel.read(lba, buf).await;
            result?;
            if let Some((at, is, expected)) = pattern.first_difference(lba, &buf) {
                let offset = lba.0 * u64::from(block_size) + at as u64;
                let mut found = found.borrow_mut();
                if found.as_ref().is_none_or(|have| offset < have.offset) {
                    *found = Some(Difference {
                        offset,
                        is,
                        expected,
                    });
                }
            }
            Ok(())
        }
    })
    .await?;
    Ok(first.take())
}

/// Flips one byte of the bdev `name`, through a descriptor of its own.
pub(crate) async fn flip_byte(spdk: &Spdk, name: &str, offset: u64) -> anyhow::Result<()> {
    let desc = BdevDesc::open(spdk, name).read_write()?;
    let channel = desc.channel()?;
    let block_size = u64::from(desc.info().block_size);
    let (lba, at) = (Lba(offset / block_size), (offset % block_size) as usize);
    let (result, mut buf) = channel.read(lba, desc.alloc(Blocks(1))?).await;
    result?;
    buf[at] ^= 1;
    let (result, _buf) = channel.write(lba, buf).await;
    result?;
    drop(channel);
    desc.close().await;
    Ok(())
}

/// Calls `io` for every part of the mirror's range, with `depth` of its futures running, and shows how far it is.
async fn each_io<F, I>(bdev: &str, what: &str, options: &Options, io: F) -> anyhow::Result<()>
where
    F: Fn(Lba, Blocks) -> I + 'static,
    I: Future<Output = anyhow::Result<()>> + 'static,
{
    let executor = spdk_exec::spdk::attach()?;
    let bar = progress_bar(bdev, what, options);
    let (io, next) = (Rc::new(io), Rc::new(Cell::new(Lba(0))));
    let (end, part) = (options.blocks(), options.io_blocks());
    let workers: Vec<_> = (0..options.depth)
        .map(|_| {
            let (io, next, bar) = (Rc::clone(&io), Rc::clone(&next), bar.clone());
            executor.spawn(async move {
                while next.get().0 < end.0 {
                    let lba = next.get();
                    let blocks = Blocks(part.0.min(end.0 - lba.0));
                    next.set(Lba(lba.0 + blocks.0));
                    io(lba, blocks).await.with_context(|| format!("at {lba}"))?;
                    bar.inc(blocks.0);
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for worker in workers {
        worker.await.context("a task of the executor")??;
    }
    bar.finish_and_clear();
    Ok(())
}

/// Counts blocks; drawn on a terminal only.
fn progress_bar(bdev: &str, what: &str, options: &Options) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:<14} [{bar:40}] {percent:>3}% {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(options.blocks().0)
        .with_style(style.progress_chars("=> "))
        .with_message(format!("{what} {bdev}"))
}
