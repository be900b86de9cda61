//! Rows that the table refuses are found and set aside, and the rest of their batch lands.

use bekk_sink::{Config, Error};
use bekk_stream::{OnConflict, Stream, Value};
use bekk_testing::assert_matches;

use crate::harness::{
    Db, Log, assert_exact, drain, drain_with, opened, refused_retry, stream_of, text, two_columns,
};
use crate::proxy::{Plan, Proxy};

/// A table of parts with everything that can refuse a row, filled from `rows` in one batch.
fn fill(on_conflict: OnConflict, more_sql: &str, rows: &[Vec<Value<'_>>]) -> (Db, Stream) {
    let (mut db, log) = (Db::new(), Log::new());
    let mut stream = stream_of("parts", "id int8, name text null, amount int8");
    stream.on_conflict = on_conflict;
    db.execute("CREATE TABLE parts (id bigint PRIMARY KEY, name varchar(20), amount integer)");
    db.execute(more_sql);
    log.open_stream(&stream);
    log.append(&stream, 0, rows);
    drain(&db, &log, &stream).unwrap();
    assert_exact(&db, &log.client, "bekk", &stream);
    (db, stream)
}

fn parts(count: i64) -> Vec<Vec<Value<'static>>> {
    (0..count)
        .map(|id| {
            vec![
                Value::Int(id),
                Value::Text(format!("part {id}").into()),
                Value::Int(id),
            ]
        })
        .collect()
}

const DEAD: &str =
    "SELECT log_offset, line, reason, column_name, sqlstate FROM bekk.dead_letters ORDER BY 1";

#[test]
fn rows_that_a_check_refuses() {
    let mut rows = parts(2_000);
    for bad in [0, 700, 701, 1_999] {
        rows[bad][2] = Value::Int(-1);
    }
    let (db, _) = fill(
        OnConflict::Update,
        "ALTER TABLE parts ADD CHECK (amount >= 0)",
        &rows,
    );
    assert_eq!(db.one("SELECT count(*) FROM parts"), "1996");
    assert_eq!(
        db.rows(DEAD),
        [
            "0|2|refused|-|23514",
            "700|702|refused|-|23514",
            "701|703|refused|-|23514",
            "1999|2001|refused|-|23514"
        ]
    );
    assert_eq!(
        db.one("SELECT convert_from(raw, 'UTF8') FROM bekk.dead_letters WHERE log_offset = 700"),
        "700,part 700,-1"
    );
    assert!(
        db.one("SELECT detail FROM bekk.dead_letters LIMIT 1")
            .contains("parts_amount_check")
    );
    assert_eq!(
        db.one("SELECT rows, superseded, dead, next FROM bekk.offsets"),
        "1996|0|4|2000"
    );
}

#[test]
fn rows_without_a_value_that_the_table_wants() {
    let mut rows = parts(100);
    rows[40][1] = Value::Null;
    let (db, _) = fill(
        OnConflict::Ignore,
        "ALTER TABLE parts ALTER name SET NOT NULL",
        &rows,
    );
    assert_eq!(db.one("SELECT count(*) FROM parts"), "99");
    assert_eq!(db.rows(DEAD), ["40|42|refused|name|23502"]);
}

#[test]
fn values_that_the_tables_column_does_not_hold() {
    let mut rows = parts(100);
    rows[3][1] = text("a name of twenty-one.");
    rows[4][1] = text("surplus blanks are no       ");
    rows[5][2] = Value::Int(3_000_000_000);
    let (db, _) = fill(OnConflict::Update, "", &rows);
    assert_eq!(db.one("SELECT count(*) FROM parts"), "97");
    assert_eq!(
        db.rows(DEAD),
        [
            "3|5|too_long|name|-",
            "4|6|too_long|name|-",
            "5|7|out_of_range|amount|-"
        ]
    );
}

#[test]
fn rows_that_refer_to_nothing_though_the_constraint_is_deferred() {
    let rows = parts(300);
    let (db, _) = fill(
        OnConflict::Update,
        "CREATE TABLE amounts AS SELECT generate_series(0, 297) AS amount;
         ALTER TABLE amounts ADD PRIMARY KEY (amount);
         ALTER TABLE parts ADD FOREIGN KEY (amount) REFERENCES amounts DEFERRABLE INITIALLY DEFERRED",
        &rows,
    );
    assert_eq!(db.one("SELECT count(*) FROM parts"), "298");
    assert_eq!(
        db.rows(DEAD),
        ["298|300|refused|-|23503", "299|301|refused|-|23503"]
    );
}

