//! A write that the system refuses: the log takes nothing more, and what it had acknowledged is there when it is
//! opened again. The victim is this test binary with a limit on the size of its files, which a journal reaches.

use std::env;
use std::path::Path;
use std::process::Command;

use bekk_log::{Error, Offset, verify};
use bekk_testing::assert_matches;

use crate::support::{append, buffer, noise, open, read_all, topic};

const VICTIM: &str = "BEKK_LOG_LIMITED";
const RECORD_BYTES: usize = 3_000_000;

/// Not a test of its own: what the victim does. Without the variable it does nothing.
#[test]
fn victim() {
    let Some(dir) = env::var_os(VICTIM) else {
        return;
    };
    let client = open(Path::new(&dir));
    topic(&client, "t", 1);
    let append = |i| client.append(None, "t", &[(0, &buffer([noise(i, RECORD_BYTES)]))]);
    let failed = (0..100).find_map(|i| append(i).err().map(|error| (i, error)));
    let (acknowledged, error) = failed.expect("the limit is reached");
    assert_matches!(error, Error::Store { .. });
    assert!(!error.is_retriable());
    // It stays so, and readers see what was acknowledged.
    assert_matches!(append(0), Err(Error::Store { .. }));
    assert_eq!(
        read_all(&client, "t", 0, Offset::ZERO).len() as u64,
        acknowledged
    );
    assert!(client.close().is_err());
    println!("acknowledged {acknowledged}");
}

#[test]
fn after_a_failed_write_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    // 64 MiB, in blocks of 512 bytes: what fjall sets aside for a journal, and a little less than it takes.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 131072; exec \"$0\" \"$@\""])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "write_error::victim", "--nocapture"])
        .env(VICTIM, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{error}");
    let (_, count) = text.split_once("acknowledged ").unwrap();
    let acknowledged: u64 = count.split_whitespace().next().unwrap().parse().unwrap();
    assert!(acknowledged > 10, "{acknowledged}");

    let client = open(dir.path());
    let read = read_all(&client, "t", 0, Offset::ZERO);
    assert!(read.len() as u64 >= acknowledged);
    for (i, (offset, value)) in (0..).zip(&read) {
        assert!(*offset == i && *value == noise(i, RECORD_BYTES));
    }
    let next = append(&client, 0, ["more"]);
    assert_eq!(next, Offset::new(read.len() as u64));
    client.close().unwrap();
    assert_eq!(verify(dir.path(), &mut |_| ()).unwrap().problems, []);
}
