//! spdk-exec
