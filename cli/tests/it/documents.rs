//! README, docs and messages: links lead somewhere, commands use options that exist, and no phrase is banned.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Sandbox, assert_says};
use crate::threat_model::quoted;

/// Phrases that read like a translation.
const BANNED: [&str; 20] = [
    "goes on",
    "go on with",
    "is told of",
    "are told",
    "to be told",
    "tells apart",
    "stands for",
    "where it stands",
    "there is none",
    "is none of",
    "mended",
    "see to it",
    "it is looked",
    "of one's own",
    "to be had",
    "nothing but",
    "each such",
    "lets go of",
    "is passed over",
    "are passed over",
];

/// Phrases that comments had instead of the field's words.
const BANNED_IN_COMMENTS: [&str; 10] = [
    "goes on",
    "lets go of",
    "mended",
    "is passed over",
    "are passed over",
    "nothing but",
    "stands for",
    "is made anew",
    "it is looked whether",
    "of one's own",
];

/// Fails on a banned phrase, wherever the text's lines are wrapped.
pub(crate) fn check_english(text: &str, place: &Path) {
    check_phrases(&BANNED, text, place);
}

fn check_phrases(phrases: &[&str], text: &str, place: &Path) {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '\'');
    let words: Vec<String> = words
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let text = format!(" {} ", words.join(" "));
    for banned in phrases {
        assert!(
            !text.contains(&format!(" {banned} ")),
            "{} says `{banned}`",
            place.display()
        );
    }
}

/// Every page of the repository that people read, by its path from the root.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = Vec::new();
    let mut folders = vec![root.join("docs")];
    let mut paths = ["README.md", "CONTRIBUTING.md", "SECURITY.md"]
        .map(|name| root.join(name))
        .to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                paths.push(path);
            }
        }
    }
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        pages.push((path, text));
    }
    assert!(pages.len() > 15, "{} pages", pages.len());
    pages
}

/// The lines of a page outside its blocks of code (`code` is false), or those inside.
fn lines(text: &str, code: bool) -> Vec<&str> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if (fenced || line.starts_with("    ")) == code {
            found.push(line);
        }
    }
    found
}

/// A heading's anchor, as GitHub makes it.
pub(crate) fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

/// The steps of "How to add …" name files that exist.
#[test]
fn contributing_names_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    let mut paths = 0;
    for path in quoted(&page) {
        let Some((first, _)) = path.split_once('/') else {
            continue;
        };
        // Others are commands, or folders that tools make.
        if root.join(first).is_dir() {
            assert!(root.join(path).exists(), "there is no {path}");
            paths += 1;
        }
    }
    assert!(paths >= 25, "{paths}");
}

#[test]
fn every_link_in_the_documents_leads_to_a_file_and_a_heading() {
    let mut links = 0;
    for (path, text) in pages() {
        for line in lines(&text, false) {
            for link in line.split("](").skip(1) {
                let (target, _) = link.split_once(')').unwrap_or((link, ""));
                if target.contains("://") {
                    continue;
                }
                links += 1;
                let (file, heading) = target.split_once('#').unwrap_or((target, ""));
                let file = match file {
                    "" => path.clone(),
                    file => path.parent().unwrap().join(file),
                };
                assert!(file.exists(), "{path:?} links to {target}");
                if !heading.is_empty() {
                    let page = fs::read_to_string(&file).unwrap();
                    let headings = lines(&page, false);
                    let mut headings = headings.iter().filter(|line| line.starts_with('#'));
                    assert!(
                        headings.any(|line| anchor(line) == heading),
                        "{path:?} links to {target}, and there is no such heading"
                    );
                }
            }
        }
    }
    assert!(links > 30, "{links} links");
}