#[test]
fn rows_that_another_unique_column_refuses() {
    let mut rows = parts(200);
    rows[150][2] = Value::Int(20);
    let (db, _) = fill(
        OnConflict::Update,
        "ALTER TABLE parts ADD UNIQUE (amount)",
        &rows,
    );
    assert_eq!(db.one("SELECT id FROM parts WHERE amount = 20"), "20");
    assert_eq!(db.rows(DEAD), ["150|152|refused|-|23505"]);
}

#[test]
fn rows_that_a_trigger_refuses() {
    let rows = parts(200);
    let (db, _) = fill(
        OnConflict::Update,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF new.id = 77 THEN RAISE 'not this one'; END IF; RETURN new; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON parts FOR EACH ROW EXECUTE FUNCTION refuse()",
        &rows,
    );
    assert_eq!(db.one("SELECT count(*) FROM parts"), "199");
    assert_eq!(db.rows(DEAD), ["77|79|refused|-|P0001"]);
}

#[test]
fn rows_appended_without_a_key_are_found_by_their_line() {
    let mut rows = parts(3_000);
    rows[1_234][2] = Value::Int(-1);
    let (db, _) = fill(
        OnConflict::Append,
        "ALTER TABLE parts ADD CHECK (amount >= 0)",
        &rows,
    );
    assert_eq!(db.one("SELECT count(*) FROM parts"), "2999");
    assert_eq!(db.rows(DEAD), ["1234|1236|refused|-|23514"]);
}

#[test]
fn where_the_winner_of_a_key_is_refused_the_record_before_it_counts() {
    let row = |id, amount| vec![Value::Int(id), Value::Null, Value::Int(amount)];
    let rows = [
        row(1, 10),
        row(2, 5),
        row(1, 20),
        row(1, -1),
        row(2, -1),
        row(3, -1),
    ];
    let (db, _) = fill(
        OnConflict::Update,
        "ALTER TABLE parts ADD CHECK (amount >= 0)",
        &rows,
    );
    assert_eq!(
        db.rows("SELECT id, amount FROM parts ORDER BY 1"),
        ["1|20", "2|5"]
    );
    assert_eq!(
        db.one("SELECT rows, superseded, dead FROM bekk.offsets"),
        "2|1|3"
    );
}

#[test]
fn one_bad_record_alone_is_a_dead_letter_and_a_table_that_refuses_all_is_an_error() {
    let (mut db, log, stream) = opened(stream_of("parts", "id int8"));
    db.execute("CREATE TABLE parts (id bigint PRIMARY KEY CHECK (id >= 0))");
    log.append(&stream, 0, &[vec![Value::Int(-1)]]);
    assert_eq!(drain(&db, &log, &stream).unwrap().dead, 1);

    let rows: Vec<_> = (1..500).map(|id| vec![Value::Int(-id)]).collect();
    log.append(&stream, 0, &rows);
    let error = drain(&db, &log, &stream).unwrap_err();
    assert_matches!(&error, Error::EveryRecordRefused { records: 499, .. });
    assert!(error.to_string().contains("parts_id_check"), "{error}");
    // Nothing of it has been applied, and a corrected table continues.
    assert_eq!(db.one("SELECT next FROM bekk.offsets"), "1");
    db.execute("ALTER TABLE parts DROP CONSTRAINT parts_id_check");
    assert_eq!(drain(&db, &log, &stream).unwrap().rows, 499);
    assert_exact(&db, &log.client, "bekk", &stream);
}

#[test]
fn a_batch_that_times_out_is_halved() {
    let (mut db, log, stream) = opened(stream_of("slow", "id int8"));
    db.execute(
        "CREATE TABLE slow (id bigint PRIMARY KEY);
         CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(0.01); RETURN new; END $$;
         CREATE TRIGGER slowly BEFORE INSERT ON slow FOR EACH ROW EXECUTE FUNCTION slowly()",
    );
    let rows: Vec<_> = (0..100).map(|id| vec![Value::Int(id)]).collect();
    log.append(&stream, 0, &rows);
    let mut config = Config::new(db.options.clone());
    config.postgres.options = Some("-c statement_timeout=400ms".to_owned());
    let summary = drain_with(&config, &log, &stream).unwrap();
    assert_eq!((summary.rows, summary.dead), (100, 0));
    assert_exact(&db, &log.client, "bekk", &stream);
}

