//! M11: the memory of a WRITE is lent for reading only.
use spdk_safe::module::{ChildIos, Children, WriteRequest};
use spdk_safe::prelude::*;

fn misuse<S: Children<WriteRequest>>(children: &ChildIos<WriteRequest, S>, leg: &IoChannel) {
    children.read(leg, Lba(0), 0);
}

fn main() {}
