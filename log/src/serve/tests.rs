//! Random bytes as requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::code::Code;
use super::guard::{self, GroupKind};
use super::guesses::Guesses;
use super::line_limit::LineLimit;
use super::requests::{Frame, Room};
use super::sasl::Users;
use super::visitor::{Rights, Visitor};
use super::wire::{Malformed, Reader};
use super::{Broker, Credentials, ServeConfig, api, connection};
use crate::places::Places;
use crate::state::ForeignCommit;
use crate::{Client, Config, Offset, TopicConfig};

#[test]
fn clients_leave_descriptors_to_the_log() {
    let cases = [
        (Some(10), 10),
        (Some(64), 10),
        (Some(256), 32),
        (Some(1_024), 320),
        (Some(1 << 20), 512),
        (None, 512),
    ];
    for (files_max, expected) in cases {
        assert_eq!(super::connections_of(files_max), expected, "{files_max:?}");
    }
}

/// A server's inside, without its sockets.
fn broker() -> (TempDir, Arc<Broker>) {
    let dir = TempDir::new().unwrap();
    let client = Client::open(Config::new(dir.path().join("log"))).unwrap();
    client.create_topic("t", TopicConfig::new(2)).unwrap();
    let config = ServeConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)));
    let room = || Arc::new(Semaphore::new(config.memory_bytes_max));
    let broker = Broker {
        client,
        tls: None,
        request_room: room(),
        answer_room: room(),
        finishing: Arc::new(Semaphore::new(1)),
        places: Arc::new(Places::new(1, false, Arc::default())),
        guesses: Guesses::default(),
        line_limit: LineLimit::default(),
        users: Users::default(),
        is_full: std::sync::atomic::AtomicBool::new(false),
        clocks_ahead: super::clocks::ClocksAhead::default(),
        stopping: tokio::sync::watch::channel(true).1,
        config,
    };
    (dir, Arc::new(broker))
}

/// Answers a request; whatever it is, it comes back.
fn answer(runtime: &tokio::runtime::Runtime, broker: &Arc<Broker>, bytes: Vec<u8>) {
    let address = SocketAddr::from(([127, 0, 0, 1], 9092));
    let visitor = Visitor {
        peer: address,
        reached: address,
        rights: Rights::All,
    };
    runtime.block_on(async {
        let frame = Frame::new(bytes, Room::default());
        let answers = match api::is_produce(&frame) {
            true => api::answer_produces(broker, vec![frame], visitor).await,
            false => vec![api::answer(broker, frame, visitor).await.map(Some)],
        };
        for answered in answers {
            assert!(
                !matches!(answered, Err(connection::Ended::Closed)),
                "a thread panicked"
            );
            if let Ok(Some(answer)) = answered {
                assert!(answer.bytes.len() < 4 << 20, "{}", answer.bytes.len());
            }
        }
    });
}

#[test]
fn a_client_that_waits_for_the_memory_of_others_is_not_called_slow() {
    let (_dir, mut broker) = broker();
    let config = &mut Arc::get_mut(&mut broker).unwrap().config;
    config.transfer_max = Duration::from_millis(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let room = &broker.request_room;
        let all = connection::acquire(room, usize::MAX, &broker).await;
        let _all = all.unwrap();
        let refused = connection::acquire(room, 1, &broker).await;
        assert!(matches!(refused, Err(connection::Ended::NoRoom)));
    });
}

#[test]
fn no_request_makes_it_panic() {
    let (_dir, broker) = broker();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    // Keys and versions that exist, small numbers and names that exist: so that some come far.
    let piece = prop_oneof![
        4 => any::<u8>().prop_map(|byte| vec![byte]),
        4 => (-1i32..4).prop_map(|number| number.to_be_bytes().to_vec()),
        2 => (-1i16..3).prop_map(|number| number.to_be_bytes().to_vec()),
        2 => Just(vec![0, 1, b't']),
        1 => Just(0i64.to_be_bytes().to_vec()),
        1 => Just(vec![0x7f, 0xff, 0xff, 0xff]),
        1 => Just(vec![0xff; 4]),
    ];
    let body = prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat());
    let config = ProptestConfig {
        cases: 5000,
        failure_persistence: None,
        ..Default::default()
    };
    proptest!(config, |(key in 0i16..50, version in -1i16..13, body in body)| {
        let mut bytes = key.to_be_bytes().to_vec();
        bytes.extend_from_slice(&version.to_be_bytes());
        bytes.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff]);
        bytes.extend_from_slice(&body);
        answer(&runtime, &broker, bytes);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_is_decoded_is_no_larger_than_what_is_there(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let read = Reader::new(&bytes).array(|body| body.array(Reader::string));
        if let Ok(topics) = read {
            let text: usize = topics.iter().flatten().map(|text| text.len()).sum();
            prop_assert!(text <= bytes.len());
        }
        let _ = Reader::new(&bytes).tagged_fields();
        let _ = Reader::new(&bytes).nullable_compact_string();
        let _ = Reader::new(&bytes).nullable_bytes();
    }
}

#[test]
fn groups_of_others_leave_places_for_bekks_own() {
    let (_dir, broker) = broker();
    let store = broker.store().unwrap();
    let state = &store.core().shared.state;
    for number in 0..1_000 {
        let commit = ForeignCommit {
            group: format!("g{number}"),
            topic: "t".to_owned(),
            partition: 0,
            next: Offset::ZERO,
            metadata: String::new(),
        };
        state.put_foreign(&commit, 0).unwrap();
    }
    let check = |group: &str, kind, expected| {
        let done = guard::check_group(&broker, group, kind);
        assert_eq!(done, expected, "{group} {kind:?}");
    };
    check("g7", GroupKind::Foreign, Ok(()));
    check("another", GroupKind::Foreign, Err(Code::POLICY_VIOLATION));
    check("main", GroupKind::Sink, Ok(()));
}

#[test]
fn counts_are_bounded() {
    for count in [
        [0x7f, 0xff, 0xff, 0xff],
        [0xff, 0xff, 0xff, 0xfe],
        [0, 1, 0, 0],
    ] {
        // An element may take no bytes at all.
        let read = Reader::new(&count).array(|_| Ok(()));
        assert_eq!(read, Err(Malformed), "{count:?}");
    }
    assert_eq!(Reader::new(&[0xff; 4]).nullable_array(|_| Ok(())), Ok(None));
    let read = Reader::new(&[0x7f, 0xff, 0xff, 0xff]).nullable_bytes();
    assert_eq!(read, Err(Malformed));
}

#[test]
fn what_is_offered_is_what_the_documentation_says() {
    let (_dir, broker) = broker();
    let mut broker = Arc::into_inner(broker).unwrap();
    broker.config.credentials = Some(Credentials {
        username: "bekk".to_owned(),
        password: "brook".to_owned(),
    });
    let text = include_str!("../../../docs/format.md");
    let (_, section) = text.split_once("\n# The Kafka protocol\n").unwrap();
    let rows = section.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(2);
        let key = cells.next()?.parse::<i16>().ok()?;
        let versions = cells.next()?;
        let (first, last) = versions.split_once('–').unwrap_or((versions, versions));
        Some((key, first.parse().ok()?, last.parse().ok()?))
    });
    let documented: Vec<(i16, i16, i16)> = rows.collect();
    let mut offered = api::offered(&broker);
    offered.sort_unstable();
    assert_eq!(offered[0], (0, 0, 8));
    offered[0].1 = 3; // below it Produce is listed, and refused
    assert_eq!(documented, offered);
}
