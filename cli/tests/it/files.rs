//! What happens to files while `bekk ingest` follows them, and while it does not run: nothing is lost, nothing
//! is taken twice.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::thread;
use std::time::Duration;

use crate::inbox::{HEADER, Inbox, csv, lines};
use crate::support::assert_says;

/// Lets an accident happen to the file `a.csv`, which has records 1 to 50, while ingest runs and while it does
/// not, with notification and without; says what the log must have then.
pub(crate) fn check(pattern: &str, expected: &[i64], accident: impl Fn(&Inbox) + Sync) {
    check_reported(pattern, expected, "", accident);
}

/// As [`check`]; ingest also reports what happened with the text `reported`.
fn check_reported(
    pattern: &str,
    expected: &[i64],
    reported: &str,
    accident: impl Fn(&Inbox) + Sync,
) {
    let accident = &accident;
    let each = |is_running: bool, ingest: &str| {
        let inbox = Inbox::with(pattern, ingest);
        inbox.put("a.csv", csv(1..=50));
        let mut process = inbox.start();
        inbox.await_records(50);
        if is_running {
            accident(&inbox);
        } else {
            assert_eq!(process.terminate(), Some(0), "{}", inbox.said());
            accident(&inbox);
            process = inbox.start();
        }
        inbox.await_records(expected.len() as u64);
        assert_eq!(process.terminate(), Some(0), "{}", inbox.said());
        let said = || format!("running: {is_running}, {ingest}\n{}", inbox.said());
        assert_eq!(inbox.ids(), expected, "{}", said());
        assert!(inbox.said().contains(reported), "{}", said());
        // And nothing is left, or taken for new, by the next run.
        inbox.run("ingest --once").ok();
        assert_eq!(inbox.ids(), expected, "next run, {}", said());
    };
    // Most of their time they wait.
    thread::scope(|scope| {
        scope.spawn(|| each(true, ""));
        scope.spawn(|| each(true, "notify = false"));
        scope.spawn(|| each(false, ""));
    });
}

/// The file is renamed to a name that the patterns match, its writer continues there, and a new file gets the
/// old name.
#[test]
fn renamed_inside_the_patterns() {
    check("in/*.csv", &all(1, 53), |inbox| {
        let mut writer = File::options()
            .append(true)
            .open(inbox.at("a.csv"))
            .unwrap();
        fs::rename(inbox.at("a.csv"), inbox.at("b.csv")).unwrap();
        inbox.put("a.csv", csv([52, 53]));
        writer.write_all(lines([51]).as_bytes()).unwrap();
    });
}

/// logrotate renames the file to a name that the patterns do not match; its writer has it open, and continues
/// there for a while; a new file gets the old name.
#[test]
fn rotated_by_rename() {
    check("in/*.csv", &all(1, 54), |inbox| {
        let mut writer = File::options()
            .append(true)
            .open(inbox.at("a.csv"))
            .unwrap();
        writer.write_all(lines([51]).as_bytes()).unwrap();
        fs::rename(inbox.at("a.csv"), inbox.at("a.csv.1")).unwrap();
        inbox.put("a.csv", csv([53]));
        writer.write_all(lines([52]).as_bytes()).unwrap();
        inbox.append("a.csv", lines([54]));
    });
}

/// The file is written anew with more in it and renamed over, as rsync does, while a hard link keeps the old one: beside it
/// under a name that the patterns do not match, or in another directory.
#[test]
fn written_anew_beside_a_hard_link() {
    for kept in ["in/.a.bak", "kept.csv"] {
        check("in/*.csv", &all(1, 53), |inbox| {
            fs::hard_link(inbox.at("a.csv"), inbox.path(kept)).unwrap();
            inbox.put("new", csv(1..=53));
            fs::rename(inbox.at("new"), inbox.at("a.csv")).unwrap();
        });
    }
}

/// If the patterns match the old file's other name, both are read, and that is reported.
#[test]
fn written_anew_beside_a_file_of_the_inbox() {
    let mut twice = [all(1, 50), all(1, 53)].concat();
    twice.sort_unstable();
    let reported = "its records are read a second time";
    check_reported("in/*.csv", &twice, reported, |inbox| {
        fs::hard_link(inbox.at("a.csv"), inbox.at("b.csv")).unwrap();
        inbox.put("new", csv(1..=53));
        fs::rename(inbox.at("new"), inbox.at("a.csv")).unwrap();
    });
}

