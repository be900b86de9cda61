//! Which folders and crates may use which: the tables in `order.rs`, so that no circle comes back unseen.

mod order;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use order::{BASE, CLI, COMMAND_PARTS, CRATES, DISPATCHERS, FOLDERS, LOG, POSTGRES, SINK, STREAM};

#[test]
fn folders_use_only_what_lies_below_them() {
    check_order(&FOLDERS);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (path, owner) in owned_sources(&root) {
        let owner = owner.as_str();
        let below = FOLDERS.iter().find(|(folder, _)| *folder == owner);
        let allowed = match below {
            Some((_, below)) => below,
            None if owner == "error" || BASE.contains(&owner) => &[][..],
            None => panic!("`{owner}` is in no table of layers/order.rs: name what it may use"),
        };
        for used in used_in(&fs::read_to_string(&path).unwrap()) {
            let is_base = below.is_some() && BASE.contains(&used.as_str());
            if used != owner && !is_base && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{} uses `{used}`", path.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "folders use what does not lie below them: move the item to its noun, or change the table if the order of \
         the folders is to be another\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_command_line_uses_only_what_lies_below() {
    check_list("cli", CLI, |source| source);
}

/// A command uses the parts that commands share, and no other command.
#[test]
fn commands_do_not_call_their_siblings() {
    let root = repository().join("cli/src/commands");
    let place = |name: &str| COMMAND_PARTS.split(' ').position(|known| known == name);
    let is_module =
        |name: &str| root.join(name).is_dir() || root.join(format!("{name}.rs")).is_file();
    let mut wrong = Vec::new();
    for (path, owner) in owned_sources(&root) {
        let is_root = path.parent() == Some(&root) || path.ends_with("mod.rs");
        let source = fs::read_to_string(&path).unwrap();
        let siblings = if is_root {
            "super::"
        } else {
            "crate::commands::"
        };
        let dispatched = DISPATCHERS.iter().find(|(name, _)| *name == owner);
        let dispatched = dispatched.map_or(&[][..], |(_, to)| to);
        for used in used_by(&source, siblings) {
            let is_part =
                place(&used).is_some_and(|used| place(&owner).is_none_or(|own| own < used));
            if is_module(&used) && used != owner && !is_part && !dispatched.contains(&&*used) {
                wrong.push(format!("{} uses command `{used}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Unit tests may use all of their crate.
#[test]
fn the_libraries_use_only_what_lies_below() {
    let without_tests = |source: String| match source.split_once("#[cfg(test)]\nmod tests {") {
        Some((code, _)) => code.to_owned(),
        None => source,
    };
    check_list("log", LOG, without_tests);
    check_list("sink", SINK, without_tests);
    check_list("stream", STREAM, without_tests);
    check_list("postgres", POSTGRES, without_tests);
}

/// Checks the files and folders of a crate's sources, which are listed from top to bottom.
fn check_list(name: &str, list: &str, checked: impl Fn(String) -> String) {
    let root = repository().join(name).join("src");
    let exported = fs::read_to_string(root.join("lib.rs")).unwrap_or_default();
    let exported = exported_by(&exported);
    let place = |name: &str| list.split(' ').position(|known| known == name);
    let mut wrong = Vec::new();
    for (path, owner) in owned_sources(&root) {
        let own = place(&owner).unwrap_or_else(|| panic!("`{owner}` of {name} is in no list"));
        if path.ends_with("tests.rs") {
            continue;
        }
        for used in used_in(&checked(fs::read_to_string(&path).unwrap())) {
            let module = exported.get(used.as_str()).map_or(&*used, |module| module);
            if place(module).is_some_and(|used| used < own) {
                wrong.push(format!("{} uses `{used}` of `{module}`", path.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "modules use what does not lie below them: move the item to its noun, or change the list if the order of the \
         modules is to be another\n{}",
        wrong.join("\n")
    );
}

/// For each name that a crate's root exports, the module that has the name.
fn exported_by(root: &str) -> BTreeMap<&str, &str> {
    let mut exported = BTreeMap::new();
    for export in root.split("pub use ").skip(1) {
        let (path, _) = export.split_once(';').unwrap();
        let (module, names) = path.split_once("::").unwrap();
        let names = names.split(|c: char| !c.is_alphanumeric() && c != '_');
        exported.extend(names.map(|name| (name, module)));
    }
    exported
}

#[test]
fn crates_depend_only_on_those_below_them() {
    check_order(&CRATES);
    let root = repository();
    let workspace = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let members = workspace
        .lines()
        .find_map(|line| line.strip_prefix("members = "));
    let members: BTreeSet<&str> = members
        .expect("the members stand on one line")
        .split(['[', ']', ',', ' ', '"'])
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(members, CRATES.iter().map(|(name, _)| *name).collect());
    for (name, allowed) in CRATES {
        let manifest = fs::read_to_string(root.join(name).join("Cargo.toml")).unwrap();
        let used = dependencies(&manifest);
        let wrong: Vec<_> = used.iter().filter(|used| !allowed.contains(used)).collect();
        assert!(wrong.is_empty(), "`{name}` must not depend on {wrong:?}");
    }
}

/// The crates of the workspace that a manifest names for more than its tests.
fn dependencies(manifest: &str) -> BTreeSet<&str> {
    let mut used = BTreeSet::new();
    let mut is_built = false;
    for line in manifest.lines() {
        let mut name = line;
        if let Some(section) = line.strip_prefix('[') {
            is_built = section.contains("dependencies") && !section.contains("dev-dependencies");
            name = section.rsplit('.').next().unwrap_or_default();
        }
        if let Some(name) = name.strip_prefix("bekk-").filter(|_| is_built) {
            used.extend(name.split(['.', ' ', '=', ']']).next());
        }
    }
    used
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The sources of a crate, each with its folder or file at the root; without the root itself, which names them all.
fn owned_sources(root: &Path) -> Vec<(PathBuf, String)> {
    let all = sources(root).into_iter().map(|path| {
        let owner = path.strip_prefix(root).unwrap().iter().next().unwrap();
        let owner = Path::new(owner).with_extension("");
        let owner = owner.to_str().unwrap().to_owned();
        (path, owner)
    });
    all.filter(|(_, owner)| !matches!(&**owner, "lib" | "main" | "mod"))
        .collect()
}

/// A table is in order if nothing uses what stands above it: then no circle is possible.
fn check_order(table: &[(&str, &[&str])]) {
    for (at, (name, below)) in table.iter().enumerate() {
        for used in *below {
            let place = table.iter().position(|(name, _)| name == used);
            assert!(place > Some(at), "`{used}` must stand below `{name}`");
        }
    }
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The first names of all paths from the crate's root, comments left out.
fn used_in(source: &str) -> BTreeSet<String> {
    assert!(
        !source.contains("super::super::"),
        "a path leaves its folder without the crate's name"
    );
    used_by(source, "crate::")
}

/// The first names of all paths from such a root, comments left out.
fn used_by(source: &str, root: &str) -> BTreeSet<String> {
    let lines = source.lines().map(str::trim_start);
    let code: Vec<_> = lines.filter(|line| !line.starts_with("//")).collect();
    let code = code.join(" ");
    let mut used = BTreeSet::new();
    for path in code.split(root).skip(1) {
        assert!(
            !path.starts_with('*') || root == "super::",
            "import by name, not `crate::*`"
        );
        // The names of a list are those outside the inner braces.
        let mut depth = 0;
        let mut is_name = true;
        let mut name = String::new();
        for c in path.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => {}
                ':' if depth == 1 => is_name = false,
                c if is_name && (c.is_alphanumeric() || c == '_') => name.push(c),
                _ if depth == 0 => break,
                _ => {}
            }
            if depth == 0 && c == '}' || depth == 1 && matches!(c, ',' | '{') {
                used.insert(std::mem::take(&mut name));
                is_name = true;
            }
            if depth == 0 && c == '}' {
                break;
            }
        }
        used.insert(name);
    }
    used.remove("");
    used
}

#[test]
fn paths_are_found_in_lists_and_outside_them() {
    let check = |source: &str, expected: &[&str]| {
        let used = used_in(source);
        assert!(used.iter().eq(expected), "{source}: {used:?}");
    };
    check("use crate::a::b;", &["a"]);
    check("use crate::a::{b, c};", &["a"]);
    check("use crate::{A, b};", &["A", "b"]);
    check(
        "use crate::{\n    A, b::{self, c}, d::e,\n};",
        &["A", "b", "d"],
    );
    check(
        "// crate::a\nfn f() -> crate::b { crate::c::d(e) }",
        &["b", "c"],
    );
}
