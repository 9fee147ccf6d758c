//! `docs/safety-model.md` names tests, and they are there.

use std::collections::BTreeSet;
use std::path::Path;

/// All of a file, or of the files in a folder.
fn source(path: &Path) -> String {
    let file = path.with_extension("rs");
    if file.is_file() {
        return std::fs::read_to_string(file).unwrap();
    }
    let Ok(folder) = std::fs::read_dir(path) else {
        return String::new();
    };
    let files = folder.map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.is_file())
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect()
}

/// The texts between backticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Whether `quote` names a test; panics if there is no such test.
fn is_test(quote: &str, root: &Path) -> bool {
    let tests = root.join("spdk-safe/tests");
    if quote.starts_with("ui/") && quote.matches('/').count() == 2 {
        let case = tests.join(quote);
        for ending in ["rs", "stderr"] {
            let file = case.with_extension(ending);
            assert!(file.is_file(), "there is no {}", file.display());
        }
        return true;
    }
    let Some((file, name)) = quote.split_once("::") else {
        return false;
    };
    let is_name = |text: &str| text.contains('_') && !text.contains(char::is_uppercase);
    if !is_name(name) || name.contains("::") {
        return false;
    }
    let path = match file.split_once('/') {
        None => tests.join(file),
        Some(("src", _)) => root.join("spdk-safe").join(file),
        // Beside the code of another crate, or in its tests.
        Some((of, file)) if file.starts_with("src/") => root.join(of).join(file),
        Some((of, file)) => root.join(of).join("tests").join(file),
    };
    let test = format!("fn {name}()");
    assert!(source(&path).contains(&test), "there is no test {quote}");
    true
}

#[test]
fn every_row_has_tests_and_every_test_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("docs/safety-model.md")).unwrap();
    let mut rows = BTreeSet::new();
    for line in page.lines() {
        let tests = quoted(line).filter(|quote| is_test(quote, root)).count();
        let id = line
            .strip_prefix("| ")
            .and_then(|row| row.split(' ').next())
            .filter(|id| id.starts_with(['T', 'D', 'I', 'M', 'R', 'S']));
        if let Some(id) = id {
            assert!(tests > 0, "row {id} has no test");
            assert!(rows.insert(id.to_owned()), "row {id} is there twice");
        }
    }
    for (letter, least) in [
        ('T', 15),
        ('D', 9),
        ('I', 9),
        ('M', 11),
        ('R', 3),
        ('S', 10),
    ] {
        for number in 1..=least {
            let id = format!("{letter}{number}");
            assert!(rows.contains(&id), "row {id} is missing");
        }
    }
}
