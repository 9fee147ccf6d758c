//! An array exported over NVMe/TCP.

#[cfg(not(all(feature = "nvmf", feature = "bdev-nvme")))]
#[test]
fn an_array_is_exported_over_nvme_tcp() {
    println!("left out: it needs the features `nvmf` and `bdev-nvme`, and an SPDK that has them");
}
