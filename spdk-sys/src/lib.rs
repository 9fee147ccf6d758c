//! spdk-sys
