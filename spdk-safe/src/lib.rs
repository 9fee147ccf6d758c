//! spdk-safe
