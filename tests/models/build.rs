// SPDX-License-Identifier: GPL-2.0

//! Makes broken copies of the sources: one for each patch of `tests/bugs/models`.
//!
//! They are modules of the test program, beside the sources as they are. Each has a test for each
//! model that the patch names: the model must find something.

use std::{
    env,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// The folder of the sources that the models run.
const SOURCES: &str = "src/layout";

/// The file of it that needs more of the kernel than there are stand-ins for.
const NOT_MODELLED: &str = "ioctl";

/// What the sources import from the crate that they are in, beside each other.
const WALLS: &str = "fs, rust";

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    let top = here.join("../..");
    let bugs = top.join("tests/bugs");
    println!("cargo::rerun-if-changed={}", top.join(SOURCES).display());
    for watched in ["apply", "models"] {
        println!("cargo::rerun-if-changed={}", bugs.join(watched).display());
    }
    println!("cargo::rerun-if-changed=build.rs");

    let mut patches = Vec::new();
    for entry in fs::read_dir(bugs.join("models"))? {
        patches.push(entry?.path());
    }
    patches.sort();
    let mut modules = String::new();
    for patch in &patches {
        write_copy(&mut modules, &here, &bugs, patch, &out)?;
    }
    fs::write(out.join("broken.rs"), modules)
}

/// Makes the copy that has the bug of a patch, and writes the module of it.
fn write_copy(
    modules: &mut String,
    here: &Path,
    bugs: &Path,
    patch: &Path,
    out: &Path,
) -> io::Result<()> {
    let bug = patch.file_stem().unwrap_or_default().to_string_lossy();
    let name = bug.replace('-', "_");
    let patched = out.join("patched").join(&name);
    let apply = Command::new(bugs.join("apply"))
        .arg(format!("models/{bug}"))
        .arg(&patched)
        .arg(SOURCES)
        .output()?;
    if !apply.status.success() {
        write_failure(modules, &name, &String::from_utf8_lossy(&apply.stderr));
        return Ok(());
    }
    let copy = out.join(&name);
    move_into(&name, &patched.join("src"), &copy)?;

    let header = fs::read_to_string(patch)?;
    let tags = header.lines().take_while(|line| !line.starts_with("--- "));
    let models = tags.filter_map(|line| line.strip_prefix("Model: "));
    write_module(
        modules,
        &name,
        &copy,
        &here.join("tests/models/models.rs"),
        models,
    )
}

/// Copies sources for the module `name`, which is to them what the crate is to the others.
fn move_into(name: &str, from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let file = entry?.file_name();
        let (from, to) = (from.join(&file), to.join(&file));
        if from.is_dir() {
            move_into(name, &from, &to)?;
        } else {
            let text = fs::read_to_string(&from)?;
            fs::write(
                to,
                text.replace("crate::", &format!("crate::broken::{name}::")),
            )?;
        }
    }
    Ok(())
}

fn write_module<'a>(
    modules: &mut String,
    name: &str,
    copy: &Path,
    models: &Path,
    found_by: impl Iterator<Item = &'a str>,
) -> io::Result<()> {
    let layout = modules_of(&copy.join("layout"))?;
    let mut tests = String::new();
    for model in found_by {
        write!(
            tests,
            "#[test]
                fn {model}_finds_it() {{
                    crate::must_fail(models::{model});
                }}\n"
        )
        .expect("a string takes all");
    }
    write!(
        modules,
        "mod {name} {{
                use crate::{{{WALLS}}};
                #[path = {copy:?}]
                mod kernel_module {{
                    pub(crate) mod layout {{
                        {layout}
                    }}
                }}
                use kernel_module::layout;
                #[path = {models:?}]
                mod models;
                {tests}
            }}\n"
    )
    .expect("a string takes all");
    Ok(())
}

/// Declares the modules that are in a folder.
fn modules_of(folder: &Path) -> io::Result<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        if name != NOT_MODELLED {
            names.push(format!("pub(crate) mod {name};\n"));
        }
    }
    names.sort();
    Ok(names.concat())
}

/// Writes a test that fails, and nothing else: the programs are built without these.
fn write_failure(modules: &mut String, name: &str, what: &str) {
    write!(
        modules,
        "#[test]
        fn {name}_is_of_other_sources() {{
            panic!(\"{{}}\", {what:?});
        }}\n"
    )
    .expect("a string takes all");
}