/// The commands in a page: whole lines of its blocks of code, and what is between backquotes.
fn commands(text: &str) -> BTreeSet<String> {
    let joined = text.replace("\\\n", " ");
    let prose = lines(&joined, false).join("\n");
    let inline = prose.split('`').skip(1).step_by(2).map(str::to_owned);
    let blocks = lines(&joined, true).into_iter().filter_map(|line| {
        let line = line.trim();
        let typed = line.strip_prefix("$ ").unwrap_or(line);
        let first = typed.split(' ').next().unwrap_or("");
        // What a command printed is no command. Behind two blanks is what the command does.
        (typed != line || first == "bekk" || first.contains('='))
            .then(|| typed.split("  ").next().unwrap_or(typed).to_owned())
    });
    let mut found = BTreeSet::new();
    for line in inline.chain(blocks) {
        for command in line.split(['|', ';', '&', '>', '\n']) {
            let command = command.split(" #").next().unwrap_or(command).trim();
            // `[--into TABLE]` is an option that may be left out.
            let command = command.replace(['[', ']'], "");
            let words = command
                .split_whitespace()
                .skip_while(|word| word.contains('=') && !word.starts_with('-'));
            let words: Vec<&str> = words
                .take_while(|word| !word.contains(['…', '─']))
                .collect();
            if words.len() > 1 && words[0] == "bekk" && !words.contains(&"COMMAND") {
                found.insert(words[1..].join(" "));
            }
        }
    }
    found
}

#[test]
fn every_command_in_the_documents_exists_with_its_options() {
    let sandbox = Sandbox::bare();
    let mut tried = BTreeSet::new();
    for (path, text) in pages() {
        // Its blocks are bytes, not commands.
        if path.ends_with("format.md") {
            continue;
        }
        for command in commands(&text) {
            if !tried.insert(command.clone()) {
                continue;
            }
            // A group's line, `bekk orders/0: …`, is no command.
            if command.starts_with("orders/") {
                continue;
            }
            let mut arguments: Vec<&str> = command.split(' ').collect();
            arguments.push("--help");
            let said = sandbox.run(&arguments).stderr;
            assert!(
                !said.contains("unexpected argument") && !said.contains("unrecognized subcommand"),
                "{path:?}: bekk {command}: {said}"
            );
        }
    }
    assert!(tried.len() > 60, "{} commands", tried.len());
}

/// Each title of a finding is a literal that begins with a capital.
#[test]
fn every_state_that_status_names_has_an_entry_under_troubleshooting() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = fs::read_to_string(root.join("src/status/findings.rs")).unwrap();
    let page = fs::read_to_string(root.join("../docs/troubleshooting.md")).unwrap();
    let literals = source.split('"').skip(1).step_by(2);
    let titles: Vec<&str> = literals
        .filter(|text| text.starts_with(|c: char| c.is_ascii_uppercase()) && !text.contains('{'))
        .collect();
    assert!(titles.len() > 10, "{titles:?}");
    for title in titles {
        assert_says(&page, &[&format!("\n### {title}\n")]);
    }
}

/// Each title, reason and metric in the table of states under troubleshooting exists in the code.
#[test]
fn every_place_in_the_table_of_states_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("../docs/troubleshooting.md")).unwrap();
    let table = page.split("\n## Where each state shows\n").nth(1).unwrap();
    let code: String = sources(&["src"])
        .into_iter()
        .map(|(_, text)| text.replace(" \\\n", "\n"))
        .collect();
    let code = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let rows = table.lines().skip_while(|line| !line.starts_with("| the"));
    let mut titles = BTreeSet::new();
    for row in rows.take_while(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [_, status, ready, metrics] = cells[..] else {
            panic!("{row}");
        };
        for title in status
            .split(", or ")
            .map(|title| title.split(',').next().unwrap())
        {
            let is_nothing = title.starts_with("nothing");
            assert!(
                is_nothing || page.contains(&format!("\n### {title}\n")),
                "{title}"
            );
            titles.insert(title.to_owned());
        }
        if let Some((part, reason)) = ready.split_once("`: ") {
            assert!(["`log", "`ingest", "`sink"].contains(&part), "{row}");
            for words in reason.split(" … ") {
                assert!(code.contains(words), "no message has `{words}`");
            }
        }
        for name in metrics.split('`').skip(1).step_by(2) {
            assert!(code.contains(&format!("\"{name}\"")), "no metric {name}");
        }
    }
    // The table must have the states that are faults of the service, and may leave out those that wait for a person.
    let wrong = page.split("\n## Something waits for you\n").next().unwrap();
    for title in wrong.lines().filter_map(|line| line.strip_prefix("### ")) {
        let is_there = titles.contains(title) || title == "Records are unaccounted for";
        assert!(is_there, "{title} is not in the table");
    }
}

