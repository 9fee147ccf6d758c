//! Many arrays at once.

use futures::future::try_join_all;
use serde_json::json;
use spdk_benches::client::RigError;
use spdk_benches::load::{Driver, drive};
use spdk_benches::stack::{BLOCK_SIZE, Contender};
use spdk_raid::raid1::Raid1;
use spdk_safe::bdev::NullBdev;
use tempfile::TempDir;

use super::report::{Found, Report};
use super::{IOS, OnApp, Scenarios, mirrors, rpc};

/// So many mirrors over null bdevs.
pub(super) struct Arrays {
    ours: Vec<Raid1>,
    names: Vec<String>,
}

pub(super) fn leg_names(count: u32) -> Vec<[String; 2]> {
    let pair = |at| [format!("many{at}a"), format!("many{at}b")];
    (0..count).map(pair).collect()
}

pub(super) async fn make_legs(spdk: OnApp<'_>, count: u32) -> Result<(), RigError> {
    for leg in leg_names(count).iter().flatten() {
        let leg = NullBdev::builder(leg.as_str()).blocks(65_536);
        leg.block_size(BLOCK_SIZE).create(spdk).await?;
    }
    Ok(())
}

pub(super) async fn delete_legs(spdk: OnApp<'_>, count: u32) -> Result<(), RigError> {
    for leg in leg_names(count).iter().flatten() {
        NullBdev::delete(spdk, leg).await?;
    }
    Ok(())
}

impl Arrays {
    pub(super) async fn create(
        spdk: OnApp<'_>,
        dir: &TempDir,
        contender: Contender,
        count: u32,
    ) -> Result<Self, RigError> {
        let mut arrays = Self {
            ours: Vec::new(),
            names: Vec::new(),
        };
        for (at, [one, other]) in leg_names(count).into_iter().enumerate() {
            let name = format!("array{at}");
            if contender == Contender::Raid1 {
                let array = Raid1::builder(&*name).base(one).base(other);
                let array = array.create(spdk).await;
                let array = array.map_err(|error| RigError::Raid1(error.to_string()))?;
                arrays.ours.push(array);
            } else {
                let params =
                    json!({"name": name, "raid_level": "raid1", "base_bdevs": [one, other]});
                rpc(dir).call("bdev_raid_create", params).await?;
            }
            arrays.names.push(name);
        }
        Ok(arrays)
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    pub(super) async fn delete(self, dir: &TempDir) -> Result<(), RigError> {
        if self.ours.is_empty() {
            for name in &self.names {
                rpc(dir)
                    .call("bdev_raid_delete", json!({ "name": name }))
                    .await?;
            }
        }
        for array in self.ours {
            array.delete().await;
        }
        Ok(())
    }
}

pub(super) async fn run(
    spdk: OnApp<'_>,
    dir: &TempDir,
    options: &Scenarios,
    report: &mut Report,
) -> Result<(), RigError> {
    let count = options.arrays;
    let title = format!(
        "{count} arrays on null legs at once, one I/O in flight on each, beside one array with {count}: million I/Os per \
         second of a core's time"
    );
    report.table("arrays", title, &["one", &count.to_string(), "ratio"]);
    make_legs(spdk, count).await?;
    for contender in mirrors() {
        let arrays = Arrays::create(spdk, dir, contender, count).await?;
        for (io, reads) in IOS {
            let row = format!("{} {io}", contender.name());
            // Memory that nobody has touched yet is slow.
            let warm = options.load(reads, count, 0);
            drive(spdk, &arrays.names()[0], &warm, Driver::Rust, &[]).await?;
            let (mut ones, mut alls, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
            for round in 0..options.rounds {
                report.measures(&row, round, options.rounds);
                let load = options.load(reads, count, round);
                let one = drive(spdk, &arrays.names()[0], &load, Driver::Rust, &[])
                    .await?
                    .rate;
                let load = options.load(reads, 1, round);
                let each = arrays.names().iter();
                let each = each.map(|name| drive(spdk, name, &load, Driver::Rust, &[]));
                let all = try_join_all(each).await?;
                // They share the core: its time is that of the one that had it the longest.
                let cpu = all.iter().map(|done| done.cpu).max().unwrap_or_default();
                let completed: u64 = all.iter().map(|done| done.completed).sum();
                let all = completed as f64 / cpu.as_secs_f64();
                ones.push(one / 1e6);
                alls.push(all / 1e6);
                ratios.push(all / one);
            }
            let rates: [Found<'_>; 2] = [("one_miops", 2, &[&ones]), ("many_miops", 2, &[&alls])];
            report.row(&row, &[rates[0], rates[1], ("ratio", 3, &[&ratios])]);
        }
        arrays.delete(dir).await?;
    }
    delete_legs(spdk, count).await
}
