//! The methods that change the bases of an array.

use serde::Deserialize;
use spdk_safe::app::Spdk;
use spdk_safe::bdev;
use spdk_safe::rpc::RpcError;

use super::find;
use crate::raid1::{awaiting, list};

/// The own name of the bdev that is called `name`, if it is there.
fn own_name(spdk: &Spdk, name: &str) -> Result<Option<String>, RpcError> {
    Ok(bdev::find(spdk, name)?.map(|info| info.name))
}

fn no_bdev(name: &str) -> RpcError {
    RpcError::new(-libc::ENODEV, format!("there is no bdev {name:?}"))
}

/// The parameters of C's `bdev_raid_add_base_bdev`.
#[derive(Deserialize)]
pub(super) struct Add {
    raid_bdev: String,
    base_bdev: String,
}

/// Answers when the filling has begun (contract R-53).
pub(super) async fn add(spdk: Spdk, params: Add) -> Result<bool, RpcError> {
    let array = find(&params.raid_bdev)?;
    let base = params.base_bdev;
    let name = own_name(&spdk, &base)?.ok_or_else(|| no_bdev(&base))?;
    array.add(&name).await?;
    Ok(true)
}

/// The parameter of C's `bdev_raid_remove_base_bdev`, and the array, if the name alone does not say it: bases that have
/// gone are remembered by more than one array.
#[derive(Deserialize)]
pub(super) struct Remove {
    name: String,
    raid_bdev: Option<String>,
}

/// Answers when the base is free.
pub(super) async fn remove(spdk: Spdk, params: Remove) -> Result<bool, RpcError> {
    let name = own_name(&spdk, &params.name)?.unwrap_or(params.name);
    let array = match params.raid_bdev {
        Some(array) => array,
        None => owner(&name)?,
    };
    if awaiting::options(&array).is_some() {
        awaiting::remove(&spdk, &array, &name).await?;
    } else {
        find(&array)?.remove(&name).await?;
    }
    Ok(true)
}

/// The array that uses the base `name`; if there is none, one that waits for it, or one that has used it.
fn owner(name: &str) -> Result<String, RpcError> {
    if let Some(array) = awaiting::owner(name) {
        return Ok(array);
    }
    let arrays = list::all();
    let has = |is_wanted: fn(bool) -> bool| {
        arrays.iter().find(|array| {
            let status = array.status();
            let mut slots = status.legs.slots().iter();
            slots
                .any(|slot| slot.name.as_deref() == Some(name) && is_wanted(slot.state.is_active()))
        })
    };
    let used = has(|is_active| is_active).map(|array| array.name.clone());
    let used = used.or_else(|| awaiting::waits_for(name));
    let used = used.or_else(|| has(|_| true).map(|array| array.name.clone()));
    used.ok_or_else(|| {
        let text = format!("bdev {name:?} is the base of no raid1");
        RpcError::new(-libc::ENODEV, text)
    })
}

/// Which base goes, and which comes in its place.
#[derive(Deserialize)]
pub(super) struct Replace {
    raid_bdev: String,
    old_base_bdev: String,
    base_bdev: String,
}

/// Answers when the filling has begun.
pub(super) async fn replace(spdk: Spdk, params: Replace) -> Result<bool, RpcError> {
    let array = find(&params.raid_bdev)?;
    let old = own_name(&spdk, &params.old_base_bdev)?.unwrap_or(params.old_base_bdev);
    let base = params.base_bdev;
    let new = own_name(&spdk, &base)?.ok_or_else(|| no_bdev(&base))?;
    array.replace(&old, &new).await?;
    Ok(true)
}