#[test]
fn a_replay_finds_its_dead_letters_again() {
    let (mut db, log, stream) = opened(stream_of("parts", "id int8"));
    db.execute("CREATE TABLE parts (id bigint PRIMARY KEY CHECK (id >= 0))");
    log.append(&stream, 0, &[vec![Value::Int(-1)], vec![Value::Int(1)]]);
    drain(&db, &log, &stream).unwrap();
    db.execute(
        "UPDATE bekk.dead_letters SET resolved_at = now(); UPDATE bekk.offsets SET next = 0",
    );
    let again = drain(&db, &log, &stream).unwrap();
    assert_eq!((again.rows, again.superseded, again.dead), (0, 1, 1));
    assert_eq!(
        db.one("SELECT count(*), count(resolved_at) FROM bekk.dead_letters"),
        "1|1"
    );
}

/// The accident: each tenth record is refused. What has been sent is not sent again for each of them.
#[test]
fn many_refused_records_are_found_by_few_bytes() {
    const RECORDS: i64 = 10_000;
    for on_conflict in [OnConflict::Append, OnConflict::Update] {
        let (mut db, log) = (Db::new(), Log::new());
        let mut stream = two_columns();
        stream.on_conflict = on_conflict;
        if on_conflict == OnConflict::Append {
            stream.key.clear();
        }
        db.execute("CREATE TABLE items (id int8 PRIMARY KEY, name text, CHECK (id % 10 <> 3))");
        log.open_stream(&stream);
        let rows: Vec<_> = (0..RECORDS)
            .map(|id| {
                vec![
                    Value::Int(id),
                    text("a name of some sixty bytes, so that rows take more than requests"),
                ]
            })
            .collect();
        log.append(&stream, 0, &rows);
        let (proxy, plan) = (Proxy::new(&db.options), Plan::new(None));
        proxy.set(&plan);
        let summary = drain_with(&Config::new(proxy.options(&db.options)), &log, &stream).unwrap();
        assert_eq!(summary.dead, RECORDS.unsigned_abs() / 10);
        assert_exact(&db, &log.client, "bekk", &stream);
        let sent = plan.bytes();
        assert!(sent < 8_000_000, "{on_conflict:?}: {sent} bytes");
    }
}

/// The accident: somebody has made a trigger on bekk.dead_letters that leaves out what is of no interest to them.
#[test]
fn a_letter_that_a_trigger_leaves_out_stops_the_sink() {
    let (mut db, log, stream) = opened(two_columns());
    let row = |id| vec![Value::Int(id), text("x")];
    log.append(&stream, 0, &[row(1)]);
    drain(&db, &log, &stream).unwrap();
    db.execute(
        "ALTER TABLE items ADD CONSTRAINT small CHECK (id < 10);
         CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER filter BEFORE INSERT OR UPDATE ON bekk.dead_letters
             FOR EACH ROW EXECUTE FUNCTION leave_out()",
    );
    log.append(&stream, 0, &[row(2), row(10), row(3)]);
    let error = drain(&db, &log, &stream).unwrap_err();
    assert_matches!(error, Error::LettersLeftOut);
    assert_eq!(db.one("SELECT next FROM bekk.offsets"), "1");
    db.execute("ALTER TABLE bekk.dead_letters DISABLE TRIGGER filter");
    assert_eq!(drain(&db, &log, &stream).unwrap().dead, 1);
    assert_exact(&db, &log.client, "bekk", &stream);

    // A retry, whose letter would stay open although its row is there.
    db.execute(
        "ALTER TABLE items DROP CONSTRAINT small; ALTER TABLE bekk.dead_letters ENABLE TRIGGER filter",
    );
    let refused = refused_retry(&db, &log, &stream);
    assert_matches!(refused, Error::LettersLeftOut);
    assert_eq!(db.one("SELECT count(*) FROM items"), "3");
}
