//! T17: what a loop runs can't poll the loop.
use spdk_safe::app::OwnLoop;

fn misuse(mut own: OwnLoop) {
    own.block_on(async { own.poll() });
}

fn main() {}
