/* Everything that bindgen reads. What Rust may use is chosen by the allowlist in build/bindings.rs. */
#include "shim.h"
#include <spdk/bdev.h>
#include <spdk/bdev_module.h>
#include <spdk/env.h>
#include <spdk/event.h>
#include <spdk/json.h>
#include <spdk/jsonrpc.h>
#include <spdk/log.h>
#include <spdk/rpc.h>
#include <spdk/thread.h>
#include <spdk/uuid.h>
#include <spdk/version.h>
