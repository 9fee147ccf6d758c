//! JSON-RPC: methods of one's own in an SPDK target, and a client.
//!
//! C headers: `include/spdk/rpc.h` and `jsonrpc.h`. A method is one function and one line to register it; `rpc.py`, a
//! configuration and the [`Client`] can call it then, as they call SPDK's own.
//!
//! ```standalone_crate
//! use serde::{Deserialize, Serialize};
//! use spdk_safe::prelude::*;
//! use spdk_safe::rpc::{self, Client, RpcError, State};
//!
//! #[derive(Deserialize)]
//! struct Create {
//!     name: String,
//!     num_blocks: u64,
//!     #[serde(default = "Create::default_block_size")]
//!     block_size: u32,
//! }
//!
//! impl Create {
//!     fn default_block_size() -> u32 { 512 }
//! }
//!
//! #[derive(Serialize)]
//! struct Created { name: String, bytes: u64 }
//!
//! async fn create(spdk: Spdk, params: Create) -> Result<Created, RpcError> {
//!     let Create { name, num_blocks, block_size } = params;
//!     MallocBdev::builder(&*name).blocks(num_blocks).block_size(block_size).create(&spdk).await?;
//!     Ok(Created { name, bytes: num_blocks * u64::from(block_size) })
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let socket = folder.path().join("spdk.sock");
//! let app = App::builder("target").no_huge().no_pci().memory(Mib(512)).rpc_socket(&socket);
//! # let app = app.share_cores().log_level(LogLevel::Warn);
//! app.rpc(rpc::method("example_create", State::Runtime, create)).run(async |spdk| {
//!     // Somebody else's program; it blocks, so it has a thread of its own.
//!     let (done, is_done) = futures::channel::oneshot::channel();
//!     std::thread::spawn(move || {
//!         let mut client = Client::connect(socket).unwrap();
//!         let created: serde_json::Value =
//!             client.call("example_create", &serde_json::json!({"name": "disk0", "num_blocks": 8})).unwrap();
//!         assert_eq!(created, serde_json::json!({"name": "disk0", "bytes": 4096}));
//!
//!         let wrong = serde_json::json!({"name": "disk1", "num_blocks": "8"});
//!         let error = client.call::<_, serde_json::Value>("example_create", &wrong).unwrap_err();
//!         assert_eq!(error.code(), Some(RpcError::INVALID_PARAMS.into()));
//!         assert!(error.to_string().contains("num_blocks: invalid type"), "{error}");
//!         done.send(()).unwrap();
//!     });
//!     is_done.await.unwrap();
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! - **Parameters** are an object; none, or `null`, are an empty one. What is missing, unknown or of the wrong type is
//!   refused with a text that names it ([`decode`]). Numbers are exact up to `u64::MAX`.
//! - **Handlers** run on the app thread, as tasks, any number at once. Each request is answered exactly once: a handler
//!   that panics, is dropped, or whose result is no JSON, answers [`RpcError::INTERNAL`]; one that is forgotten is
//!   answered when the app ends, and so are those that still run. A client that has gone away disturbs nobody.
//! - **State**: [`State`] says whether a method is for the time before the framework is initialised, or after. A
//!   configuration calls methods too, before main runs.
//! - **Errors**: [`RpcError`]; those of this crate turn into it with `?`.
//! - **SPDK's limits**: a request has at most 32 KiB and 1024 values, is nested 64 deep at most, and is UTF-8; else SPDK
//!   itself answers [`RpcError::PARSE`] and closes the connection, or just closes it. A result has at most 31 MiB.
//!
//! | here | C |
//! | --- | --- |
//! | [`method`], [`Method::register`] | `spdk_rpc_register_method` |
//! | [`register_rpc!`](crate::register_rpc) | `SPDK_RPC_REGISTER` |
//! | [`decode`] | `spdk_json_decode_object` |
//! | what a handler returns | `spdk_jsonrpc_begin_result`, `spdk_jsonrpc_end_result` |
//! | [`RpcError`] | `spdk_jsonrpc_send_error_response` |
//! | [`State`] | `SPDK_RPC_STARTUP`, `SPDK_RPC_RUNTIME` |
//! | [`Client`] | `spdk_jsonrpc_client_connect` |

mod client;
#[cfg(feature = "spdk")]
mod decode;
#[cfg(feature = "spdk")]
mod method;
#[cfg(feature = "spdk")]
mod request;

pub use client::{Client, ClientError};
#[cfg(feature = "spdk")]
pub use decode::decode;
#[cfg(feature = "spdk")]
pub(crate) use decode::place;
#[cfg(feature = "spdk")]
pub use method::{Handler, Method, State, at_link_time, method};
#[cfg(feature = "spdk")]
pub(crate) use request::answer_all;

#[cfg(feature = "spdk")]
pub use crate::error::{RegisterError, RpcError};
