//! spdk-raid
