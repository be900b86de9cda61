//! Names in triggers, defaults and operators: they mean what the role's own `search_path` has.

use bekk_sink::{Config, Control, Error, Retried, What, audit_content, diff_tables};
use bekk_stream::TableName;
use bekk_testing::assert_matches;

use crate::harness::{
    Db, assert_exact, drain, opened, refused_retry, retry, rows, run_while, stream_of, text,
    two_columns, until,
};
use crate::identity::filled;
use crate::strangers::append;

#[test]
fn triggers_and_defaults_find_what_the_roles_path_has() {
    let (mut db, log, stream) = opened(two_columns());
    // Neither names a schema, and the trigger also changes the path for the session.
    db.execute(
        "CREATE TABLE audit (id int8);
         CREATE FUNCTION label(int8) RETURNS text LANGUAGE sql AS 'SELECT ''n'' || $1';
         CREATE FUNCTION made() RETURNS text LANGUAGE sql AS 'SELECT label(count(*)) FROM audit';
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO audit VALUES (new.id);
             PERFORM set_config('search_path', 'audit_elsewhere, public', false);
             RETURN new; END $$;
         CREATE TABLE items (id int8 PRIMARY KEY, name text, made text DEFAULT made());
         CREATE TRIGGER note BEFORE INSERT OR UPDATE ON items FOR EACH ROW EXECUTE FUNCTION note()",
    );
    // The first by COPY, the second by merging, the third alone behind one that is refused.
    append(&log, &stream, &[(1, "one")]);
    drain(&db, &log, &stream).unwrap();
    append(&log, &stream, &[(1, "again"), (2, "two")]);
    drain(&db, &log, &stream).unwrap();
    db.execute("ALTER TABLE items ADD CHECK (name <> 'bad')");
    append(&log, &stream, &[(3, "bad"), (4, "four")]);
    let summary = drain(&db, &log, &stream).unwrap();
    assert_eq!((summary.rows, summary.dead), (1, 1));
    assert_eq!(
        db.rows("SELECT name FROM items ORDER BY id"),
        ["again", "two", "four"]
    );
    assert_eq!(
        db.rows("SELECT id FROM audit ORDER BY 1"),
        ["1", "1", "1", "2", "4"]
    );

    // The default of a column that the records do not have calls a function that calls another.
    let letters = bekk_sink::count_letters(&db.options).unwrap();
    assert_eq!(letters[0].reason, "refused");
    assert_eq!(db.one("SELECT made FROM items WHERE id = 4"), "n4");
}

#[test]
fn a_case_insensitive_key_is_compared_as_its_type_compares() {
    let (mut db, log, items) = opened(stream_of("items", "id text, name text"));
    db.execute("CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext");
    db.execute("CREATE TABLE items (id ext.citext PRIMARY KEY, name text)");
    for (id, name) in [("a", "one"), ("A", "two"), ("A", "two")] {
        log.append(&items, 0, &[vec![text(id), text(name)]]);
        drain(&db, &log, &items).unwrap();
    }
    assert_eq!(db.rows("SELECT id, name FROM items"), ["a|two"]);
    db.execute(
        "CREATE TABLE items_2 (LIKE items INCLUDING ALL); INSERT INTO items_2 VALUES ('A', 'two')",
    );
    let table = |name| TableName::parse(name).unwrap();
    let difference = diff_tables(&db.options, &items, &table("items"), &table("items_2")).unwrap();
    // The keys are equal, though they are written in different ways.
    assert_eq!(
        (difference.added.rows, difference.missing.rows),
        (0, 0),
        "{difference:?}"
    );
}