/// The same once more before anyone has looked: two files are behind the new one.
#[test]
fn rotated_twice() {
    check("in/*.csv", &all(1, 53), |inbox| {
        inbox.append("a.csv", lines([51]));
        fs::rename(inbox.at("a.csv"), inbox.at("a.csv.1")).unwrap();
        inbox.put("a.csv", csv([52]));
        fs::rename(inbox.at("a.csv.1"), inbox.at("a.csv.2")).unwrap();
        inbox.append("a.csv", lines([53]));
    });
}

/// The file is renamed and deleted, and a new one with its name is written to without a pause: that one must not be
/// taken for a copy being made, which is read only after it has stopped changing.
#[test]
fn a_new_file_that_never_stands_still() {
    let inbox = Inbox::new();
    inbox.put("a.csv", csv(1..=50));
    let process = inbox.start();
    inbox.await_records(50);
    fs::rename(inbox.at("a.csv"), inbox.at("a.csv.1")).unwrap();
    inbox.put("a.csv", HEADER);
    inbox.wait_until("the renaming is seen", || {
        inbox
            .told()
            .iter()
            .any(|file| file["path"].as_str().unwrap().ends_with("a.csv.1"))
    });
    fs::remove_file(inbox.at("a.csv.1")).unwrap();
    let mut id = 50;
    inbox.wait_until("it is read while it grows", || {
        id += 1;
        inbox.append("a.csv", lines([id]));
        let told = inbox.told();
        told.iter().any(|file| {
            file["path"].as_str().unwrap().ends_with("a.csv") && file["records"].as_u64() > Some(0)
        })
    });
    inbox.await_records(id.unsigned_abs());
    assert_eq!(process.terminate(), Some(0));
    assert_eq!(inbox.ids(), all(1, id));
}

/// The file is moved to another directory, where nobody looks, before all of it was read: what is not read any more is
/// told, and how much that is. When it comes back, it is read on.
#[test]
fn moved_away_while_nobody_looks() {
    let inbox = Inbox::new();
    inbox.put("a.csv", format!("{}51,not yet", csv(1..=50)));
    let process = inbox.start();
    inbox.await_records(50);
    assert_eq!(process.terminate(), Some(0));
    fs::create_dir(inbox.path("away")).unwrap();
    fs::rename(inbox.at("a.csv"), inbox.path("away/a.csv")).unwrap();
    let process = inbox.start();
    let expected = "it is not where it was, and 10 bytes of it had not been read";
    inbox.wait_until("it is told", || {
        let file = &inbox.told()[0];
        file["state"] == "gone" && file["why"] == expected
    });
    assert_eq!(
        inbox.said().matches(expected).count(),
        1,
        "{}",
        inbox.said()
    );
    assert_says(inbox.said(), &[&format!("WARN gone: {expected}")]);
    let told = inbox.run("ingest files").ok().stdout;
    assert!(told.contains(expected), "{told}");
    fs::rename(inbox.path("away/a.csv"), inbox.at("a.csv")).unwrap();
    inbox.append("a.csv", "\n");
    inbox.await_records(51);
    assert_eq!(process.terminate(), Some(0));
    assert_eq!(inbox.ids(), all(1, 51));
}

/// The file is emptied and begun anew, without a copy.
#[test]
fn truncated() {
    check("in/*.csv", &all(1, 51), |inbox| {
        inbox.put("a.csv", csv([51]));
    });
}

/// The file is emptied, and grows past the place where reading had come to before anyone looks.
#[test]
fn truncated_and_grown_past_the_position() {
    check("in/*.csv", &all(1, 150), |inbox| {
        inbox.put("a.csv", csv(51..=150));
    });
}

/// Another file is renamed onto the name: an export that is always written whole. Its header has another
/// order.
#[test]
fn replaced_by_another_content() {
    check("in/*.csv", &all(1, 52), |inbox| {
        fs::write(inbox.path("new"), "name,id\nx,51\ny,52\n").unwrap();
        fs::rename(inbox.path("new"), inbox.at("a.csv")).unwrap();
    });
}

/// An editor writes the file again with a line more, and renames it onto the name.
#[test]
fn replaced_by_the_same_content_and_more() {
    check("in/*.csv", &all(1, 51), |inbox| {
        fs::write(inbox.path("new"), csv(1..=51)).unwrap();
        fs::rename(inbox.path("new"), inbox.at("a.csv")).unwrap();
    });
}

