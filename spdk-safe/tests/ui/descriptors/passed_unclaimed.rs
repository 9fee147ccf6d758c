//! D3: a function that needs a claim says so in its signature.
use spdk_safe::prelude::*;

fn needs_a_claim(_desc: BdevDesc<ReadWrite, Claimed>) {}

fn misuse(desc: BdevDesc<ReadWrite>) {
    needs_a_claim(desc);
}

fn main() {}
