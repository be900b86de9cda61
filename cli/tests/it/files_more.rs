//! Further accidents of files under `bekk ingest`: compressed ones, ten thousand of them, unreadable ones, and two
//! ingests on one inbox.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use bekk_testing::assert_matches;

use crate::inbox::{HEADER, Inbox, csv, lines};
use crate::support::{NOBODY, Process, ROOT, assert_says};

/// A compressed file is killed over again and again, and read on where it was: its text is decompressed again.
/// It consists of several members.
#[test]
fn compressed_files_survive_kills() {
    let inbox = Inbox::with("in/*", "");
    let text = csv(1..=200_000);
    let (first, second) = text.split_at(text.len() / 2);
    let path = inbox.put("a.csv.gz", [gzip(first), gzip(second)].concat());
    inbox.rest(&path);
    let path = inbox.put("b", zstd(&csv(200_001..=200_010)));
    inbox.rest(&path);
    // They are read when nobody has touched them for a second.
    for pause in [1300, 20, 250, 50, 400] {
        let process = inbox.start();
        std::thread::sleep(Duration::from_millis(pause));
        process.kill();
    }
    inbox.run("ingest --once").ok();
    assert_eq!(inbox.ids(), (1..=200_010).collect::<Vec<_>>());
    let told = inbox.told();
    assert_eq!(
        (&told[0]["compression"], &told[0]["position"]),
        (&"gzip".into(), &text.len().into())
    );
    assert_eq!(told[1]["compression"], "zstd");
    inbox.check_audit();
}

/// The upload of a compressed file stops in the middle. It is waited for, then named; when the rest has come,
/// it is taken. A damaged one is set aside at once. Of neither is anything taken before.
#[test]
fn compressed_files_are_taken_whole() {
    let inbox = Inbox::with("in/*.gz", "");
    let whole = gzip(&csv(1..=5000));
    let (first, second) = whole.split_at(whole.len() / 2);
    inbox.put("a.gz", first);
    let mut damaged = gzip(&csv(6000..=9000));
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x55;
    let bad = inbox.put("bad.gz", damaged);
    inbox.rest(&bad);
    let process = inbox.start();
    inbox.wait_until("it is waited for", || {
        inbox.decisions("a.gz").contains(&"waiting".to_owned())
    });
    inbox.wait_until("it is named", || {
        inbox.decisions("a.gz").contains(&"blocked".to_owned())
    });
    inbox.wait_until("the damaged one is set aside", || {
        inbox.decisions("bad.gz").contains(&"blocked".to_owned())
    });
    inbox.append("a.gz", second);
    inbox.await_records(5000);
    fs::write(&bad, gzip(&csv(6000..=9000))).unwrap();
    inbox.await_records(8001);
    assert_eq!(process.terminate(), Some(0));
    assert_says(inbox.said(), &["data is cut off", "data is damaged"]);
    assert_eq!(inbox.ids().len(), 8001);
    // At the end of a run it is named as well, and so is an archive of several files, whatever its name.
    inbox.put("c.gz", first);
    let several = inbox.put("d.gz", include_bytes!("two_files.zip"));
    inbox.rest(&several);
    inbox
        .run("ingest --once")
        .exits(1)
        .says("cut off")
        .says("the zip archive holds 2 files: `a.csv`, `b.csv`; unpack it");
}

/// A file in UTF-16 grows by single bytes, with ingest killed in between.
#[test]
fn utf16_grows_byte_by_byte() {
    let inbox = Inbox::new();
    let configuration = inbox.configuration();
    inbox.configure(
        &configuration.replace("partitions", "csv = { encoding = \"utf16\" }\npartitions"),
    );
    let text = "\u{feff}id,name\r\n1,\"ø\n😀\"\r\n2,b\n";
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut file = File::create(inbox.at("a.csv")).unwrap();
    let mut process = inbox.start();
    for (at, byte) in bytes.iter().enumerate() {
        file.write_all(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(3));
        if at % 17 == 0 {
            process.kill();
            process = inbox.start();
        }
    }
    inbox.await_records(2);
    drop(process);
    assert_eq!(inbox.ids(), [1, 2]);
    assert_eq!(inbox.told()[0]["position"], bytes.len());
    inbox.check_audit();
}

