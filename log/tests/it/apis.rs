//! Every API of a served log, asked by clients that are not Bekk's own for what would do the most harm.
//!
//! An API, or a version of one, that is offered and not in the table fails the test: its author decides here what a client
//! without a login, and one that may only read, can do with it.

use std::collections::BTreeMap;

use crate::served::{Connection, Served, batch, fetch_request};
use crate::strangers::{
    PASSWORD, READ_PASSWORD, alter_retention, create_topic_named, log_in, with_two_users,
};

const DONE: i16 = 0;
const TOPIC_REFUSED: i16 = 29;
const GROUP_REFUSED: i16 = 30;
const CLUSTER_REFUSED: i16 = 31;
const ILLEGAL_STATE: i16 = 34;
const INVALID: i16 = 42;

struct Decision {
    key: i16,
    /// Newest version that the decision covers
    last: i16,
    /// Asks for what would do the most harm; returns the code of the answer.
    ask: fn(&mut Connection) -> i16,
    /// The code for a client of a log without a password
    open: i16,
    /// The code for a client that may only read
    reader: i16,
}

const fn decision(
    (key, last): (i16, i16),
    (open, reader): (i16, i16),
    ask: fn(&mut Connection) -> i16,
) -> Decision {
    Decision {
        key,
        last,
        ask,
        open,
        reader,
    }
}

const DECISIONS: [Decision; 20] = [
    // Produce: every client of an open log may write.
    decision((0, 8), (DONE, TOPIC_REFUSED), |asks| {
        asks.produce(7, batch(None, 0, 1)).0
    }),
    decision((1, 11), (DONE, DONE), |asks| {
        asks.fetch(11, &fetch_request(0, 1 << 20, 1, 100)).0
    }),
    decision((2, 5), (DONE, DONE), |asks| {
        let body = [&[0xff; 4][..], ONE, T, ONE, &[0; 4], &[0xff; 8]].concat();
        code(asks, 2, 1, &body, 15)
    }),
    decision((3, 8), (DONE, DONE), |asks| {
        let answer = asks.call(3, 1, &[0xff; 4]);
        i16::from(!answer.windows(T.len()).any(|part| part == T))
    }),
    decision((8, 7), (GROUP_REFUSED, GROUP_REFUSED), |asks| {
        for group in ["bekk-session/a", "bekk-persist/a", "main"] {
            let topic = if group == "bekk-session/a" {
                "bekk.meta"
            } else {
                "t"
            };
            assert_eq!(
                asks.commit(group, topic, &[(0, i64::MAX)]),
                [GROUP_REFUSED],
                "{group}"
            );
        }
        asks.commit("bekk-hold/a", "t", &[(0, 0)])[0]
    }),
    decision((9, 5), (DONE, DONE), |asks| {
        assert_eq!(asks.committed("main", "t", 0), 4);
        DONE
    }),
    decision((10, 2), (DONE, DONE), |asks| code(asks, 10, 0, MAIN, 0)),
    decision((15, 4), (DONE, DONE), |asks| {
        code(asks, 15, 0, &[ONE, MAIN].concat(), 4)
    }),
    decision((16, 2), (DONE, DONE), |asks| code(asks, 16, 0, &[], 0)),
    decision((17, 1), (ILLEGAL_STATE, ILLEGAL_STATE), |asks| {
        code(asks, 17, 1, b"\0\x05PLAIN", 0)
    }),
    decision((18, 3), (DONE, DONE), |asks| code(asks, 18, 0, &[], 0)),
    decision((19, 4), (TOPIC_REFUSED, TOPIC_REFUSED), |asks| {
        create_topic_named(asks, "bekk.meta")
    }),
    decision((20, 3), (TOPIC_REFUSED, TOPIC_REFUSED), |asks| {
        asks.delete_topic(1, "t")
    }),
    decision((21, 1), (TOPIC_REFUSED, TOPIC_REFUSED), |asks| {
        asks.delete_records(1, "t", 0, -1).0
    }),
    // InitProducerId: no transaction, of Bekk's name or another, can be begun.
    decision((22, 4), (INVALID, CLUSTER_REFUSED), |asks| {
        code(asks, 22, 1, b"\0\x04bekk\0\0\x03\xe8", 4)
    }),
    decision((32, 2), (DONE, DONE), |asks| {
        let body = [ONE, &[2], T, &[0xff; 4], &[0]].concat();
        code(asks, 32, 1, &body, 8)
    }),
    decision((33, 1), (TOPIC_REFUSED, TOPIC_REFUSED), alter_retention),
    decision((36, 1), (ILLEGAL_STATE, ILLEGAL_STATE), |asks| {
        code(asks, 36, 0, &[0; 4], 0)
    }),
    decision((42, 1), (GROUP_REFUSED, GROUP_REFUSED), |asks| {
        assert_eq!(asks.delete_group(1, "bekk-hold/a"), GROUP_REFUSED);
        assert_eq!(asks.delete_group(1, "bekk-session/a"), GROUP_REFUSED);
        asks.delete_group(1, "main")
    }),
    decision((47, 0), (GROUP_REFUSED, GROUP_REFUSED), |asks| {
        code(asks, 47, 0, &[MAIN, ONE, T, ONE, &[0; 4]].concat(), 0)
    }),
];