/// The accident: the role's search path changes between two runs, and the table's name without a schema means another
/// table, which is filled as the group's own would be.
#[test]
fn a_changed_search_path_leads_to_no_other_table() {
    let stream = two_columns();
    let (mut db, log) = filled(&stream, 10);
    db.execute(
        "CREATE SCHEMA other;
         CREATE TABLE other.items AS SELECT id, 'of the other'::text AS name FROM items WHERE id < 5;
         ALTER TABLE other.items ADD PRIMARY KEY (id)",
    );
    let database = db.options.dbname.clone().unwrap();
    let set_path = |db: &mut Db, path: &str| {
        db.execute(&format!(
            "ALTER ROLE CURRENT_USER IN DATABASE {database} SET search_path = {path}"
        ));
        db.reconnect();
    };
    // Other tests use the role in their databases.
    set_path(&mut db, "other, public");
    log.append(&stream, 0, &rows(10..15, "second"));
    let is_refused = |what: &str, error: Error| {
        let text = error.to_string();
        assert_matches!(error, Error::OtherTarget { .. }, "{what}: {text}");
        assert!(
            text.contains("the group fills table `public.items`")
                && text.contains("finds `other.items`")
                && text.contains("write table = \"public.items\""),
            "{what}: {text}"
        );
    };
    let ask = |db: &Db| {
        is_refused("sink", drain(db, &log, &stream).unwrap_err());
        let dir = tempfile::TempDir::new().unwrap();
        let audit = audit_content(&db.options, &log.client, "bekk", &stream, dir.path());
        is_refused("audit", audit.unwrap_err());
        let what = What::Key("3".to_owned());
        let traced = bekk_sink::trace(&db.options, &log.client, "bekk", &stream, &what);
        is_refused("trace", traced.unwrap_err());
        let faults =
            bekk_sink::table_faults(&db.options, ("bekk", None), std::slice::from_ref(&stream));
        assert!(faults.unwrap()[0].what.contains("finds `other.items`"));
    };
    ask(&db);
    // A person has decided about the table that the group fills, and nothing has been applied since.
    set_path(&mut db, "public");
    bekk_sink::adopt(&db.options, "bekk", std::slice::from_ref(&stream)).unwrap();
    set_path(&mut db, "other, public");
    ask(&db);
    assert_eq!(db.one("SELECT count(*) FROM other.items"), "5");

    let mut named = stream.clone();
    named.table.schema = Some("public".to_owned());
    drain(&db, &log, &named).unwrap();
    assert_eq!(db.one("SELECT count(*) FROM public.items"), "15");
    assert_exact(&db, &log.client, "bekk", &named);
}

/// The accident: the role's search path changes while the sink runs, which then connects again.
#[test]
fn a_running_sink_keeps_its_table_when_the_search_path_changes() {
    let stream = two_columns();
    let (mut db, log) = filled(&stream, 10);
    db.execute("CREATE SCHEMA other; CREATE TABLE other.items (id int8 PRIMARY KEY, name text)");
    let config = Config::new(db.options.clone());
    run_while(&config, &log, &stream, Control::stop, |stats| {
        until("it holds the partition", || {
            stats.positions().iter().any(|position| position.held)
        });
        let database = db.options.dbname.clone().unwrap();
        db.execute(&format!(
            "ALTER ROLE CURRENT_USER IN DATABASE {database} SET search_path = other, public"
        ));
        db.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        log.append(&stream, 0, &rows(10..20, "second"));
        db.await_one("SELECT count(*) FROM public.items", "20");
    });
    assert_eq!(db.one("SELECT count(*) FROM other.items"), "0");
}

/// The accident: the group's table gets another name, and a new table gets its name; a dead letter is retried.
#[test]
fn a_dead_letter_goes_into_the_groups_table_only() {
    let stream = two_columns();
    let (mut db, log) = filled(&stream, 10);
    db.execute("ALTER TABLE items ADD CONSTRAINT small CHECK (id < 10)");
    log.append(&stream, 0, &rows(9..11, "second"));
    assert_eq!(drain(&db, &log, &stream).unwrap().dead, 1);
    db.execute(
        "ALTER TABLE items DROP CONSTRAINT small;
         ALTER TABLE items RENAME TO items_old; CREATE TABLE items (id int8 PRIMARY KEY, name text)",
    );
    assert_eq!(retry(&db, &log, &stream), [Retried::Landed]);
    assert_eq!(db.one("SELECT count(*) FROM items_old"), "11");
    assert_eq!(db.one("SELECT count(*) FROM items"), "0");

    // The table is gone, and another has its name: its rows are not those that the offsets speak of.
    db.execute(
        "UPDATE bekk.dead_letters SET resolved_at = NULL, resolution = NULL; DROP TABLE items_old",
    );
    for made in ["SELECT", "DROP TABLE items"] {
        db.execute(made);
        let error = refused_retry(&db, &log, &stream);
        assert_matches!(error, Error::OtherTarget { .. });
    }
    assert_eq!(db.one("SELECT to_regclass('items') IS NULL"), "t");
}