/// The same with the same content; then with one that differs in the middle only, where no fingerprint of
/// beginning or end can see it.
#[test]
fn replaced_by_the_same_content() {
    check("in/*.csv", &all(1, 50), |inbox| {
        fs::write(inbox.path("new"), csv(1..=50)).unwrap();
        fs::rename(inbox.path("new"), inbox.at("a.csv")).unwrap();
    });
    let mut expected = [all(1, 50), all(1, 50)].concat();
    expected.sort_unstable();
    check("in/*.csv", &expected, |inbox| {
        let changed = csv(1..=50).replace("name 30", "NAME 30");
        fs::write(inbox.path("new"), changed).unwrap();
        fs::rename(inbox.path("new"), inbox.at("a.csv")).unwrap();
    });
}

/// The file is deleted, and another one gets its inode.
#[test]
fn an_inode_used_again() {
    check("in/*.csv", &all(1, 52), |inbox| {
        let inode = fs::metadata(inbox.at("a.csv")).unwrap().ino();
        fs::remove_file(inbox.at("a.csv")).unwrap();
        for attempt in 0..20 {
            let path = inbox.path(&format!("try-{attempt}"));
            fs::write(&path, csv([51, 52])).unwrap();
            if fs::metadata(&path).unwrap().ino() == inode || attempt == 19 {
                fs::rename(&path, inbox.at("b.csv")).unwrap();
                break;
            }
        }
    });
}

/// A second name for the file: a hard link, a symbolic one. It is one file; the first name may go.
#[test]
fn second_names() {
    check("in/*.csv", &all(1, 51), |inbox| {
        fs::hard_link(inbox.at("a.csv"), inbox.at("hard.csv")).unwrap();
        symlink(inbox.at("hard.csv"), inbox.at("soft.csv")).unwrap();
        fs::remove_file(inbox.at("a.csv")).unwrap();
        inbox.append("soft.csv", lines([51]));
    });
    // Before ingest has ever looked.
    let inbox = Inbox::new();
    inbox.put("a.csv", csv(1..=2));
    fs::hard_link(inbox.at("a.csv"), inbox.at("b.csv")).unwrap();
    symlink(inbox.at("a.csv"), inbox.at("c.csv")).unwrap();
    inbox.run("ingest --once").ok();
    assert_eq!(inbox.ids(), [1, 2]);
}

/// The inbox has symbolic links to directories, one of which leads back to itself.
#[test]
fn linked_directories() {
    check("in/**/*.csv", &all(1, 52), |inbox| {
        fs::create_dir_all(inbox.path("elsewhere/deep")).unwrap();
        fs::write(inbox.path("elsewhere/deep/b.csv"), csv([51])).unwrap();
        symlink(inbox.path("elsewhere"), inbox.at("link")).unwrap();
        symlink(inbox.path("in"), inbox.path("elsewhere/back")).unwrap();
        fs::create_dir_all(inbox.at("later")).unwrap();
        fs::write(inbox.at("later/c.csv"), csv([52])).unwrap();
    });
}

/// File names as no one should choose them.
#[test]
fn odd_names() {
    check("in/*.csv", &all(1, 53), |inbox| {
        for (id, name) in [
            (51, &b"with space.csv"[..]),
            (52, b"new\nline.csv"),
            (53, b"\xff\xfe.csv"),
        ] {
            let name = std::ffi::OsStr::from_bytes(name);
            fs::write(inbox.path("in").join(name), csv([id])).unwrap();
        }
        let path = inbox
            .path("in")
            .join(std::ffi::OsStr::from_bytes(b"\xff\xfe.csv"));
        fs::rename(
            &path,
            inbox
                .path("in")
                .join(std::ffi::OsStr::from_bytes(b"\xfe.csv")),
        )
        .unwrap();
    });
}

/// The file ends without a newline, and is rotated or deleted: it is closed for good, and its last line is a
/// record.
#[test]
fn a_last_line_of_a_closed_file() {
    check("in/*.csv", &all(1, 52), |inbox| {
        inbox.append("a.csv", "51,x");
        fs::rename(inbox.at("a.csv"), inbox.at("a.csv.1")).unwrap();
        inbox.put("a.csv", csv([52]));
    });
}

