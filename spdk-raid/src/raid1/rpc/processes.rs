//! The methods for what an array does by itself: rebuilds, scrubs, resyncs.

use serde::Deserialize;
use spdk_safe::app::Spdk;
use spdk_safe::rpc::RpcError;

use super::find;
use crate::raid1::{ChangeError, Process, Raid1};

#[derive(Deserialize)]
pub(super) struct Scrub {
    name: String,
    repair: Option<bool>,
}

/// Answers when it has begun.
pub(super) async fn scrub(_spdk: Spdk, params: Scrub) -> Result<bool, RpcError> {
    let array = find(&params.name)?;
    array.scrub(params.repair.unwrap_or(false)).await?;
    Ok(true)
}

/// Which of them; all of the array, if it is not said.
#[derive(Deserialize)]
pub(super) struct Which {
    name: String,
    #[serde(rename = "type")]
    kind: Option<Kind>,
    /// The base that is filled.
    target: Option<String>,
}

/// As `process.type` of an array is shown.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Rebuild,
    Scrub,
    Resync,
}

impl Which {
    /// Those that are meant; one at least.
    fn find(self) -> Result<(Raid1, Vec<Process>), RpcError> {
        let array = find(&self.name)?;
        let processes = array.info().processes.into_iter();
        let known = processes.filter_map(|process| match (process.kind, process.target) {
            ("rebuild", Some(target)) => Some((Kind::Rebuild, Process::Rebuild(target))),
            ("scrub", _) => Some((Kind::Scrub, Process::Scrub)),
            ("resync", _) => Some((Kind::Resync, Process::Resync)),
            _ => None,
        });
        let meant = known.filter(|(kind, process)| {
            let is_target = |target: &String| *process == Process::Rebuild(target.clone());
            self.kind.is_none_or(|wanted| wanted == *kind)
                && self.target.as_ref().is_none_or(is_target)
        });
        let meant: Vec<_> = meant.map(|(_, process)| process).collect();
        match meant.is_empty() {
            true => Err(ChangeError::NoJob.into()),
            false => Ok((array, meant)),
        }
    }
}

pub(super) async fn pause(_spdk: Spdk, params: Which) -> Result<bool, RpcError> {
    let (array, processes) = params.find()?;
    for process in &processes {
        array.pause(process)?;
    }
    Ok(true)
}

pub(super) async fn resume(_spdk: Spdk, params: Which) -> Result<bool, RpcError> {
    let (array, processes) = params.find()?;
    for process in &processes {
        array.resume(process)?;
    }
    Ok(true)
}

/// Answers when they have ended.
pub(super) async fn abort(_spdk: Spdk, params: Which) -> Result<bool, RpcError> {
    let (array, processes) = params.find()?;
    for process in &processes {
        array.abort(process).await?;
    }
    Ok(true)
}
