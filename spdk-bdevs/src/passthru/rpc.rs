//! The two methods.

use serde::{Deserialize, Serialize};
use spdk_safe::app::Spdk;
use spdk_safe::bdev::Uuid;
use spdk_safe::module::ConfigEntry;
use spdk_safe::rpc::{self, Method, RpcError, State};

use super::Passthru;

/// What `bdev_rust_passthru_create` and `bdev_rust_passthru_delete` are, for the app builder:
/// [`with`](super::with) gives it all that this module is.
pub static METHODS: [Method; 2] = [
    rpc::method(CREATE, State::Runtime, create),
    rpc::method("bdev_rust_passthru_delete", State::Runtime, delete),
];

const CREATE: &str = "bdev_rust_passthru_create";

/// The parameters of C's `bdev_passthru_create`, by the same names.
#[derive(Serialize, Deserialize)]
struct Create {
    name: String,
    base_bdev_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
}

/// Answers the name, as C's does, also when the base is not there yet.
async fn create(spdk: Spdk, params: Create) -> Result<String, RpcError> {
    let mut builder = Passthru::builder(&*params.name, params.base_bdev_name);
    if let Some(uuid) = params.uuid {
        let uuid = uuid
            .parse()
            .map_err(|error| RpcError::invalid_params(format!("uuid: {error}")))?;
        builder = builder.uuid(uuid);
    }
    builder.create(&spdk).await?;
    Ok(params.name)
}

#[derive(Deserialize)]
struct Delete {
    name: String,
}

async fn delete(spdk: Spdk, params: Delete) -> Result<bool, RpcError> {
    Passthru::delete(&spdk, &params.name).await?;
    Ok(true)
}

/// What makes the pass-through again from a saved configuration.
pub(super) fn config_of(name: &str, base: &str, uuid: Option<Uuid>) -> ConfigEntry {
    let params = Create {
        name: name.to_owned(),
        base_bdev_name: base.to_owned(),
        uuid: uuid.map(|uuid| uuid.to_string()),
    };
    ConfigEntry::new(CREATE, params)
}
