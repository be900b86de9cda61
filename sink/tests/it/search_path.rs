//! Names in triggers, defaults and operators: they mean what the role's own `search_path` has.

use bekk_sink::diff_tables;
use bekk_stream::{ColumnType, TableName};

use crate::harness::{Db, Log, column, drain, stream, text, two_columns};
use crate::strangers::append;

#[test]
fn triggers_and_defaults_find_what_the_roles_path_has() {
    let (mut db, log) = (Db::new(), Log::new());
    let stream = two_columns();
    log.open_stream(&stream);
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
    let (mut db, log) = (Db::new(), Log::new());
    db.execute("CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext");
    db.execute("CREATE TABLE items (id ext.citext PRIMARY KEY, name text)");
    let items = stream(
        "items",
        vec![
            column("id", ColumnType::Text),
            column("name", ColumnType::Text),
        ],
    );
    log.open_stream(&items);
    for (id, name) in [("a", "one"), ("A", "two"), ("A", "two")] {
        log.append(&items, 0, &[vec![text(id), text(name)]]);
        drain(&db, &log, &items).unwrap();
    }
    assert_eq!(db.rows("SELECT id, name FROM items"), ["a|two"]);
    db.execute(
        "CREATE TABLE items_2 (LIKE items INCLUDING ALL); INSERT INTO items_2 VALUES ('A', 'two')",
    );
    let table = |name: &str| TableName {
        schema: None,
        name: name.to_owned(),
    };
    let difference = diff_tables(&db.options, &items, &table("items"), &table("items_2")).unwrap();
    // The keys are equal, though they are written in different ways.
    assert_eq!(
        (difference.added.rows, difference.missing.rows),
        (0, 0),
        "{difference:?}"
    );
}
