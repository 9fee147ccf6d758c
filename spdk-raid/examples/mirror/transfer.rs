//! Moves all blocks of a bdev once, at a queue depth: one task for each I/O in flight.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use spdk_safe::bdev::DescMode;
use spdk_safe::prelude::*;

use crate::options::Options;
use crate::pattern::Contents;
use crate::report::Difference;

/// Writes its contents to all of `channel`'s bdev.
pub(crate) async fn write_all(
    channel: IoChannel<ReadWrite>,
    contents: &Rc<Contents>,
    options: &Options,
) -> anyhow::Result<()> {
    let channel = Rc::new(channel);
    let name = channel.info().name.clone();
    let known = Rc::clone(contents);
    each_io(&name, "write", contents, options, move |part| {
        let (channel, contents) = (Rc::clone(&channel), Rc::clone(&known));
        async move {
            let (lba, blocks) = contents.part(part);
            let mut buf = channel.alloc(blocks)?;
            contents.fill(part, &mut buf);
            let (result, _buf) = channel.write(lba, buf).await;
            Ok(result?)
        }
    })
    .await
}

/// Reads all of `channel`'s bdev and compares it with what must be there. The first byte that differs, if one does.
pub(crate) async fn verify_all<M: DescMode>(
    channel: IoChannel<M>,
    contents: &Rc<Contents>,
    options: &Options,
) -> anyhow::Result<Option<Difference>> {
    let channel = Rc::new(channel);
    let (name, block_size) = (channel.info().name.clone(), channel.info().block_size);
    let first = Rc::new(RefCell::new(None::<Difference>));
    let found = Rc::clone(&first);
    let known = Rc::clone(contents);
    each_io(&name, "verify", contents, options, move |part| {
        let (channel, found) = (Rc::clone(&channel), Rc::clone(&found));
        let contents = Rc::clone(&known);
        async move {
            let (lba, blocks) = contents.part(part);
            let buf = channel.alloc(blocks)?;
            let (result, buf) = channel.read(lba, buf).await;
            result?;
            if let Some((at, is, expected)) = contents.first_difference(part, &buf) {
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

/// Calls `io` for every part, with `depth` of its futures running, and shows how far it is.
async fn each_io<F, I>(
    bdev: &str,
    what: &str,
    contents: &Contents,
    options: &Options,
    io: F,
) -> anyhow::Result<()>
where
    F: Fn(u64) -> I + 'static,
    I: Future<Output = anyhow::Result<()>> + 'static,
{
    let executor = spdk_exec::spdk::attach()?;
    let end = contents.parts();
    let bar = progress_bar(bdev, what, end);
    let (io, next) = (Rc::new(io), Rc::new(Cell::new(0)));
    let workers: Vec<_> = (0..options.depth)
        .map(|_| {
            let (io, next, bar) = (Rc::clone(&io), Rc::clone(&next), bar.clone());
            executor.spawn(async move {
                while next.get() < end {
                    let part = next.get();
                    next.set(part + 1);
                    io(part).await.with_context(|| format!("part {part}"))?;
                    bar.inc(1);
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

/// Counts parts; drawn on a terminal only.
fn progress_bar(bdev: &str, what: &str, parts: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:<14} [{bar:40}] {percent:>3}% {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(parts)
        .with_style(style.progress_chars("=> "))
        .with_message(format!("{what} {bdev}"))
}