/// The length of an array of one element
const ONE: &[u8] = &[0, 0, 0, 1];
/// Names, as they are sent
const T: &[u8] = b"\0\x01t";
const MAIN: &[u8] = b"\0\x04main";

/// Sends a request, and returns the code at a place of the answer.
fn code(asks: &mut Connection, key: i16, version: i16, body: &[u8], at: usize) -> i16 {
    let answer = asks.call(key, version, body);
    i16::from_be_bytes([answer[at], answer[at + 1]])
}

/// A log that a sink and an ingest need.
fn needed(served: &Served, log_in_first: bool) {
    let as_bekk = |client_id| {
        let mut connection = served.connect_as(client_id);
        if log_in_first {
            assert_eq!(log_in(&mut connection, "bekk", PASSWORD), 0);
        }
        connection
    };
    let mut sink = as_bekk("bekk-sink/main");
    assert_eq!(sink.produce(7, batch(None, 0, 10)), (0, 0));
    assert_eq!(sink.commit("main", "t", &[(0, 4)]), [0]);
    assert_eq!(sink.commit("bekk-hold/a", "t", &[(0, 9)]), [0]);
    assert_eq!(served.client.begin_session("a").unwrap().number, 1);
}

fn assert_kept(served: &Served) {
    let ends = served.client.partition_ends("t").unwrap()[0];
    assert!(ends.start.get() == 0 && ends.end.get() >= 10, "{ends:?}");
    let at = served.client.committed_offsets("main", "t").unwrap();
    assert_eq!(at[0].1.get(), 4);
    assert_eq!(served.client.begin_session("a").unwrap().number, 2);
    let topics = served.client.topics().unwrap();
    let topic = topics.iter().find(|topic| topic.name == "t").unwrap();
    assert_eq!(topic.config.retention, bekk_log::Retention::default());
}

/// The last version of each API that is offered.
fn offered(connection: &mut Connection) -> BTreeMap<i16, i16> {
    let answer = connection.call(18, 0, &[]);
    let numbers = answer[6..].chunks_exact(2);
    let numbers: Vec<_> = numbers
        .map(|bytes| i16::from_be_bytes([bytes[0], bytes[1]]))
        .collect();
    numbers
        .chunks_exact(3)
        .map(|api| (api[0], api[2]))
        .collect()
}

#[test]
fn each_api_is_decided_for_those_who_are_not_bekks_own() {
    let decided: BTreeMap<_, _> = DECISIONS.iter().map(|one| (one.key, one.last)).collect();
    let served = Served::new(with_two_users);
    needed(&served, true);
    for client_id in ["rdkafka", "bekk-ingest/a/1", "bekk-sink/main"] {
        // Without a login, only the list of APIs and the requests of a login are answered.
        for Decision { key, last, .. } in DECISIONS {
            let mut nobody = served.connect_as(client_id);
            assert_eq!(offered(&mut nobody), decided);
            if ![17, 18, 36].contains(&key) {
                nobody.send_call(key, last, &[]);
                assert!(nobody.is_closed(), "{key}");
            }
        }
        let mut reader = served.connect_as(client_id);
        assert_eq!(log_in(&mut reader, "reader", READ_PASSWORD), 0);
        for Decision {
            key,
            ask,
            reader: expected,
            ..
        } in DECISIONS
        {
            assert_eq!(ask(&mut reader), expected, "api {key} as {client_id}");
        }
    }
    assert_kept(&served);
    drop(served);

    let served = Served::new(|_| ());
    needed(&served, false);
    let mut stranger = served.connect();
    let open = offered(&mut stranger);
    for Decision {
        key,
        ask,
        open: expected,
        ..
    } in DECISIONS
    {
        if open.contains_key(&key) {
            assert_eq!(ask(&mut stranger), expected, "api {key}");
        }
    }
    assert_kept(&served);
}

/// A request that names the same partition thousands of times caused thousands of searches and writes.
#[test]
fn what_is_named_twice_in_a_request_is_done_once() {
    let served = Served::new(|_| ());
    let mut stranger = served.connect();
    assert_eq!(stranger.produce(7, batch(None, 0, 3)), (0, 0));
    assert_eq!(stranger.commit("g", "t", &[(0, 1), (1, 0)]), [0, 0]);
    let twice = stranger.commit("g", "t", &[(0, 2), (0, 3)]);
    assert_eq!(twice, [INVALID, INVALID]);
    assert_eq!(stranger.committed("g", "t", 0), 1);
    // OffsetFetch, version 1.
    let body = [&[0, 1, b'g'][..], ONE, T, &[0, 0, 0, 2], &[0; 8]].concat();
    let answer = stranger.call(9, 1, &body);
    let codes = [25, 41].map(|at| i16::from_be_bytes([answer[at], answer[at + 1]]));
    assert_eq!(codes, [DONE, INVALID]);
    // ListOffsets by time, version 1.
    let asked = [&[0; 4][..], &[0; 7], &[1]].concat();
    let body = [&[0xff; 4], ONE, T, &[0, 0, 0, 2], &asked, &asked].concat();
    let answer = stranger.call(2, 1, &body);
    let codes = [15, 37].map(|at| i16::from_be_bytes([answer[at], answer[at + 1]]));
    assert_eq!(codes, [DONE, INVALID]);
}