#[test]
fn the_documents_are_in_plain_english() {
    for (path, text) in pages() {
        check_english(&text, &path);
    }
}

/// Errors, log messages and help are literals; comments and tests are not looked at.
#[test]
fn messages_are_in_plain_english() {
    let mut literals = 0;
    for (path, source) in sources(&["src"]) {
        let is_bench = path.components().any(|part| part.as_os_str() == "bench");
        if is_bench || path.ends_with("tests.rs") {
            continue;
        }
        let (code, _) = source.split_once("#[cfg(test)]").unwrap_or((&source, ""));
        let code: Vec<&str> = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        for literal in code.join("\n").split('"').skip(1).step_by(2) {
            check_english(&literal.replace("\\n", " "), &path);
            literals += 1;
        }
    }
    assert!(literals > 3_000, "{literals} literals");
}

/// Every comment and doc comment of the workspace's crates, tests included.
#[test]
fn comments_are_in_plain_english() {
    let sources = sources(&["src", "tests"]);
    for (path, source) in &sources {
        let comments: Vec<&str> = source
            .lines()
            .map(str::trim_start)
            .filter(|line| line.starts_with("//"))
            .collect();
        check_phrases(&BANNED_IN_COMMENTS, &comments.join("\n"), path);
    }
    assert!(sources.len() > 300, "{} files", sources.len());
}

/// The Rust files in these folders of the workspace's crates, with their texts.
fn sources(parts: &[&str]) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let crates = [
        "bench",
        "cli",
        "generator",
        "ingest",
        "log",
        "postgres",
        "sink",
        "stream",
    ];
    let mut folders: Vec<PathBuf> = crates
        .iter()
        .map(|name| root.join(name))
        .flat_map(|folder| parts.iter().map(move |part| folder.join(part)))
        .filter(|folder| folder.exists())
        .collect();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let source = fs::read_to_string(&path).unwrap();
                sources.push((path, source));
            }
        }
    }
    sources
}

/// A tag may name another image tomorrow.
#[test]
fn each_image_of_others_is_pinned_by_digest() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let (compose, dockerfile) = (read("docker-compose.yml"), read("Dockerfile"));
    let of_compose = compose
        .lines()
        .filter_map(|line| line.trim().strip_prefix("image: "));
    let of_dockerfile = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("FROM ")?.split(' ').next());
    let images: Vec<_> = of_compose
        .filter(|image| *image != "bekk")
        .chain(of_dockerfile)
        .collect();
    assert!(images.len() >= 7, "{images:?}");
    for image in images {
        let digest = image.split_once("@sha256:").map(|(_, digest)| digest);
        let is_whole = digest.is_some_and(|digest| {
            digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        assert!(is_whole, "{image}");
    }
}

/// A configuration accepts each setting in the guide's table of forms.
#[test]
fn the_settings_of_the_guides_table_are_taken() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let guide = fs::read_to_string(root.join("docs/guide/own_csv.md")).unwrap();
    let mut count = 0;
    for row in guide.lines().filter(|line| line.starts_with("| ")) {
        let row = row.replace("\\|", "\u{1}");
        let Some(written) = row.split('|').nth(2) else {
            continue;
        };
        for setting in written.split('`').skip(1).step_by(2) {
            let setting = setting.replace('\u{1}', "|");
            let (line, column) = match setting.as_str() {
                csv if csv.starts_with("csv = {") => (csv, ""),
                column if column.starts_with("{ name") => ("", column),
                _ => continue,
            };
            let comma = if column.is_empty() { "" } else { ", " };
            let config = format!(
                "[streams.t]\nfiles = [\"a.csv\"]\non_conflict = \"append\"\n{line}\n\
                 columns = [{{ name = \"id\", type = \"int8\" }}{comma}{column}]\n"
            );
            bekk_stream::Config::parse(&config, &root, &root, &|_| None)
                .unwrap_or_else(|error| panic!("{error}: {setting}"));
            count += 1;
        }
    }
    assert!(count > 20, "{count} settings");
}
