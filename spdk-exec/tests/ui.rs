//! What must not compile, with messages that say what to do instead.

#![cfg(feature = "std")]

#[test]
#[cfg(not(miri))]
fn misuse_does_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/*/pass.rs");
    for topic in ["threads", "storage", "handles"] {
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
