//! Reads SPDK's pkg-config files: which library needs which.
//!
//! Not the `pkg-config` crate: it flattens the graph, pulls in every module (`spdk_bdev` requires
//! `spdk_bdev_modules`, contract E-21), and loses the whole-archive grouping.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// One `.pc` file: the fields that linking needs, variables expanded.
#[derive(Debug, Default, Clone)]
pub(crate) struct Package {
    /// Names of other packages, public and private, without version bounds.
    pub(crate) requires: Vec<String>,
    /// The words of `Libs` and `Libs.private`.
    pub(crate) libs: Vec<String>,
}

/// The folders that hold the `.pc` files of one SPDK.
#[derive(Debug)]
pub(crate) struct PackageDirs(Vec<PathBuf>);

impl PackageDirs {
    /// Looks in `dirs`, in this order.
    pub(crate) fn new(dirs: &[PathBuf]) -> Self {
        Self(dirs.to_vec())
    }

    /// Reads `name.pc`; `None` if there is none.
    pub(crate) fn read(&self, name: &str) -> Option<Package> {
        let path = self.path(name)?;
        println!("cargo::rerun-if-changed={}", path.display());
        std::fs::read_to_string(&path)
            .ok()
            .map(|text| parse(&text, &path))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let file = format!("{name}.pc");
        self.0
            .iter()
            .map(|dir| dir.join(&file))
            .find(|p| p.is_file())
    }
}

fn parse(text: &str, path: &Path) -> Package {
    let mut variables = HashMap::new();
    if let Some(dir) = path.parent() {
        variables.insert("pcfiledir".to_owned(), dir.display().to_string());
    }
    let mut package = Package::default();
    for line in text.lines() {
        // `name = value` defines a variable, `Field: value` says something of the package.
        let Some(at) = line.find([':', '=']) else {
            continue;
        };
        let (key, value) = (line[..at].trim(), expand(line[at + 1..].trim(), &variables));
        if line.as_bytes()[at] == b'=' {
            variables.insert(key.to_owned(), value);
            continue;
        }
        match key {
            "Requires" | "Requires.private" => package.requires.extend(required_names(&value)),
            "Libs" | "Libs.private" => {
                package
                    .libs
                    .extend(value.split_whitespace().map(str::to_owned));
            }
            _ => {}
        }
    }
    package
}

/// `a >= 1.2, b c` names a, b and c.
fn required_names(value: &str) -> impl Iterator<Item = String> + '_ {
    let mut skip = false;
    value
        .split([' ', '\t', ','])
        .filter(|word| !word.is_empty())
        .filter(move |word| {
            let bound = word.starts_with(['<', '>', '=', '!']);
            let version = std::mem::replace(&mut skip, bound);
            !bound && !version
        })
        .map(str::to_owned)
}

fn expand(value: &str, variables: &HashMap<String, String>) -> String {
    let mut out = value.to_owned();
    for (name, is) in variables {
        out = out.replace(&format!("${{{name}}}"), is);
    }
    out
}