/// Ten thousand files arrive at once, with few descriptors and one inotify instance; then one of them
/// grows.
#[test]
fn ten_thousand_files() {
    let inbox = Inbox::with("in/*.csv", "open_files_max = 50");
    for id in 0..10_000 {
        inbox.put(&format!("{id}.csv"), csv([id]));
    }
    let began = Instant::now();
    let process = inbox.start();
    let directory = format!("/proc/{}", process.id());
    let mut open_max = 0;
    inbox.wait_until("all are told of", || {
        let targets = fs::read_dir(format!("{directory}/fd")).unwrap().flatten();
        let targets: Vec<_> = targets
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .collect();
        let is_csv = |target: &&std::path::PathBuf| target.extension() == Some("csv".as_ref());
        open_max = open_max.max(targets.iter().filter(is_csv).count());
        let is_inotify = |target: &&std::path::PathBuf| target.ends_with("anon_inode:inotify");
        assert!(targets.iter().filter(is_inotify).count() <= 1);
        inbox
            .told()
            .iter()
            .filter(|file| file["records"] == 1)
            .count()
            == 10_000
    });
    println!("{:?}, {open_max} open at once", began.elapsed());
    assert!((1..=51).contains(&open_max), "{open_max} files were open");
    let status = fs::read_to_string(format!("{directory}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .unwrap();
    assert!(peak < 200_000, "{peak} kB at the peak");
    inbox.append("77.csv", lines([10_000]));
    inbox.await_records(10_001);
    assert_eq!(process.terminate(), Some(0));
    assert_eq!(inbox.ids(), (0..=10_000).collect::<Vec<_>>());
}

/// Other programs of the user have taken all inotify instances that there may be; or there is one, but no watch left
/// for it. What must come is the same rows, found by looking, and one message that names the limit.
#[test]
fn notification_is_exhausted() {
    for (limit, setting) in [
        ("max_inotify_instances", "fs.inotify.max_user_instances"),
        ("max_inotify_watches", "fs.inotify.max_user_watches"),
    ] {
        let inbox = Inbox::with("in/**/*.csv", "");
        fs::create_dir(inbox.at("sub")).unwrap();
        inbox.put("a.csv", csv([1]));
        // The limits of a user namespace of its own touch nobody else.
        let bekk = inbox.bekk("ingest");
        let mut command = Command::new("unshare");
        let script = format!("echo 0 > /proc/sys/user/{limit} && exec \"$0\" \"$@\"");
        command.args(["--user", "--map-root-user", "sh", "-c", &script]);
        command.arg(bekk.get_program()).args(bekk.get_args());
        command.current_dir(inbox.path("."));
        let log = File::create(inbox.path("bekk.log")).unwrap();
        let mut probe = Command::new("unshare");
        if !probe
            .args(["--user", "true"])
            .status()
            .is_ok_and(|status| status.success())
        {
            println!(
                "SKIPPED: this kernel gives no user namespaces, in which alone limits can be set"
            );
            return;
        }
        let process = Process::spawn(command.stdout(log.try_clone().unwrap()).stderr(log));
        inbox.await_records(1);
        inbox.append("a.csv", lines([2]));
        inbox.put("sub/b.csv", csv([3]));
        inbox.await_records(3);
        assert_eq!(process.terminate(), Some(0), "{}", inbox.said());
        let said = inbox.said();
        let warnings: Vec<_> = said.lines().filter(|line| line.contains("WARN")).collect();
        assert_matches!(
            warnings[..],
            [one] if one.contains(&format!("{setting} (now ")) && one.contains("raise it"),
            "{said}"
        );
        assert_eq!(inbox.ids(), [1, 2, 3]);
    }
}

/// A second ingest with a configuration and a state of its own is started on the same directory, which neither
/// of them may write to.
#[test]
fn a_second_ingest_on_one_inbox_is_refused() {
    let inbox = Inbox::new();
    inbox.put("a.csv", csv([1]));
    let other = Inbox::new();
    let there = inbox.path("in").display().to_string();
    other.configure(
        &other
            .configuration()
            .replace("in/*.csv", &format!("{there}/a*.csv")),
    );
    fs::set_permissions(inbox.path("in"), fs::Permissions::from_mode(0o555)).unwrap();
    let process = inbox.start();
    inbox.await_records(1);
    let refused = other.run("ingest --once").exits(1);
    let expected = format!(
        "another ingest (pid {}) reads the files of `{there}`",
        process.id()
    );
    assert!(refused.stderr.contains(&expected), "{}", refused.stderr);
    // The same state directory is refused, too; when the first one is gone, killed, another may.
    inbox.run("ingest --once").exits(1);
    process.kill();
    other.run("ingest --once").ok();
    assert_eq!(other.ids(), [1]);
    other.check_audit();
    fs::set_permissions(inbox.path("in"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Nobody but its owner may read a file: it is reported and tried again, and does not stop the others.
#[test]
fn an_unreadable_file_does_not_stop_the_others() {
    let inbox = Inbox::new();
    let path = inbox.put("a.csv", csv([1]));
    inbox.put("b.csv", csv([2]));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    inbox.give_to(NOBODY);
    let process = inbox.start();
    inbox.await_records(1);
    inbox.wait_until("it is reported", || {
        inbox.said().contains("Permission denied")
    });
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    inbox.await_records(2);
    assert_eq!(process.terminate(), Some(0), "{}", inbox.said());
    assert_eq!(
        inbox.said().matches("Permission denied").count(),
        1,
        "{}",
        inbox.said()
    );
}

/// A run to the end leaves such a file, and says so by its exit code too: a program that starts it must see that
/// not all was taken.
#[test]
fn a_run_to_the_end_fails_where_a_file_cannot_be_read() {
    let inbox = Inbox::new();
    let path = inbox.put("a.csv", csv([1]));
    inbox.put("b.csv", csv([2]));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let run = || {
        inbox.give_to(NOBODY);
        let ran = inbox.run("ingest --once");
        inbox.give_to(ROOT);
        ran
    };
    let refused = run();
    let said = &refused.stderr;
    assert_eq!(refused.code, Some(1), "{said}");
    let told = format!("unreadable: {}: Permission denied", path.display());
    assert!(said.contains(&told), "{said}");
    assert_eq!(inbox.ids(), [2], "the other one was taken");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(run().code, Some(0));
    assert_eq!(inbox.ids(), [1, 2]);
}

/// The system lets the process have 64 files open, of which the log wants some: three hundred files are followed all
/// the same.
#[test]
fn few_open_files_are_enough() {
    let inbox = Inbox::new();
    for number in 0..300 {
        inbox.put(&format!("{number}.csv"), csv([number]));
    }
    let command = inbox.bekk("ingest --once");
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().unwrap());
    let done = limited.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert_eq!(inbox.ids(), Vec::from_iter(0..300));
}

/// A record longer than is accepted arrives in pieces, while it is looked at: it is one reject, and what
/// follows is not lost.
#[test]
fn a_record_too_long_arrives_in_pieces() {
    let inbox = Inbox::new();
    inbox.put("a.csv", format!("{HEADER}1,a\n2,"));
    let process = inbox.start();
    inbox.await_records(1);
    for _ in 0..20 {
        inbox.append("a.csv", "x".repeat(100_000));
        std::thread::sleep(Duration::from_millis(10));
    }
    inbox.append("a.csv", "\n3,c\n");
    inbox.await_records(3);
    drop(process);
    assert_eq!(inbox.content(), (vec![1, 3], 1));
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &str) -> Vec<u8> {
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    ruzstd::encoding::compress_to_vec(text.as_bytes(), level)
}
