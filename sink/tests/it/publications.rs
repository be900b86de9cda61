//! Tables that are published: PostgreSQL refuses statements on them that the table itself allows.

use bekk_sink::{Config, Control, Error, State, Stats};
use bekk_stream::{Accept, Value};
use bekk_testing::assert_matches;

use crate::fits::found;
use crate::harness::{Db, Log, StopOnDrop, drain, drain_with, opened, text, two_columns, until};

/// Publications refuse statements that the table itself allows. The check says so, the sink does not begin, and after the
/// advice both are content.
#[test]
fn publications_that_refuse_updates_or_deletions_are_named() {
    let (mut db, log) = (Db::new(), Log::new());
    if db.one("SELECT current_setting('server_version_num')::int >= 150000") == "f" {
        println!("SKIPPED: publications have filters and lists of columns since PostgreSQL 15");
        return;
    }
    let items = two_columns();
    let mut deleting = items.clone();
    deleting.accept = Accept::Json { deletes: true };
    log.open_stream(&items);
    log.append_rows(
        "items",
        0,
        &items.schema(),
        &[vec![Value::Int(1), text("x")]],
    );
    let full = "ALTER TABLE \"public\".\"items\" REPLICA IDENTITY FULL";
    let table = "CREATE TABLE items (id bigint PRIMARY KEY, name text)";
    let parts = "CREATE TABLE items (id bigint PRIMARY KEY, name text) PARTITION BY RANGE (id);
                 CREATE TABLE part PARTITION OF items DEFAULT";
    let refuses = |statement: &str| format!("refuses every {statement} of it");
    let filter =
        "Column used in the publication WHERE expression is not part of the replica identity.";
    let list = "Column list used by the publication does not cover the replica identity.";
    // How the table is made and published, what is said, and what helps.
    let cases = [
        (table, "FOR TABLE items WHERE (name <> 'y')", filter, full),
        (table, "FOR TABLE items WHERE (id > 0)", "", ""),
        (
            table,
            "FOR TABLE items (name)",
            list,
            "ALTER PUBLICATION p SET TABLE items (id, name)",
        ),
        (table, "FOR TABLES IN SCHEMA public", "", ""),
        (
            parts,
            "FOR TABLE items WHERE (name <> 'y') WITH (publish_via_partition_root = true)",
            filter,
            "ALTER TABLE part REPLICA IDENTITY FULL",
        ),
        (
            "CREATE TABLE items (id bigint, name text) PARTITION BY RANGE (id);
             CREATE TABLE part PARTITION OF items DEFAULT; CREATE UNIQUE INDEX ON items (id)",
            "FOR ALL TABLES",
            "does not have a replica identity",
            "ALTER TABLE part REPLICA IDENTITY FULL",
        ),
        (
            "CREATE TABLE items (id bigint NOT NULL, name text NOT NULL UNIQUE);
             CREATE UNIQUE INDEX by_id ON items (id); ALTER TABLE items REPLICA IDENTITY USING INDEX by_id",
            "FOR TABLE items WHERE (name <> 'y')",
            filter,
            "ALTER TABLE items REPLICA IDENTITY USING INDEX items_name_key",
        ),
    ];
    for (number, (made, published, said, helps)) in cases.iter().enumerate() {
        db.execute(&format!(
            "DROP PUBLICATION IF EXISTS p; DROP TABLE IF EXISTS items; {made}; CREATE PUBLICATION p {published}"
        ));
        let mut config = Config::new(db.options.clone());
        config.group = format!("g{number}");
        if !said.is_empty() {
            let found = found(&db, &items);
            assert!(
                found.contains(&refuses("UPDATE")) && found.contains(said),
                "{published}: {found}"
            );
            let found = self::found(&db, &deleting);
            assert!(found.contains(&refuses("DELETE")), "{published}: {found}");
            let error = drain_with(&config, &log, &items).unwrap_err();
            assert_matches!(error, Error::TableMismatch { .. });
            db.execute(helps);
        }
        for stream in [&items, &deleting] {
            let found = found(&db, stream);
            assert!(!found.contains("refuses"), "{published}: {found}");
        }
        drain_with(&config, &log, &items).unwrap();
        db.execute("UPDATE items SET name = 'z' WHERE id = 1; DELETE FROM items");
    }
}

/// A publication that is made while the sink runs stops the stream with the same words.
#[test]
fn a_publication_made_under_a_running_sink_is_named() {
    let (mut db, log, items) = opened(two_columns());
    if db.one("SELECT current_setting('server_version_num')::int >= 150000") == "f" {
        println!("SKIPPED: publications have filters since PostgreSQL 15");
        return;
    }
    db.execute("CREATE TABLE items (id bigint PRIMARY KEY, name text)");
    let append = || {
        let row = [
            vec![Value::Int(1), text("x")],
            vec![Value::Int(1), text("y")],
        ];
        log.append_rows("items", 0, &items.schema(), &row);
    };
    append();
    drain(&db, &log, &items).unwrap();
    let (config, control, stats) = (
        Config::new(db.options.clone()),
        Control::new(),
        Stats::default(),
    );
    let ended = std::thread::scope(|scope| {
        let _stop = StopOnDrop(&control);
        let streams = std::slice::from_ref(&items);
        let sink = scope.spawn(|| bekk_sink::run(&config, streams, &log.client, &stats, &control));
        until("the sink runs", || stats.state() == State::Running);
        db.execute("CREATE PUBLICATION p FOR TABLE items WHERE (name <> 'z')");
        append();
        until("the stream stops or continues", || {
            !stats.halted().is_empty() || sink.is_finished() || stats.applied() >= 2
        });
        control.stop();
        sink.join().unwrap()
    });
    match ended {
        Ok(_) => {
            // Some versions of PostgreSQL check an ON CONFLICT DO UPDATE less.
            let halted = stats.halted();
            assert!(
                halted
                    .iter()
                    .all(|(_, why)| why.contains("refuses every UPDATE")),
                "{halted:?}"
            );
        }
        Err(error) => assert!(
            error.to_string().contains("refuses every UPDATE"),
            "{error}"
        ),
    }
}
