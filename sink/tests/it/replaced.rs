//! A table that is replaced in the middle of a batch, after the sink has compared it and before rows go there.

use std::time::Duration;

use bekk_sink::Error;
use bekk_stream::{OnConflict, Stream};
use bekk_testing::assert_matches;

use crate::harness::{Db, Log, PATIENCE, assert_exact, drain, rows, two_columns};
use crate::proxy::{Fault, Plan, Proxy, Who};

/// How long the sink waits before it writes, in which the table can be replaced
const STALL: Duration = Duration::from_secs(1);

/// The sink, as a role with these rights, has compared the table when another one takes its name.
fn check(stream: &Stream, rights: &str) {
    let (db, log) = (Db::new(), Log::new());
    let mut admin = Db::connect(db.options.clone());
    log.open_stream(stream);
    let name = db.options.dbname.clone().unwrap();
    let grant = rights.replace("ROLE", &format!("column_{name}"));
    let key = if stream.key.is_empty() {
        ""
    } else {
        "PRIMARY KEY"
    };
    let table = format!("CREATE TABLE items (id int8 {key}, name text); {grant}");
    admin.execute(&format!(
        "CREATE ROLE column_{name} LOGIN PASSWORD 'word'; {table}"
    ));
    drain(&db, &log, stream).unwrap();
    admin.execute(&format!(
        "GRANT TEMPORARY ON DATABASE {name} TO column_{name}; GRANT USAGE ON SCHEMA bekk TO column_{name};
         GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA bekk TO column_{name};
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA bekk TO column_{name}"
    ));
    let mut loader = Db::connect(db.options.clone());
    let proxy = Proxy::new(&db.options);
    loader.options = proxy.options(&db.options);
    loader.options.user = Some(format!("column_{name}"));
    loader.options.password = Some("word".to_owned());
    // The request after the one that begins the transaction, and compares the table.
    let plan = Plan::new(Some((Who::Worker, 1, Fault::Stalled(STALL))));
    proxy.set(&plan);
    log.append(stream, 0, &rows(0..10, "first"));
    std::thread::scope(|scope| {
        let sink = scope.spawn(|| drain(&loader, &log, stream));
        bekk_testing::wait_until("the batch has begun", PATIENCE, || {
            plan.has_struck() || sink.is_finished()
        });
        admin.execute(&format!(
            "BEGIN; ALTER TABLE items RENAME TO old; {table}; COMMIT"
        ));
        sink.join().unwrap().unwrap();
    });
    assert_eq!(db.one("SELECT count(*) FROM old"), "10", "{rights}");
    assert_eq!(db.one("SELECT count(*) FROM items"), "0", "{rights}");
    log.append(stream, 0, &rows(10..20, "second"));
    let error = drain(&loader, &log, stream).unwrap_err();
    assert_matches!(error, Error::OtherTarget { .. });
    db_back(&mut admin);
    drain(&loader, &log, stream).unwrap();
    assert_exact(&db, &log.client, "bekk", stream);
}

fn db_back(admin: &mut Db) {
    admin.execute("DROP TABLE items; ALTER TABLE old RENAME TO items");
}

#[test]
fn a_table_is_replaced_before_a_batch_or_after_it() {
    let keyed = two_columns();
    let mut keyless = two_columns();
    keyless.key.clear();
    keyless.on_conflict = OnConflict::Append;
    check(&keyless, "GRANT INSERT (id, name) ON items TO ROLE");
    check(&keyless, "GRANT INSERT ON items TO ROLE");
    let single = "GRANT INSERT (id, name), UPDATE (id, name), SELECT ON items TO ROLE";
    check(&keyed, single);
}
