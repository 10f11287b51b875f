// SPDX-License-Identifier: GPL-2.0

//! Makes broken copies of the sources: each has one order of things changed that a model is about.
//!
//! They are modules of the test program, beside the sources as they are, with a test each: that the
//! model finds something.

use std::{
    env,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

/// A copy, and the model that must find what is wrong with it.
struct Broken {
    name: &'static str,
    model: &'static str,
    /// Changes of the text: file, what is there once, and what becomes of it.
    changes: &'static [Change],
}

type Change = (&'static str, &'static str, &'static str);

/// A lease is there when whoever asked before it was is still at it.
const LEASES_DO_NOT_WAIT: &[Change] = &[(
    "layout/lease.rs",
    "    drop(FaultLock::new(file.inode()));\n",
    "",
)];

/// A lease that the kernel may refuse yet is in the way of others.
const PREPARED_LEASES_REFUSE: &[Change] = &[(
    "pins/grant.rs",
    "                && grant.cover.within(pages).any(|piece| {",
    "                && Iterator::chain(\n                    grant.cover.within(pages),\n                    \
     grant.change.iter().flat_map(|change| change.cover.within(pages)),\n                ).any(|piece| {",
)];

const BROKEN: &[Broken] = &[
    // A pin in flight is nothing to who takes its lease away.
    Broken {
        name: "reservations_are_not_pins_under_a_lease",
        model: "shrink_or_pin",
        changes: &[(
            "pins/registry.rs",
            "holding.2 == grant && overlap(reserved, pages)",
            "false && holding.2 == grant && overlap(reserved, pages)",
        )],
    },
    // Pins are looked for before the kernel is asked, and not again.
    Broken {
        name: "pins_are_looked_for_early",
        model: "unlock_or_pin",
        changes: &[(
            "pins/grant.rs",
            "            Some(grant) if grant.uses != 0 => return Err(EBUSY),\n",
            "",
        )],
    },
    // The same when a part of the lease is given back.
    Broken {
        name: "pins_are_looked_for_early_in_a_part",
        model: "shrink_or_pin",
        changes: &[(
            "pins/grant.rs",
            "        registry.check_prepared(inode, file)?;\n",
            "",
        )],
    },
    // Or when the kernel asks, but not when the part goes.
    Broken {
        name: "pins_come_before_the_change",
        model: "shrink_or_pin",
        changes: &[(
            "pins/grant.rs",
            "        registry.check_prepared(inode, file)?;\n    }\n",
            "        registry.check_prepared(inode, file)?;\n    }\n    drop(guard);\n    \
             let mut guard = registry::lock();\n    let registry = guard.as_mut().ok_or(ENODEV)?;\n",
        )],
    },
    // The lease is looked for first, and the pin reserved later.
    Broken {
        name: "lease_is_looked_at_before",
        model: "unlock_or_pin",
        changes: &[(
            "pins/pin.rs",
            "        let context = match registry.owners.get(&owner) {",
            "        drop(guard);\n        let mut guard = registry::lock();\n        let registry = guard.as_mut().ok_or(ENODEV)?;\n        \
             let context = match registry.owners.get(&owner) {",
        )],
    },
    // The file is closed as if a pin in flight were none.
    Broken {
        name: "reservations_do_not_use_the_lease",
        model: "close_or_pin",
        changes: &[(
            "pins/pin.rs",
            "        registry.use_grant(holding);\n        let key",
            "        let key",
        ), (
            "pins/pin.rs",
            "        registry.unuse_grant(self.holding);\n",
            "",
        )],
    },
    // The pin is not reserved any more when it comes onto the record.
    Broken {
        name: "reservations_end_before_the_commit",
        model: "close_or_pin",
        changes: &[(
            "pins/pin.rs",
            "    pub(super) fn commit(&mut self, runs: &SmallVec<Run>) -> Result {",
            "    pub(super) fn commit(&mut self, runs: &SmallVec<Run>) -> Result {\n        \
             if let Some(registry) = registry::lock().as_mut() {\n            registry.unuse_grant(self.holding);\n        }\n        \
             let result = self.commit_late(runs);\n        \
             if let Some(registry) = registry::lock().as_mut() {\n            registry.use_grant(self.holding);\n        }\n        \
             result\n    }\n\n    fn commit_late(&mut self, runs: &SmallVec<Run>) -> Result {",
        )],
    },
    // Whether a lease has pins is looked at first, and the lease orphaned later.
    Broken {
        name: "orphaned_late",
        model: "close_or_unpin",
        changes: &[(
            "pins/grant.rs",
            "    let removed = match registry::lock().as_mut() {\n        Some(registry) => match registry.grant_of_file(inode, file) {\n            \
             Some(grant) if grant.uses != 0 => {\n                grant.state",
            "    let is_used = registry::lock().as_mut().is_some_and(|registry| {\n        \
             registry.grant_of_file(inode, file).is_some_and(|grant| grant.uses != 0)\n    });\n    \
             let removed = match registry::lock().as_mut() {\n        Some(registry) => match registry.grant_of_file(inode, file) {\n            \
             Some(grant) if is_used => {\n                grant.state",
        )],
    },
    // The other way round: the lease goes with the holding only if it was orphaned when the pin ended.
    Broken {
        name: "orphans_are_not_reaped",
        model: "close_or_unpin",
        changes: &[(
            "pins/reaper.rs",
            "        Some(entry) if !entry.is_alive() => registry.remove_grant(&(inode, grant)),\n",
            "",
        )],
    },
    // The page is idle when the locks are dropped, and taken for idle when they are back.
    Broken {
        name: "idle_without_locks",
        model: "punch_or_pin_beside_another",
        changes: &[(
            "layout/busy.rs",
            "        last = Some(page);\n        recheck(lock)?;",
            "        return Ok(());",
        )],
    },
    // Pins are asked about once, before the pages.
    Broken {
        name: "pins_are_asked_once",
        model: "punch_or_pin",
        changes: &[(
            "layout/busy.rs",
            "            check_pins(inode, &busy)?;\n",
            "",
        ), (
            "layout/busy.rs",
            "|| are_pinned(inode, &pages_busy)",
            "|| false",
        )],
    },
    // A truncate that waits does not hear of the pin.
    Broken {
        name: "nobody_is_woken",
        model: "punch_or_pin_beside_another",
        changes: &[(
            "pins/longterm.rs",
            "    dax::wake_waiters(folios.map(|folio| folio.pfn));\n",
            "    drop(folios);\n",
        ), (
            "layout/busy.rs",
            "|| are_pinned(inode, &pages_busy)",
            "|| false",
        )],
    },
    // An unpin that could not be told from another is not looked at again.
    Broken {
        name: "no_doubts",
        model: "two_unpins",
        changes: &[(
            "pins/unpin.rs",
            "    taken < due || due < refs\n",
            "    taken < due || refs == 0\n",
        )],
    },
    // What is given back is taken for what is on record.
    Broken {
        name: "any_unpin_is_credited",
        model: "pin_beside_an_unpin",
        changes: &[(
            "pins/unpin.rs",
            "    recorded.saturating_sub(left)\n",
            "    refs.min(recorded.max(left))\n",
        )],
    },
    // A pin counts itself when it has seen that unpins are observed.
    Broken {
        name: "watched_first",
        model: "stop_watching_or_pin",
        changes: &[(
            "pins/watch.rs",
            "        USERS.fetch_add(1, Full);\n        let watch = Self;\n        if !OBSERVED.load(Acquire) {\n            \
             observer().ok_or(ENODEV)?.enable()?;",
            "        let is_observed = OBSERVED.load(Acquire);\n        USERS.fetch_add(1, Full);\n        let watch = Self;\n        \
             if !is_observed {\n            observer().ok_or(ENODEV)?.enable()?;",
        )],
    },
    // Who stops the observer looks for pins first, and only then makes them take the mutex.
    Broken {
        name: "stopped_before_it_shows",
        model: "stop_watching_or_pin",
        changes: &[(
            "pins/watch.rs",
            "        OBSERVED.xchg(false, Full);\n",
            "",
        ), (
            "pins/watch.rs",
            "        if !is_idle {\n            OBSERVED.store(true, Release);\n        }\n",
            "        OBSERVED.store(!is_idle, Release);\n",
        )],
    },
    // A pin is taken before it is reserved, for who stops the observer.
    Broken {
        name: "watched_until_reserved_only",
        model: "stop_watching_or_pin",
        changes: &[(
            "pins/longterm.rs",
            "    watch.hand_over();\n",
            "",
        ), (
            "pins/longterm.rs",
            "    let watch = Watch::new()?;\n",
            "    drop(Watch::new()?);\n",
        )],
    },
    // Conflicts are looked for first, and the lease granted later.
    Broken {
        name: "refused_too_early",
        model: "two_takers",
        changes: &[(
            "layout/lease.rs",
            "        grant::admit(inode_of(file), file.id())\n",
            "        let _ = file;\n        Ok(())\n",
        )],
    },
    // A lease that the kernel may refuse yet is in the way of operations ...
    Broken {
        name: "prepared_leases_are_in_the_way",
        model: "refused_taker",
        changes: &[(
            "pins/grant.rs",
            "            for piece in grant.cover.within(pages) {",
            "            let change = grant.change.iter().filter(|change| !change.is_made);\n            \
             let prepared = change.flat_map(|change| change.cover.within(pages));\n            \
             for piece in Iterator::chain(grant.cover.within(pages), prepared) {",
        )],
    },
    // ... and of other leases ...
    Broken {
        name: "prepared_leases_refuse_others",
        model: "refused_taker",
        changes: PREPARED_LEASES_REFUSE,
    },
    Broken {
        name: "prepared_changes_refuse_others",
        model: "refused_change",
        changes: PREPARED_LEASES_REFUSE,
    },
    // ... and what it was before is nothing any more.
    Broken {
        name: "prepared_changes_are_made",
        model: "refused_change",
        changes: &[(
            "layout/lease.rs",
            "    if let Err(err) = lease::install::<Fcntl<H>>(file, fd) {\n",
            "    let _ = grant::commit(inode, file.id());\n    if let Err(err) = lease::install::<Fcntl<H>>(file, fd) {\n",
        )],
    },
    // Whether a file may be pinned is asked before the pin is reserved.
    Broken {
        name: "forbidden_too_late",
        model: "pin_or_forbid",
        changes: &[(
            "layout/busy.rs",
            "    forbid();\n    drop(guard);\n",
            "    drop(guard);\n    forbid();\n",
        )],
    },
    // Nobody looks whether time is up but who breaks leases.
    Broken {
        name: "time_is_not_looked_at",
        model: "break_abandoned",
        changes: &[(
            "layout/lease.rs",
            "        time_out(file.inode())?;\n",
            "",
        )],
    },
    // Pins are noted as shared before they are cloned.
    Broken {
        name: "shared_before_cloned",
        model: "clone_or_pin",
        changes: &[(
            "pins/share.rs",
            "        let ret = original();\n        if ret != 0 || to == from {\n            return ret;\n        }\n",
            "",
        ), (
            "pins/share.rs",
            "        });\n        ret\n",
            "        });\n        original()\n",
        )],
    },
    // A part of a lease is given back, and those who wait for it are not told.
    Broken {
        name: "nobody_looks_again",
        model: "break_or_shrink",
        changes: &[(
            "layout/lease.rs",
            "lease::update::<Fcntl<H>>(file);\n",
            "grant::commit(inode, file.id()).map(|_| ());\n",
        )],
    },
    // All leases of the file are in the way of who wants some of its pages.
    Broken {
        name: "all_leases_are_broken",
        model: "two_breakers",
        changes: &[(
            "layout/busy.rs",
            "breaker = Some(Breaker::new(inode, pages.clone())?);",
            "breaker = Some(());\n                    drop(Breaker::new(inode, pages.clone())?);",
        )],
    },
    // A lease of which what could be broken is given back is to be broken for ever.
    Broken {
        name: "breaks_do_not_end",
        model: "break_or_shrink",
        changes: &[(
            "pins/grant.rs",
            "    grant.breaking &= grant.has_breakable(&ALL);\n",
            "",
        )],
    },
    // Time is up for the kernel's lease only.
    Broken {
        name: "grants_do_not_time_out",
        model: "time_out_or_give_back",
        changes: &[(
            "layout/lease.rs",
            "        grant::time_out(inode_of(file), file.id())\n",
            "        true\n",
        )],
    },
    Broken {
        name: "leases_do_not_wait",
        model: "punch_or_lease",
        changes: LEASES_DO_NOT_WAIT,
    },
    Broken {
        name: "strengthened_leases_do_not_wait",
        model: "time_out_or_strengthen",
        changes: LEASES_DO_NOT_WAIT,
    },
    // Time was up while a range was added, and the kernel keeps a lease of it.
    Broken {
        name: "added_too_late",
        model: "time_out_or_add",
        changes: &[(
            "pins/grant.rs",
            "            change.is_late = true;\n",
            "",
        )],
    },
    // Time is up for all of a lease.
    Broken {
        name: "strong_ones_time_out",
        model: "time_out_beside_pins",
        changes: &[(
            "pins/grant.rs",
            "                if !grant.cover.pieces().is_empty() {\n                    return false;\n                }\n",
            "",
        ), (
            "pins/grant.rs",
            "                if grant.is_over() {\n",
            "                if grant.change.is_none() {\n",
        )],
    },
    // Who waits is told again what it has been told, and nobody but time ends that.
    Broken {
        name: "given_back_here_only",
        model: "break_or_give_back",
        changes: &[(
            "layout/lease.rs",
            "        Prepared::Nothing => lease::remove(file),\n",
            "        Prepared::Nothing => grant::release(inode, file.id()),\n",
        )],
    },
    // An unpin within the kernel is credited to whoever has pins.
    Broken {
        name: "kernel_unpins_are_anybodys",
        model: "kernel_unpins_or_close",
        changes: &[(
            "pins/unpin.rs",
            "        .or_else(|| gup::caller_mm_id().map(Owner::Mm))\n",
            "",
        )],
    },
];

/// What the sources import from the crate that they are in, beside each other.
const WALLS: &str =
    "dax, small_vec, fs, gup, hook, identity, irq, lease, lock, proc, task, trace, uring, vfs, work";

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    let src = here.join("../../src");
    let mut files = vec![
        PathBuf::from("pins.rs"),
        "layout/busy.rs".into(),
        "layout/lease.rs".into(),
    ];
    for entry in fs::read_dir(src.join("pins"))? {
        files.push(Path::new("pins").join(entry?.file_name()));
    }
    for file in &files {
        println!("cargo::rerun-if-changed={}", src.join(file).display());
    }
    println!("cargo::rerun-if-changed={}", src.join("pins").display());
    println!("cargo::rerun-if-changed=build.rs");

    let models = here.join("tests/models/models.rs");
    let mut modules = String::new();
    for broken in BROKEN {
        let copy = out.join(broken.name);
        if let Some(outdated) = broken.outdated(&src)? {
            write_failure(&mut modules, broken.name, &outdated);
            continue;
        }
        for file in &files {
            let text = broken.text(file, fs::read_to_string(src.join(file))?);
            fs::create_dir_all(copy.join(file).parent().expect("it has one"))?;
            fs::write(copy.join(file), text)?;
        }
        broken.write_module(&mut modules, &copy, &models);
    }
    fs::write(out.join("broken.rs"), modules)
}

impl Broken {
    /// Returns a text that is to be changed and is not there, or more than once.
    fn outdated(&self, src: &Path) -> io::Result<Option<String>> {
        for (file, old, _) in self.changes {
            let found = fs::read_to_string(src.join(file))?.matches(old).count();
            if found != 1 {
                return Ok(Some(format!("src/{file} has {found} times: {old}")));
            }
        }
        Ok(None)
    }

    /// Changes the text of a file.
    fn text(&self, file: &Path, mut text: String) -> String {
        for (of, old, new) in self.changes {
            if Path::new(of) == file {
                text = text.replace(old, new);
            }
        }
        text.replace("crate::", &format!("crate::broken::{}::", self.name))
    }

    fn write_module(&self, modules: &mut String, copy: &Path, models: &Path) {
        let Self { name, model, .. } = self;
        write!(
            modules,
            "mod {name} {{
                use crate::{{{WALLS}}};
                #[path = {copy:?}]
                mod kernel_module {{
                    pub(crate) mod layout {{
                        pub(crate) mod busy;
                        pub(crate) mod lease;
                    }}
                    pub(crate) mod pins;
                }}
                use kernel_module::{{layout, pins}};
                #[path = {models:?}]
                mod models;
                #[test]
                fn {model}_finds_it() {{
                    crate::must_fail(models::{model});
                }}
            }}\n"
        )
        .expect("a string takes all");
    }
}

/// A test that fails, but nothing else: the programs are built without these.
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
