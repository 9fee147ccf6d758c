//! What the benchmarks measure, apart from how: the same work for each executor.

pub mod exec;
