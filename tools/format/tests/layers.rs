// SPDX-License-Identifier: GPL-2.0

//! The module's sources import downwards only: main uses fs, fs uses layout, layout uses rust; fs
//! uses engine, engine uses ondisk.

use std::{
    collections::BTreeSet,
    fs,
    path::{
        Path,
        PathBuf, //
    }, //
};

/// Each folder of src/ with the modules of the crate that it may name, and the crates that it may use.
/// Where there is no list of crates, any will do.
const LAYERS: [(&str, &[&str], Option<&[&str]>); 4] = [
    (
        "ondisk",
        &["ondisk"],
        Some(&["core", "zerocopy", "zerocopy_derive"]),
    ),
    (
        "engine",
        &["engine", "ondisk"],
        Some(&["core", "zerocopy", "zerocopy_derive"]),
    ),
    ("layout", &["layout", "rust"], None),
    ("fs", &["fs", "layout", "engine", "ondisk", "rust"], None),
];

/// The sources of a module, without its tests.
fn sources(src: &Path, module: &str) -> Vec<PathBuf> {
    let mut found = vec![src.join(module).with_extension("rs")];
    let mut folders = vec![src.join(module)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of src/") {
            let path = entry.expect("its entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") && !path.ends_with("tests.rs")
            {
                found.push(path);
            }
        }
    }
    found
}

/// The first names after `prefix` in `code`: one, or those in braces, without what is in braces in them.
fn names_after<'c>(code: &'c str, prefix: &str) -> BTreeSet<&'c str> {
    let first = |path: &'c str| {
        let path = path.trim_start();
        let end = path.find(|c: char| !c.is_alphanumeric() && c != '_');
        &path[..end.unwrap_or(path.len())]
    };
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            found.insert(first(rest));
            continue;
        };
        let (mut depth, mut start) = (1, 0);
        for (at, c) in list.char_indices() {
            match c {
                ',' | '}' if depth == 1 => {
                    found.insert(first(&list[start..at]));
                    start = at + 1;
                }
                _ => {}
            }
            depth += i32::from(c == '{') - i32::from(c == '}');
            if depth == 0 {
                break;
            }
        }
    }
    found.remove("");
    found
}

/// The code of a file: no comments.
fn code(text: &str) -> String {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn nothing_imports_upwards() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src");
    for (module, modules, crates) in LAYERS {
        let files = sources(&src, module);
        assert!(files.len() > 5, "src/{module}: {files:?}");
        for path in files {
            let code = code(&fs::read_to_string(&path).expect("a source"));
            for name in names_after(&code, "crate::") {
                assert!(modules.contains(&name), "{path:?} names crate::{name}");
            }
            // That would be the crate, or more than needed.
            assert!(!code.contains("super::super::"), "{path:?}");
            for name in names_after(&code, "\nuse ") {
                let inside = ["crate", "self", "super"].contains(&name);
                let known = crates.is_none_or(|crates| crates.contains(&name));
                assert!(inside || known, "{path:?} uses {name}");
            }
        }
    }
}

#[test]
fn names_are_found() {
    let code =
        "use crate::{\n    b::{c, d},\n    e, //\n};\nuse crate::a::x;\nlet _ = mycrate::f;\n";
    let found = names_after(code, "crate::");
    assert_eq!(Vec::from_iter(found), ["a", "b", "e"]);
    assert_eq!(
        Vec::from_iter(names_after("\nuse core::fmt;\n", "\nuse ")),
        ["core"]
    );
}
