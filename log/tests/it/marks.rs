//! Marks: what a record was, the same from every side, and what a log that was replaced looks like.

use bekk_log::{
    Client, Difference, Error, MarkCheck, Offset, RecordBuffer, RecordMark, judge_mark,
};
use bekk_testing::{MINUTE, assert_matches, wait_until};

use crate::served::Served;

fn append(client: &Client, values: &[&str]) {
    let mut buffer = RecordBuffer::new();
    for (at, value) in (0..).zip(values) {
        buffer.push(1_000 + at, Some(b"key"), value.as_bytes());
    }
    client.append(None, "t", &[(0, &buffer)]).unwrap();
}

fn judge(client: &Client, next: u64, mark: &RecordMark) -> MarkCheck {
    let at = client.at_mark("t", 0, Some(mark)).unwrap();
    judge_mark(Offset::new(next), Some(mark), &at)
}

/// The owner, and a client over the network, make the same mark of a record.
#[test]
fn a_mark_is_the_same_from_every_side() {
    let served = Served::new(|_| ());
    append(&served.client, &["a", "b", "c"]);
    let remote = served.remote();
    for next in 1..=3 {
        let own = served
            .client
            .mark_before("t", 0, Offset::new(next))
            .unwrap();
        let seen = remote.mark_before("t", 0, Offset::new(next)).unwrap();
        assert_eq!(own, seen);
        assert_eq!(own.unwrap().offset.get(), next - 1);
        assert_eq!(judge(&remote, next, &own.unwrap()), MarkCheck::Same);
    }
    for client in [&served.client, &remote] {
        assert_eq!(client.mark_before("t", 0, Offset::ZERO).unwrap(), None);
        assert_eq!(client.mark_before("t", 0, Offset::new(4)).unwrap(), None);
        assert_eq!(client.mark_before("t", 1, Offset::new(1)).unwrap(), None);
    }
    remote.recheck("t").unwrap();
    let unknown = remote.at_mark("t", 7, None).unwrap_err();
    assert_matches!(unknown, Error::UnknownPartition { partition: 7, .. });
}

/// The server's log is replaced by another one behind the same address. The client, which librdkafka reconnects in
/// silence, is in doubt; asked, it names the other log and the other record.
#[test]
fn a_log_that_was_replaced_is_recognised() {
    let first = Served::new(|_| ());
    append(&first.client, &["a", "b", "c"]);
    let address = first.server.local_addr();
    let remote = first.remote();
    let applied = remote.mark_before("t", 0, Offset::new(2)).unwrap().unwrap();
    assert!(
        !remote
            .read("t", 0, Offset::ZERO, 1 << 20)
            .unwrap()
            .is_empty()
    );
    let before = remote.doubts();
    drop(first.server);
    first.client.close().unwrap();

    let second = Served::new(|config| config.listen = address);
    wait_until("the lost connection is noticed", MINUTE, || {
        remote.doubts() > before
    });
    let error = remote.recheck("t").unwrap_err();
    assert_matches!(error, Error::Replaced { found, .. } if found == second.client.log_id());
    let ends_before = MarkCheck::Differs(Difference::EndsBefore);
    assert_eq!(judge(&remote, 2, &applied), ends_before);
    append(&second.client, &["x", "y", "z"]);
    let MarkCheck::Differs(Difference::OtherRecord { found }) = judge(&remote, 2, &applied) else {
        panic!("not recognised");
    };
    assert_eq!(
        Some(found),
        second.client.mark_before("t", 0, Offset::new(2)).unwrap()
    );
}

/// Another program removes records. A client that has just asked where the partition begins learns of it at once.
#[test]
fn records_that_another_program_removes_are_missed_at_once() {
    let served = Served::new(|_| ());
    append(&served.client, &["a", "b", "c"]);
    let remote = served.remote();
    let mark = remote.mark_before("t", 0, Offset::new(1)).unwrap().unwrap();
    assert_eq!(judge(&remote, 1, &mark), MarkCheck::Same);
    let (code, start) = served.connect().delete_records(1, "t", 0, 3);
    assert_eq!((code, start), (0, 3));
    let begins_after = MarkCheck::Differs(Difference::BeginsAfter);
    assert_eq!(judge(&remote, 1, &mark), begins_after);
    assert_eq!(
        remote.partition_ends("t").unwrap(),
        served.client.partition_ends("t").unwrap()
    );
}
