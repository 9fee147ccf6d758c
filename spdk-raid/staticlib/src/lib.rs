//! The RAID1 for SPDK applications in C: link `libspdk_bdev_rust_raid1.a` whole, and there it is.
//!
//! A constructor registers the bdev module and its RPCs, as SPDK's own modules do with `SPDK_BDEV_MODULE_REGISTER` and
//! `SPDK_RPC_REGISTER`. Nothing is to be called; `docs/target.md` says how to link it.

#![forbid(unsafe_code)]

spdk_safe::link_module!(spdk_raid::raid1::MODULE);
spdk_safe::register_rpc!(spdk_raid::raid1::METHODS);
