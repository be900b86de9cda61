//! Files that are copied and then emptied (logrotate's copytruncate), under `bekk ingest`.

use std::fs::{self, File};
use std::thread;
use std::time::Duration;

use crate::files::{all, check};
use crate::inbox::{HEADER, Inbox, csv, lines};

/// logrotate with copytruncate: what was just written is in the copy only, which the patterns do not match.
#[test]
fn copied_and_truncated() {
    check("in/*.csv", &all(1, 53), |inbox| {
        inbox.append("a.csv", lines([51, 52]));
        fs::copy(inbox.at("a.csv"), inbox.at("a.csv.1")).unwrap();
        File::create(inbox.at("a.csv")).unwrap();
        inbox.append("a.csv", csv([53]));
    });
}

/// The same where the patterns match the copy as well, which must not be taken for a new file.
#[test]
fn copied_inside_the_patterns_and_truncated() {
    check("in/*.csv", &all(1, 53), |inbox| {
        inbox.append("a.csv", lines([51, 52]));
        fs::copy(inbox.at("a.csv"), inbox.at("a-20261122.csv")).unwrap();
        File::create(inbox.at("a.csv")).unwrap();
        inbox.append("a.csv", csv([53]));
    });
}

/// The same on a busy machine: the copy has stood there for a while when the file is emptied.
#[test]
fn copied_and_truncated_after_a_while() {
    check("in/*.csv", &all(1, 52), |inbox| {
        inbox.append("a.csv", lines([51]));
        fs::copy(inbox.at("a.csv"), inbox.at("a-1.csv")).unwrap();
        thread::sleep(Duration::from_millis(1500));
        File::create(inbox.at("a.csv")).unwrap();
        inbox.append("a.csv", csv([52]));
    });
}

/// The same into a directory of copies, which the patterns match as well.
#[test]
fn copied_into_a_directory_and_truncated() {
    check("in/**/*.csv*", &all(1, 53), |inbox| {
        inbox.append("a.csv", lines([51, 52]));
        fs::create_dir(inbox.at("old")).unwrap();
        fs::copy(inbox.at("a.csv"), inbox.at("old/a.csv.1")).unwrap();
        File::create(inbox.at("a.csv")).unwrap();
        inbox.append("a.csv", csv([53]));
    });
}

/// The file is copied to a name that the patterns do not match, and stays empty after that.
#[test]
fn copied_and_left_empty() {
    check("in/*.csv", &all(1, 51), |inbox| {
        inbox.append("a.csv", lines([51]));
        fs::copy(inbox.at("a.csv"), inbox.at("a.csv.1")).unwrap();
        File::create(inbox.at("a.csv")).unwrap();
    });
}

/// What was written between the copy's end and the emptying is in no copy, but has been read: the copy ends before the
/// place where reading had come to.
#[test]
fn written_and_read_between_copying_and_truncating() {
    for ingest in ["", "notify = false"] {
        let inbox = Inbox::with("in/*.csv", ingest);
        inbox.put("a.csv", csv(1..=50));
        let process = inbox.start();
        inbox.await_records(50);
        inbox.append("a.csv", lines([51]));
        fs::copy(inbox.at("a.csv"), inbox.at("a-1.csv")).unwrap();
        inbox.append("a.csv", lines([52, 53]));
        inbox.await_records(53);
        inbox.put("a.csv", csv([54]));
        inbox.await_records(54);
        inbox.wait_until("the copy is known for what it is", || {
            inbox.decisions("a-1.csv").contains(&"moved".to_owned())
        });
        assert_eq!(process.terminate(), Some(0), "{}", inbox.said());
        inbox.run("ingest --once").ok();
        assert_eq!(inbox.ids(), all(1, 54), "{}", inbox.said());
    }
}

/// Ingest stops when the file has only its header yet; it grows, and is copied and emptied. Beside the copy lies
/// an older one, which begins with the same header.
#[test]
fn a_header_is_no_evidence_of_a_copy() {
    let inbox = Inbox::new();
    inbox.put("a.csv", csv(1..=50));
    let process = inbox.start();
    inbox.await_records(50);
    fs::copy(inbox.at("a.csv"), inbox.at("a.csv.1")).unwrap();
    inbox.put("a.csv", HEADER);
    inbox.wait_until("the header is read", || {
        inbox
            .told()
            .iter()
            .any(|file| file["position"] == HEADER.len())
    });
    assert_eq!(process.terminate(), Some(0));
    inbox.append("a.csv", lines([51]));
    fs::copy(inbox.at("a.csv"), inbox.at("a.csv.2")).unwrap();
    File::create(inbox.at("a.csv")).unwrap();
    let process = inbox.start();
    inbox.await_records(51);
    inbox.append("a.csv", csv([52]));
    inbox.await_records(52);
    assert_eq!(process.terminate(), Some(0));
    assert_eq!(inbox.ids(), all(1, 52), "{}", inbox.said());
}
