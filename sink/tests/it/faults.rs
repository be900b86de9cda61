//! A fault at every request that a short run makes, one at a time. After each of them table, offsets, counts and dead
//! letters are exact, and the sink went on by itself.

use std::time::{Duration, Instant};

use bekk_sink::Config;
use bekk_stream::{Reason, Reject, Stream, Value};

use crate::harness::{Db, Log, assert_exact, drain_with, text, two_columns};
use crate::proxy::{Fault, Plan, Proxy, Who, transaction_pool};

/// Set: all faults at all requests, which takes minutes.
const ALL: &str = "BEKK_TEST_ALL_FAULTS";

/// Faults that pass: no run ends because of them.
const PASSING: [Fault; 7] = [
    Fault::BrokenBefore,
    Fault::BrokenAfter,
    Fault::Cancelled,
    Fault::Refused("57014"),
    Fault::Refused("40001"),
    Fault::Refused("53200"),
    Fault::Refused("08006"),
];
/// Faults that may stop the sink; a person starts it again. None is about data: at a record that is tried alone, such
/// an answer rightly makes a dead letter.
const STOPPING: [Fault; 4] = [
    Fault::Refused("42501"),
    Fault::Refused("0A000"),
    Fault::Refused("55000"),
    Fault::Refused("XX001"),
];
/// How many records a batch has at most.
const BATCH: usize = 6;

/// A log with a bit of everything, and what becomes of it.
struct Short {
    log: Log,
    stream: Stream,
    runs: u32,
}

impl Short {
    fn new() -> Self {
        let (log, stream) = (Log::new(), two_columns());
        log.open_stream(&stream);
        let schema = stream.schema();
        // New keys, keys that exist, a row that the table refuses, a reject, keys that come twice in a batch.
        let ids = [1, 2, 3, 4, 5, 6, 4, 5, 13, 7, 7, 1, 8];
        let mut values: Vec<Vec<u8>> = (2..)
            .zip(ids)
            .map(|(line, id)| log.row(&schema, line, &[Value::Int(id), text(&line.to_string())]))
            .collect();
        let reject = Reject::new(b"x", Reason::BadValue, Some("id"), "`x` is no int8");
        values.insert(11, log.reject(&schema, 99, &reject));
        log.append_raw(&stream.name, 0, &values);
        Self {
            log,
            stream,
            runs: 0,
        }
    }

    /// Applies the log to a table of its own as a group of its own, with one fault; says whether it struck.
    fn run(
        &mut self,
        proxy: &Proxy,
        db: &mut Db,
        fault: Option<(Who, u32, Fault)>,
    ) -> (bool, [u32; 4]) {
        self.runs += 1;
        let name = format!("items_{}", self.runs);
        db.execute(&format!(
            "CREATE TABLE {name} (id bigint PRIMARY KEY CHECK (id <> 13), name text NOT NULL)"
        ));
        self.stream.table.name.clone_from(&name);
        let mut config = Config::new(proxy.options(&db.options));
        config.group.clone_from(&name);
        config.batch_records_max = BATCH;
        config.connections = 1;
        let plan = Plan::new(fault);
        proxy.set(&plan);
        let mut result = drain_with(&config, &self.log, &self.stream);
        if let Err(error) = &result {
            let may_stop = fault.is_some_and(|(.., fault)| STOPPING.contains(&fault));
            assert!(may_stop && plan.has_struck(), "{fault:?}: {error}");
            proxy.set(&Plan::new(None));
            result = drain_with(&config, &self.log, &self.stream);
        }
        result.unwrap_or_else(|error| panic!("after {fault:?}: {error}"));
        self.check(db, &name, &format!("{fault:?}"));
        (plan.has_struck(), Who::ALL.map(|who| plan.requests(who)))
    }

    fn check(&self, db: &Db, name: &str, fault: &str) {
        assert_eq!(
            db.one(&format!(
                "SELECT string_agg(id || ':' || name, ' ' ORDER BY id) FROM {name}"
            )),
            "1:13 2:3 3:4 4:8 5:9 6:7 7:12 8:14",
            "{fault}"
        );
        assert_eq!(
            db.rows(&format!(
                "SELECT log_offset, reason, coalesce(sqlstate, '-') FROM bekk.dead_letters
                  WHERE group_name = '{name}' ORDER BY 1"
            )),
            ["8|refused|23514", "11|bad_value|-"],
            "{fault}"
        );
        let deep = assert_exact(db, &self.log.client, name, &self.stream);
        assert_eq!((deep.records, deep.dead), (14, 2), "{fault}");
    }
}

/// Strikes at each request of these sessions with each fault; returns how often.
fn strike(short: &mut Short, proxy: &Proxy, db: &mut Db, whose: &[Who], faults: &[Fault]) -> u32 {
    let (_, requests) = short.run(proxy, db, None);
    let (begun, mut struck) = (Instant::now(), 0);
    for who in whose {
        for number in 0..requests[*who as usize] {
            for fault in faults {
                let (has_struck, _) = short.run(proxy, db, Some((*who, number, *fault)));
                struck += u32::from(has_struck);
            }
        }
    }
    println!(
        "{struck} faults at requests {requests:?} of {:?} in {:?}",
        Who::ALL,
        begun.elapsed()
    );
    struck
}

#[test]
fn every_request_of_a_batch_may_fail() {
    let (mut short, mut db) = (Short::new(), Db::new());
    let proxy = Proxy::new(&db.options);
    let faults = match std::env::var_os(ALL) {
        Some(_) => &PASSING[..],
        // The others take the same paths.
        None => &[Fault::BrokenAfter, Fault::Refused("57014")],
    };
    let struck = strike(&mut short, &proxy, &mut db, &[Who::Worker], faults);
    assert!(struck >= 40, "only {struck} faults");
}

/// All the rest: set-up, leases, errors that stop the sink, stalls that outlast a lease.
#[test]
fn every_request_may_fail() {
    if std::env::var_os(ALL).is_none() {
        return;
    }
    let (mut short, mut db) = (Short::new(), Db::new());
    let proxy = Proxy::new(&db.options);
    let others = [Who::Opening, Who::Setup, Who::Keeper];
    strike(&mut short, &proxy, &mut db, &others, &PASSING);
    strike(&mut short, &proxy, &mut db, &Who::ALL, &STOPPING);
    let stall = [Fault::Stalled(Duration::from_secs(11))];
    strike(&mut short, &proxy, &mut db, &[Who::Worker], &stall);
}

/// An address whose sessions are shared is refused before anything is written or set there.
#[test]
fn a_transaction_pooler_is_refused() {
    let (db, short) = (Db::new(), Short::new());
    let mut options = Proxy::new(&db.options).options(&db.options);
    options.port = transaction_pool(&db.options);
    let error = drain_with(&Config::new(options), &short.log, &short.stream).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("pool_mode = session"), "{text}");
    assert_eq!(db.rows("SELECT to_regnamespace('bekk')"), ["-"]);
}