/// logrotate renames the file, compresses it and deletes it; the patterns match all three names.
#[test]
fn rotated_and_compressed() {
    check("in/*.csv*", &all(1, 52), |inbox| {
        inbox.append("a.csv", lines([51]));
        fs::rename(inbox.at("a.csv"), inbox.at("a.csv.1")).unwrap();
        inbox.put("a.csv", csv([52]));
        let text = fs::read(inbox.at("a.csv.1")).unwrap();
        let path = inbox.put("a.csv.1.gz", gzip(&text));
        // As gzip does: it has the old time of modification before the old file is removed.
        inbox.rest(&path);
        thread::sleep(Duration::from_millis(300));
        fs::remove_file(inbox.at("a.csv.1")).unwrap();
    });
}

/// The partition count, the columns and the dialect change while ingest does not run, and the file grows: it
/// keeps the dialect that it was begun with, and no record is taken again.
#[test]
fn a_changed_configuration() {
    let inbox = Inbox::new();
    inbox.put("a.csv", csv(1..=50));
    inbox.run("ingest --once").ok();
    inbox.append("a.csv", lines([51]));
    let changed = inbox
        .configuration()
        .replace(
            "partitions = 2",
            "partitions = 3\ncsv = { delimiter = \";\" }",
        )
        .replace(
            "nullable = true }]",
            "nullable = true }, { name = \"new\", type = \"int4\", nullable = true }]",
        );
    inbox.configure(&changed);
    inbox.put("b.csv", "id;name;new\n52;b;1\n");
    inbox
        .run("ingest --once")
        .ok()
        .says("keeps the partition count")
        .says("write `partitions = 2` for stream");
    fs::remove_file(inbox.path(".bekk/ingest/checkpoint")).unwrap();
    inbox.append("a.csv", lines([53]));
    inbox.run("ingest --once").ok();
    assert_eq!(inbox.ids(), all(1, 53));
}

pub(crate) fn all(from: i64, to: i64) -> Vec<i64> {
    (from..=to).collect()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A file is deleted while it is being read: what is open is read to its end.
#[test]
fn deleted_while_reading() {
    let inbox = Inbox::new();
    let path = inbox.put("a.csv", csv(1..=300_000));
    let process = inbox.start();
    inbox.wait_until("the file is being read", || {
        let told = inbox.told();
        told.first().is_some_and(|file| file["position"] != 0)
    });
    fs::remove_file(&path).unwrap();
    let held = || inbox.metric("bekk_ingest_files_deleted_open");
    inbox.wait_until("it is counted as held", || held() == Some(1.0));
    inbox.await_records(300_000);
    let descriptors = format!("/proc/{}/fd", process.id());
    inbox.wait_until("it is let go", || {
        let open = fs::read_dir(&descriptors).unwrap().flatten();
        let mut open = open.map(|entry| fs::read_link(entry.path()));
        !open.any(|target| target.is_ok_and(|target| target.to_string_lossy().contains("a.csv")))
    });
    inbox.wait_until("none is counted", || held() == Some(0.0));
    assert_eq!(process.terminate(), Some(0));
    assert_eq!(inbox.ids().len(), 300_000);
}

/// The explanation of a rotated file, and of the file that has its name now.
#[test]
fn decisions_are_explained() {
    let inbox = Inbox::new();
    inbox.put("a.csv", csv(1..=50));
    let process = inbox.start();
    inbox.await_records(50);
    fs::rename(inbox.at("a.csv"), inbox.at("b.csv")).unwrap();
    inbox.put("a.csv", format!("{HEADER}51,x\n"));
    inbox.put("bad.csv", "x\n1\n");
    inbox.await_records(51);
    inbox.wait_until("the bad one is told of", || {
        inbox.decisions("bad.csv") == ["new", "blocked"]
    });
    let told = inbox.run("ingest files --explain").ok().stdout;
    assert!(
        told.contains(&format!("an ingest runs (pid {})", process.id())),
        "{told}"
    );
    assert_says(&told, &["it was `", "has the same inode"]);
    assert_eq!(process.terminate(), Some(0));
    let told = inbox.run("ingest files --explain").ok().stdout;
    assert!(told.starts_with("no ingest runs"), "{told}");
    let process = inbox.start();
    inbox.wait_until("it is resumed", || {
        inbox
            .decisions("b.csv")
            .last()
            .is_some_and(|what| what == "resumed")
    });
    drop(process);
}
