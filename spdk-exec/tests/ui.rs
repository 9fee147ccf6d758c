//! What must not compile, with messages that say what to do instead.

#![cfg(feature = "std")]

#[test]
#[cfg(not(miri))]
fn misuse_does_not_compile() {
    let cases = trybuild::TestCases::new();
    let mut topics = vec!["threads", "storage", "handles"];
    if cfg!(feature = "spdk") {
        topics.push("device");
    }
    for topic in topics {
        cases.pass(format!("tests/ui/{topic}/pass.rs"));
        let mut found = 0;
        for entry in std::fs::read_dir(format!("tests/ui/{topic}")).unwrap() {
            let path = entry.unwrap().path();
            let is_case = path.extension().is_some_and(|ext| ext == "rs")
                && path.file_stem().is_some_and(|stem| stem != "pass");
            if is_case {
                cases.compile_fail(path);
                found += 1;
            }
        }
        assert!(found > 0, "no case in {topic}");
    }
}
