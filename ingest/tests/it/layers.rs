//! Which folders and crates may use which: one table each, so that no circle comes back unseen.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What every folder may use, and what uses no folder.
const BASE: [&str; 5] = ["Error", "clock", "config", "stats", "testing"];

/// The folders, `run.rs` and `piped.rs` from top to bottom: each may use those named with it.
const FOLDERS: [(&str, &[&str]); 9] = [
    ("run", &["follow", "ledger", "inbox", "file"]),
    ("piped", &["ask", "inbox", "file", "text", "source"]),
    ("follow", &["ledger", "inbox", "file", "text", "source"]),
    ("ask", &["ledger", "inbox", "file", "text", "source"]),
    ("ledger", &["inbox", "file", "text", "source"]),
    ("inbox", &["source"]),
    ("file", &["text", "source"]),
    ("text", &["source"]),
    ("source", &[]),
];

/// The folders and files of the command line from top to bottom: each may use those after it.
const CLI: [&str; 32] = [
    "commands",
    "http",
    "observe",
    "pipeline",
    "reload",
    "retrier",
    "status",
    "standard_input",
    "context",
    "log_place",
    "service",
    "database",
    "private_server",
    "topics",
    "outcome",
    "units",
    "decoded",
    "infer",
    "screen",
    "args",
    "environment",
    "positions",
    "found_file",
    "json_line",
    "lag",
    "letters",
    "open_files",
    "remedy",
    "secrets",
    "signals",
    "stage",
    "table",
];

/// The crates from top to bottom, with the crates of the workspace that each may depend on.
const CRATES: [(&str, &[&str]); 9] = [
    (
        "cli",
        &["generator", "ingest", "log", "postgres", "sink", "stream"],
    ),
    ("bench", &["generator", "log", "postgres"]),
    ("sink", &["log", "stream"]),
    ("ingest", &["log", "stream"]),
    ("generator", &[]),
    ("testing", &["stream"]),
    ("postgres", &[]),
    ("log", &[]),
    ("stream", &[]),
];

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
            None => panic!("`{owner}` is in no table of this file: name what it may use"),
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
    let root = repository().join("cli/src");
    let place = |name: &str| CLI.iter().position(|known| *known == name);
    let mut wrong = Vec::new();
    for (path, owner) in owned_sources(&root) {
        let own = place(&owner).unwrap_or_else(|| panic!("`{owner}` is not in the list `CLI`"));
        for used in used_in(&fs::read_to_string(&path).unwrap()) {
            if place(&used).is_some_and(|used| used < own) {
                wrong.push(format!("{} uses `{used}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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
    all.filter(|(_, owner)| owner != "lib" && owner != "main")
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
    let mut used = BTreeSet::new();
    for line in source.lines() {
        let code = line.trim_start();
        if code.starts_with("//") {
            continue;
        }
        assert!(
            !code.contains("super::super::"),
            "a path leaves its folder without the crate's name: {code}"
        );
        for (at, _) in code.match_indices("crate::") {
            let rest = &code[at + "crate::".len()..];
            assert!(
                !rest.starts_with(['{', '*']),
                "import from one folder in one line: {code}"
            );
            let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_');
            used.extend(name.take(1).map(str::to_owned));
        }
    }
    used
}
