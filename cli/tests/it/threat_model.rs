//! `docs/threat_model.md` names, for each boundary, the code that enforces it and the tests that attack it.

use std::fs;
use std::path::Path;

/// The texts between backticks.
pub(crate) fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn what_the_threat_model_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("docs/threat_model.md")).unwrap();
    let (_, boundaries) = page.split_once("## Boundaries").unwrap();
    let (boundaries, _) = boundaries.split_once("\n## ").unwrap();
    let rows = boundaries.lines().filter(|line| line.starts_with("| "));
    let mut count = 0;
    for row in rows.skip(1) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        let [boundary, enforced, guarded] = cells[..] else {
            panic!("{} cells: {row}", cells.len());
        };
        for path in quoted(enforced) {
            assert!(root.join(path).exists(), "{boundary}: there is no {path}");
        }
        let mut source = None;
        let mut tests = 0;
        for name in quoted(guarded) {
            if name.ends_with(".rs") {
                let text = fs::read_to_string(root.join(name));
                source = Some((name, text.unwrap_or_else(|_| panic!("there is no {name}"))));
                continue;
            }
            let (file, text) = source.as_ref().expect("the file comes before its tests");
            let (before, _) = text
                .split_once(&format!("fn {name}("))
                .unwrap_or_else(|| panic!("{boundary}: {file} has no test {name}"));
            let attributes = before.rsplit("\n\n").next().unwrap_or(before);
            assert!(
                attributes.contains("#[test]") || attributes.contains("#[tokio::test]"),
                "{file}: {name}"
            );
            tests += 1;
        }
        assert!(tests > 0, "no test guards this boundary: {boundary}");
        count += 1;
    }
    assert!(count >= 25, "{count}");
}
