//! A log that several processes share: the first one owns it, the others are its guests.

use std::time::{Duration, Instant};

use bekk_log::{Client, Config, Error, Offset, RecordBuffer, TopicConfig};
use bekk_testing::{MINUTE, assert_matches, wait_until};

use crate::support::{append_in, topic};

const TOPIC: &str = "things";
const PARTITIONS: u32 = 3;

fn join(directory: &tempfile::TempDir) -> Client {
    Client::join(Config::new(directory.path().join("log")), &mut |_, _| false).unwrap()
}

/// An owner whose log has the topic, and its guest.
fn pair() -> (tempfile::TempDir, Client, Client) {
    let directory = tempfile::tempdir().unwrap();
    let (owner, guest) = (join(&directory), join(&directory));
    topic(&owner, TOPIC, PARTITIONS);
    (directory, owner, guest)
}

fn buffer(first: u64, count: u64) -> RecordBuffer {
    let mut buffer = RecordBuffer::new();
    for i in first..first + count {
        let value = format!("value {i} {}", "x".repeat(100));
        buffer.push(
            1_000 + i.cast_signed(),
            Some(i.to_string().as_bytes()),
            value.as_bytes(),
        );
    }
    buffer
}

/// Everything from an offset on, as numbers of records.
fn read_from(client: &Client, partition: u32, from: u64) -> Vec<u64> {
    let end = client.partition_ends(TOPIC).unwrap()[partition as usize].end;
    let mut next = Offset::new(from);
    let mut numbers = Vec::new();
    while next < end {
        let records = client.read(TOPIC, partition, next, 64 << 10).unwrap();
        for record in records.iter() {
            assert_eq!(record.offset, next);
            next = next.next();
            let key = std::str::from_utf8(record.key.unwrap()).unwrap();
            let number: u64 = key.parse().unwrap();
            assert!(record.value.starts_with(format!("value {key} ").as_bytes()));
            assert_eq!(record.timestamp_ms, 1_000 + number.cast_signed());
            numbers.push(number);
        }
        assert_eq!(records.next_offset(), next);
    }
    let at_end = client.read(TOPIC, partition, next, 64 << 10).unwrap();
    assert!(at_end.is_empty());
    numbers
}

#[test]
fn a_guest_does_what_the_owner_does() {
    let directory = tempfile::tempdir().unwrap();
    let owner = join(&directory);
    let guest = join(&directory);
    assert!(owner.is_owner() && !guest.is_owner());
    assert_eq!(owner.log_id(), guest.log_id());

    let made = guest
        .create_topic(TOPIC, TopicConfig::new(PARTITIONS))
        .unwrap();
    assert_eq!(made.config.partitions, PARTITIONS);
    let again = guest.create_topic(TOPIC, TopicConfig::new(9));
    assert_eq!(again.unwrap().config.partitions, PARTITIONS);
    assert_eq!(guest.topics().unwrap(), owner.topics().unwrap());

    let session = guest.begin_session("i").unwrap();
    let (one, two, none) = (buffer(0, 5_000), buffer(5_000, 10), RecordBuffer::new());
    let batches = [(0, &one), (1, &none), (2, &two)];
    let offsets = guest.append(Some(&session), TOPIC, &batches).unwrap();
    assert_eq!(offsets, [Offset::ZERO; 3]);
    let third = buffer(5_010, 1);
    let offsets = guest.append(Some(&session), TOPIC, &[(2, &third)]).unwrap();
    assert_eq!(offsets, [Offset::new(10)]);

    for client in [&owner, &guest] {
        assert_eq!(read_from(client, 0, 0), (0..5_000).collect::<Vec<_>>());
        assert_eq!(
            read_from(client, 0, 4_321),
            (4_321..5_000).collect::<Vec<_>>()
        );
        assert_eq!(read_from(client, 0, 17)[0], 17);
        assert!(read_from(client, 1, 0).is_empty());
        assert_eq!(read_from(client, 2, 0), (5_000..5_011).collect::<Vec<_>>());
        let found = client.offset_for_time(TOPIC, 2, 1_000 + 5_004).unwrap();
        assert_eq!(found, Some(Offset::new(4)));
        let found = client.offset_for_time(TOPIC, 2, 1_000_000).unwrap();
        assert_eq!(found, None);
        let outside = client.read(TOPIC, 2, Offset::new(12), 1).unwrap_err();
        assert_matches!(outside, Error::OffsetOutOfRange { end, .. } if end == Offset::new(11));
        let unknown = client.partition_ends("nothing").unwrap_err();
        assert_matches!(unknown, Error::UnknownTopic(_));
    }
}

/// A process that looks at the log for a moment leaves it to the next one, and has no guests meanwhile.
#[test]
fn a_glance_has_no_guests() {
    let directory = tempfile::tempdir().unwrap();
    let config = || Config::new(directory.path().join("log"));
    let glance = Client::glance(config(), &mut |_, _| false).unwrap();
    assert!(glance.is_owner());
    let error = Client::join(config(), &mut |_, _| false).unwrap_err();
    assert_matches!(error, Error::Locked { .. });
    glance.close().unwrap();
    let owner = join(&directory);
    assert!(owner.is_owner());
    let glance = Client::glance(config(), &mut |_, _| false).unwrap();
    assert!(!glance.is_owner() && glance.log_id() == owner.log_id());
}

