//! A device is not one before it says what it does.
use spdk_exec::spdk::Async;
use spdk_safe::module::BdevModule;

static MODULE: BdevModule = BdevModule::new(c"nothing").device::<Async<Nothing>>();

struct Nothing;

fn main() {
    let _ = &MODULE;
}
