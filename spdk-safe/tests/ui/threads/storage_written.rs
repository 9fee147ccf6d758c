//! T14: there may be others who look at it; a `Cell` or `RefCell` inside can be changed.
spdk_safe::thread_storage!(static COUNT: u64 = 0;);

fn misuse() {
    let _ = COUNT.with(|count| *count += 1);
}

fn main() {}