#[test]
fn a_guest_that_waits_sees_at_once_what_comes() {
    let (_directory, owner, guest) = pair();
    let mut next = 0;
    for round in 0..20 {
        let ends = guest.partition_ends(TOPIC).unwrap();
        let behind: Vec<_> = ends.iter().map(|ends| (ends.partition, ends.end)).collect();
        assert!(
            !guest
                .wait_for_records(TOPIC, &behind, Duration::ZERO)
                .unwrap()
        );
        owner.append(None, TOPIC, &[(1, &buffer(next, 3))]).unwrap();
        let begun = Instant::now();
        while !guest
            .wait_for_records(TOPIC, &behind, Duration::from_secs(10))
            .unwrap()
        {}
        assert_eq!(
            read_from(&guest, 1, next),
            (next..next + 3).collect::<Vec<_>>()
        );
        let took = begun.elapsed();
        assert!(round < 2 || took < Duration::from_millis(400), "{took:?}");
        next += 3;
    }
}

#[test]
fn a_guest_commits_for_a_group_and_forgets_it() {
    let (_directory, owner, guest) = pair();
    for (group, next) in [("g", 7), ("other", 1)] {
        guest
            .commit_offset(group, TOPIC, 1, Offset::new(next))
            .unwrap();
    }
    let commits = || {
        let commits = owner.commits().unwrap();
        let commits = commits.into_iter();
        commits
            .map(|c| (c.group, c.partition, c.next.get(), c.is_sink))
            .collect::<Vec<_>>()
    };
    let other = ("other".to_owned(), 1, 1, true);
    wait_until("both are there", MINUTE, || commits().len() == 2);
    assert_eq!(commits(), [("g".to_owned(), 1, 7, true), other.clone()]);
    guest.forget_group("g").unwrap();
    guest.forget_group("g").unwrap();
    assert_eq!(commits(), [other]);
    assert_eq!(guest.committed_offsets("g", TOPIC).unwrap(), []);
    let refused = guest.commits().unwrap_err();
    assert_matches!(refused, Error::NotHere { .. });
    owner.forget_group("other").unwrap();
    assert_eq!(commits(), []);
}

/// The accident: the owner goes while commits of its guest are under way. The guest is given up at once, so that its
/// process can take over; librdkafka would wait for the answers for ever.
#[test]
fn a_guest_whose_owner_has_gone_is_given_up_at_once() {
    for round in 0..5 {
        let (_directory, owner, guest) = pair();
        guest.commit_offset("g", TOPIC, 0, Offset::new(1)).unwrap();
        wait_until("it is there", MINUTE, || {
            owner.commits().unwrap().len() == 1
        });
        for next in 0..round * 100 {
            guest
                .commit_offset("g", TOPIC, 1, Offset::new(next))
                .unwrap();
        }
        owner.close().unwrap();
        wait_until("the guest notices", MINUTE, || guest.check().is_err());
        let (gone, is_gone) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            drop(guest);
            gone.send(()).unwrap();
        });
        is_gone.recv_timeout(Duration::from_secs(5)).unwrap();
    }
}

#[test]
fn of_two_sessions_only_the_later_appends_wherever_they_are() {
    let (_directory, owner, guest) = pair();
    let first = guest.begin_session("i").unwrap();
    append_in(&guest, &first, (TOPIC, 0), &buffer(0, 1)).unwrap();
    let second = owner.begin_session("i").unwrap();
    assert_eq!(second.number, first.number + 1);
    let refused = append_in(&guest, &first, (TOPIC, 0), &buffer(1, 1)).unwrap_err();
    assert_matches!(&refused, Error::Fenced { newest, .. } if *newest == second.number);
    append_in(&owner, &second, (TOPIC, 0), &buffer(1, 1)).unwrap();
    let third = guest.begin_session("i").unwrap();
    assert_eq!(third.number, second.number + 1);
    let refused = append_in(&owner, &second, (TOPIC, 0), &buffer(2, 1)).unwrap_err();
    assert_matches!(refused, Error::Fenced { .. });
    append_in(&guest, &third, (TOPIC, 0), &buffer(2, 1)).unwrap();
    assert_eq!(read_from(&owner, 0, 0), [0, 1, 2]);
}

#[test]
fn an_owner_that_goes_is_succeeded_by_its_guest() {
    let (directory, owner, guest) = pair();
    let session = guest.begin_session("i").unwrap();
    append_in(&guest, &session, (TOPIC, 0), &buffer(0, 7)).unwrap();
    owner.close().unwrap();
    let begun = Instant::now();
    let gone = loop {
        match append_in(&guest, &session, (TOPIC, 0), &buffer(7, 1)) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_matches!(gone, Error::Away { .. });
    assert!(begun.elapsed() < Duration::from_secs(2));
    drop(guest);
    let successor = join(&directory);
    assert!(successor.is_owner());
    assert_eq!(read_from(&successor, 0, 0), (0..7).collect::<Vec<_>>());
}
