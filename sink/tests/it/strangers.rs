//! Other roles of the same database: whatever they prepare there, none of it runs with the rights of Bekk's role.
//!
//! Each trap here makes its owner a superuser if it is ever run by one, which Bekk's role is.

use std::sync::atomic::{AtomicU32, Ordering};

use bekk_sink::{Error, check, diff_tables, list_offsets};
use bekk_stream::{TableName, Value};
use bekk_testing::assert_matches;

use crate::harness::{Db, Log, assert_says, drain, opened, stream_of, text, two_columns, until};

/// A role without rights, and the body of a function that would give it all of them.
pub(crate) struct Stranger {
    pub(crate) role: String,
    take_over: String,
}

impl Stranger {
    pub(crate) fn new(db: &mut Db) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let role = format!("stranger_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        db.execute(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'word'; GRANT CREATE ON SCHEMA public TO PUBLIC"
        ));
        let take_over = format!(
            "IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
                 EXECUTE 'ALTER ROLE {role} SUPERUSER'; END IF"
        );
        Self { role, take_over }
    }

    /// Does something as this role.
    fn execute(&self, db: &mut Db, sql: &str) {
        db.execute(&format!("SET ROLE {}; {sql}; RESET ROLE", self.role));
    }

    fn is_superuser(&self, db: &Db) -> bool {
        let sql = format!(
            "SELECT rolsuper FROM pg_roles WHERE rolname = '{}'",
            self.role
        );
        db.one(&sql) == "t"
    }
}

pub(crate) fn append(log: &Log, stream: &bekk_stream::Stream, rows: &[(i64, &'static str)]) {
    let rows: Vec<_> = rows
        .iter()
        .map(|(id, name)| vec![Value::Int(*id), text(name)])
        .collect();
    log.append(stream, 0, &rows);
}

#[test]
fn functions_and_operators_in_public_are_not_called() {
    let (mut db, log) = (Db::new(), Log::new());
    let stranger = Stranger::new(&mut db);
    let body = &stranger.take_over;
    // Each fits better than PostgreSQL's own what an unqualified call with these types means.
    let mut traps = format!(
        "CREATE FUNCTION public.quote_ident(name) RETURNS text LANGUAGE plpgsql AS $$ BEGIN {body};
             RETURN pg_catalog.quote_ident($1::text); END $$;
         CREATE FUNCTION public.starts_with(text, varchar) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN {body};
             RETURN true; END $$;
         CREATE FUNCTION public.concat_ws(text, varchar) RETURNS text LANGUAGE plpgsql AS $$ BEGIN {body};
             RETURN $2; END $$;"
    );
    for (name, operator) in [
        ("equal", "="),
        ("not_less", ">="),
        ("less", "<"),
        ("greater", ">"),
    ] {
        traps.push_str(&format!(
            "CREATE FUNCTION public.{name}(varchar, varchar) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN {body};
                 RETURN true; END $$;
             CREATE OPERATOR public.{operator} (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.{name});"
        ));
    }
    stranger.execute(&mut db, &traps);
    db.execute("CREATE TABLE items (id varchar(20) PRIMARY KEY, name varchar(20), at varchar(20))");
    db.execute("CREATE TABLE items_2 (LIKE items INCLUDING ALL)");
    let mut items = stream_of("items", "id text, name text, at text");
    items.newer_by = Some("at".to_owned());
    log.open_stream(&items);
    for at in ["1", "2"] {
        let rows = [vec![text("a"), text(at), text(at)]];
        log.append(&items, 0, &rows);
        drain(&db, &log, &items).unwrap();
        assert!(!stranger.is_superuser(&db), "when row {at} was applied");
    }
    assert_eq!(db.rows("SELECT id, name, at FROM items"), ["a|2|2"]);
    check(&db.options, std::slice::from_ref(&items)).unwrap();
    list_offsets(&db.options).unwrap();
    let table = |name| TableName::parse(name).unwrap();
    let difference = diff_tables(&db.options, &items, &table("items"), &table("items_2")).unwrap();
    assert_eq!(difference.missing.keys, ["a"]);
    assert!(!stranger.is_superuser(&db));
}

#[test]
fn a_schema_of_another_role_is_refused_by_name() {
    let (mut db, log, stream) = opened(two_columns());
    let stranger = Stranger::new(&mut db);
    let role = &stranger.role;
    db.execute(&format!("CREATE SCHEMA bekk AUTHORIZATION {role}"));
    let refused = |result: Result<(), Error>, what: &str| {
        let text = result.unwrap_err().to_string();
        assert!(text.contains(what) && text.contains(role), "{text}");
    };
    let all = |what: &str| {
        refused(drain(&db, &log, &stream).map(drop), what);
        refused(
            check(&db.options, std::slice::from_ref(&stream)).map(drop),
            what,
        );
        refused(list_offsets(&db.options).map(drop), what);
        refused(bekk_sink::count_letters(&db.options).map(drop), what);
    };
    all("schema bekk");

    db.execute("ALTER SCHEMA bekk OWNER TO CURRENT_USER");
    drain(&db, &log, &stream).unwrap();
    db.execute(&format!("ALTER TABLE bekk.offsets OWNER TO {role}"));
    let all = |what: &str| {
        refused(drain(&db, &log, &stream).map(drop), what);
        refused(list_offsets(&db.options).map(drop), what);
    };
    all("table bekk.offsets");

    // Handed over, and the trigger that was laid before continues.
    db.execute(&format!(
        "CREATE FUNCTION public.trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {}; RETURN new; END $$;
         ALTER FUNCTION public.trap() OWNER TO {role};
         CREATE TRIGGER trap BEFORE UPDATE ON bekk.offsets FOR EACH ROW EXECUTE FUNCTION public.trap();
         ALTER TABLE bekk.offsets OWNER TO CURRENT_USER",
        stranger.take_over
    ));
    append(&log, &stream, &[(1, "one")]);
    refused(
        drain(&db, &log, &stream).map(drop),
        "function public.trap()",
    );
    assert!(!stranger.is_superuser(&db));
    db.execute("DROP FUNCTION public.trap() CASCADE");
    drain(&db, &log, &stream).unwrap();
    assert_eq!(db.rows("SELECT name FROM items"), ["one"]);
}

/// A stranger who may create schemas makes schema `bekk`, with views that run a function, after a session of Bekk's has
/// looked whose it is, and while that session waits for the lock of the set-up.
#[test]
fn a_schema_that_is_made_while_bekk_waits_is_not_read() {
    let (mut db, log, items) = opened(two_columns());
    let stranger = Stranger::new(&mut db);
    let streams = std::slice::from_ref(&items);
    let database = db.options.dbname.clone().unwrap();
    db.execute(&format!("GRANT CREATE ON DATABASE {database} TO PUBLIC"));
    let traps = format!(
        "CREATE SCHEMA bekk;
         CREATE FUNCTION bekk.trap() RETURNS int LANGUAGE plpgsql AS $$ BEGIN {}; RETURN 5; END $$;
         CREATE VIEW bekk.migrations AS SELECT bekk.trap() AS version, 'x' AS name, now() AS applied_at;
         CREATE VIEW bekk.offsets AS SELECT bekk.trap() AS next, 'x' AS group_name;
         CREATE VIEW bekk.groups AS SELECT bekk.trap() AS table_oid, 'x' AS group_name",
        stranger.take_over
    );
    let options = db.options.clone();
    let starts: [&(dyn Fn() -> Result<(), Error> + Sync); 3] = [
        &|| drain(&Db::connect(options.clone()), &log, &items).map(drop),
        &|| bekk_sink::repair_schema(&options).map(drop),
        &|| bekk_sink::adopt(&options, "default", streams).map(drop),
    ];
    for (at, start) in starts.into_iter().enumerate() {
        db.execute("BEGIN; SELECT pg_advisory_xact_lock(1650814827)");
        let error = std::thread::scope(|scope| {
            let waits = scope.spawn(start);
            until("it waits", || {
                let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
                db.one(waiting) == "1"
            });
            stranger.execute(&mut db, &traps);
            db.execute("COMMIT");
            waits.join().unwrap().unwrap_err()
        });
        assert!(!stranger.is_superuser(&db), "start {at}");
        assert_matches!(error, Error::ForeignObject { .. }, "{at}");
        db.execute("DROP SCHEMA bekk CASCADE");
    }
}

/// Each was laid by a role that owned schema `bekk` once, and stays when a superuser takes the schema over.
#[test]
fn what_bekks_tables_run_of_another_role_is_refused() {
    let (mut db, log, stream) = opened(two_columns());
    let stranger = Stranger::new(&mut db);
    drain(&db, &log, &stream).unwrap();
    let role = &stranger.role;
    stranger.execute(
        &mut db,
        &format!(
            "CREATE FUNCTION public.trap() RETURNS text LANGUAGE plpgsql AS $$ BEGIN {0}; RETURN 'x'; END $$;
             CREATE FUNCTION public.hook() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {0}; RETURN new; END $$;
             CREATE FUNCTION public.same(text, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN {0}; RETURN true; END $$;
             CREATE OPERATOR public.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = public.same);
             CREATE DOMAIN public.noted AS text CHECK (VALUE <> 'y')",
            stranger.take_over
        ),
    );
    for (prepare, undo, object) in [
        (
            "CREATE RULE trap AS ON UPDATE TO bekk.offsets DO ALSO SELECT public.trap()",
            "DROP RULE trap ON bekk.offsets",
            "function public.trap()",
        ),
        (
            "ALTER TABLE bekk.dead_letters ALTER COLUMN detail SET DEFAULT public.trap()",
            "ALTER TABLE bekk.dead_letters ALTER COLUMN detail DROP DEFAULT",
            "function public.trap()",
        ),
        (
            "ALTER TABLE bekk.offsets ADD CONSTRAINT trap CHECK (public.trap() = 'x') NOT VALID",
            "ALTER TABLE bekk.offsets DROP CONSTRAINT trap",
            "function public.trap()",
        ),
        (
            "ALTER TABLE bekk.offsets ADD CONSTRAINT trap CHECK (topic OPERATOR(public.===) 'x') NOT VALID",
            "ALTER TABLE bekk.offsets DROP CONSTRAINT trap",
            "function public.same(text,text)",
        ),
        (
            "ALTER TABLE bekk.offsets ENABLE ROW LEVEL SECURITY;
             CREATE POLICY trap ON bekk.offsets USING (public.trap() = 'x')",
            "DROP POLICY trap ON bekk.offsets; ALTER TABLE bekk.offsets DISABLE ROW LEVEL SECURITY",
            "function public.trap()",
        ),
        (
            "ALTER TABLE bekk.dead_letters ALTER COLUMN detail TYPE public.noted",
            "ALTER TABLE bekk.dead_letters ALTER COLUMN detail TYPE text",
            "domain public.noted",
        ),
        (
            "CREATE DOMAIN public.ours AS text; ALTER TABLE bekk.groups ADD COLUMN note public.ours;
             ALTER DOMAIN public.ours ADD CHECK (public.trap() = 'x') NOT VALID",
            "ALTER TABLE bekk.groups DROP COLUMN note",
            "function public.trap()",
        ),
        (
            "CREATE TABLE public.heir () INHERITS (bekk.offsets);
             CREATE TRIGGER hook BEFORE UPDATE ON public.heir FOR EACH ROW EXECUTE FUNCTION public.hook()",
            "DROP TABLE public.heir",
            "function public.hook()",
        ),
        (
            "ALTER TABLE bekk.groups RENAME TO groups_2;
             CREATE VIEW bekk.groups AS SELECT *, public.trap() FROM bekk.groups_2",
            "DROP VIEW bekk.groups; ALTER TABLE bekk.groups_2 RENAME TO groups",
            "function public.trap()",
        ),
    ] {
        db.execute(prepare);
        let refused = list_offsets(&db.options).err();
        let error = refused.map_or_else(String::new, |error| error.to_string());
        let is_named = error.contains(object) && error.contains(role.as_str());
        assert!(is_named, "{prepare}: {error}");
        drain(&db, &log, &stream).unwrap_err();
        db.execute(undo);
        list_offsets(&db.options).unwrap();
    }
    assert!(!stranger.is_superuser(&db));

    // The stream's table may have such triggers, and a warning names them.
    db.execute(
        "CREATE TRIGGER hook BEFORE DELETE ON items FOR EACH ROW EXECUTE FUNCTION public.hook()",
    );
    let report = check(&db.options, std::slice::from_ref(&stream)).unwrap();
    let warnings = report.tables[0].warnings.join("\n");
    let is_named = warnings.contains("function public.hook()") && warnings.contains(role.as_str());
    assert!(is_named, "{warnings}");
}

/// Each is the only object of a role that is not trusted. PostgreSQL keeps no list of what its predefined roles own.
#[test]
fn a_single_object_of_a_predefined_role_is_refused() {
    let (mut db, log, stream) = opened(two_columns());
    drain(&db, &log, &stream).unwrap();
    for (prepare, undo, object) in [
        (
            "CREATE FUNCTION trap() RETURNS text LANGUAGE sql AS 'SELECT NULL::text';
             ALTER FUNCTION trap() OWNER TO pg_monitor;
             ALTER TABLE bekk.dead_letters ALTER COLUMN detail SET DEFAULT trap()",
            "DROP FUNCTION trap() CASCADE",
            "function public.trap()",
        ),
        (
            "CREATE DOMAIN noted AS text; ALTER DOMAIN noted OWNER TO pg_monitor;
             ALTER TABLE bekk.dead_letters ALTER COLUMN detail TYPE noted",
            "ALTER TABLE bekk.dead_letters ALTER COLUMN detail TYPE text; DROP DOMAIN noted",
            "domain public.noted",
        ),
        (
            "CREATE OPERATOR === (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq);
             ALTER OPERATOR === (text, text) OWNER TO pg_monitor;
             ALTER TABLE bekk.offsets ADD CONSTRAINT trap CHECK (topic OPERATOR(public.===) topic)",
            "DROP OPERATOR === (text, text) CASCADE",
            "operator public.===(text,text)",
        ),
        (
            "CREATE TABLE heir () INHERITS (bekk.offsets); ALTER TABLE heir OWNER TO pg_monitor",
            "DROP TABLE heir",
            "table public.heir",
        ),
        (
            "ALTER SCHEMA bekk OWNER TO pg_monitor",
            "ALTER SCHEMA bekk OWNER TO CURRENT_USER",
            "schema bekk",
        ),
    ] {
        db.execute(prepare);
        let refused = list_offsets(&db.options).err();
        let error = refused.map_or_else(String::new, |error| error.to_string());
        assert_says(&error, &[object, "pg_monitor"]);
        db.execute(undo);
        list_offsets(&db.options).unwrap();
    }
}

#[test]
fn a_schema_of_a_role_that_ours_belongs_to_is_used() {
    let (mut db, log, stream) = opened(two_columns());
    let stranger = Stranger::new(&mut db);
    append(&log, &stream, &[(1, "one")]);
    let role = &stranger.role;
    let database = db.options.dbname.clone().unwrap();
    // The role that Bekk connects as here: a member of the one that owns the schema, and nothing else.
    db.execute(&format!(
        "CREATE ROLE {role}_sink LOGIN PASSWORD 'word' IN ROLE {role};
         CREATE SCHEMA bekk AUTHORIZATION {role}; GRANT TEMPORARY ON DATABASE {database} TO {role}_sink"
    ));
    let mut options = db.options.clone();
    options.user = Some(format!("{role}_sink"));
    options.password = Some("word".to_owned());
    drain(&Db::connect(options), &log, &stream).unwrap();
    assert_eq!(db.rows("SELECT name FROM items"), ["one"]);
}

#[test]
fn a_table_that_anybody_could_have_prepared_is_refused_unless_it_is_named() {
    let (mut db, log, mut stream) = opened(two_columns());
    let stranger = Stranger::new(&mut db);
    append(&log, &stream, &[(1, "one")]);
    stranger.execute(
        &mut db,
        &format!(
            "CREATE TABLE public.items (id int8 PRIMARY KEY, name text NOT NULL);
             CREATE FUNCTION public.trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {}; RETURN new; END $$;
             CREATE TRIGGER trap BEFORE INSERT ON public.items FOR EACH ROW EXECUTE FUNCTION public.trap()",
            stranger.take_over
        ),
    );
    let error = drain(&db, &log, &stream).unwrap_err().to_string();
    assert!(
        error.contains(&stranger.role) && error.contains("table = \"public.items\""),
        "{error}"
    );
    let report = check(&db.options, std::slice::from_ref(&stream)).unwrap();
    assert_says(&report.tables[0].problems[0], &[&stranger.role]);
    assert!(!stranger.is_superuser(&db));

    // Where only those may create tables who were allowed to, the table of another is one like any other.
    db.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC; DROP FUNCTION public.trap() CASCADE");
    drain(&db, &log, &stream).unwrap();
    db.execute("GRANT CREATE ON SCHEMA public TO PUBLIC");
    stream.table.schema = Some("public".to_owned());
    drain(&db, &log, &stream).unwrap();
    assert_eq!(db.rows("SELECT name FROM items"), ["one"]);
}

/// A stranger has prepared the table where everybody may create tables. PostgreSQL runs a default that does not change when
/// it plans a statement, and a policy when it reads the table: no command goes that far.
#[test]
fn no_command_plans_a_statement_on_a_prepared_table() {
    let (mut db, log, items) = opened(two_columns());
    let stranger = Stranger::new(&mut db);
    // What a sequence has counted stays when the transaction is rolled back.
    stranger.execute(
        &mut db,
        "CREATE SEQUENCE public.runs;
         CREATE FUNCTION public.count_run() RETURNS text LANGUAGE plpgsql AS $$ BEGIN
             IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
                 PERFORM nextval('public.runs'); END IF; RETURN 'x'; END $$;
         CREATE FUNCTION public.constant() RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
             RETURN public.count_run(); END $$;
         CREATE TABLE public.items (id int8 DEFAULT length(public.constant()) PRIMARY KEY, name text,
                                    CONSTRAINT items_name_check CHECK (name <> public.constant()))",
    );
    let runs =
        |db: &Db| db.one("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM public.runs");
    let report = check(&db.options, std::slice::from_ref(&items)).unwrap();
    let problems = report.tables[0].problems.join("\n");
    assert!(problems.contains(&stranger.role), "{problems}");
    assert_eq!(runs(&db), "0", "after the check");
    let dir = tempfile::TempDir::new().unwrap();
    let audit = bekk_sink::audit_content(&db.options, &log.client, "bekk", &items, dir.path());
    let error = audit.unwrap_err();
    assert_matches!(error, Error::PreparedTable(_));
    bekk_sink::tables_with_rows(&db.options, std::slice::from_ref(&items)).unwrap();
    drain(&db, &log, &items).unwrap_err();
    assert_eq!(runs(&db), "0");
}

#[test]
fn a_schema_that_is_called_like_the_role_is_refused_if_it_is_anothers() {
    let (mut db, log, stream) = opened(two_columns());
    let stranger = Stranger::new(&mut db);
    let user = format!("{}_sink", stranger.role);
    let mut options = db.options.clone();
    let database = options.dbname.clone().unwrap();
    options.user = Some(user.clone());
    options.password = Some("word".to_owned());
    db.execute(&format!(
        "CREATE ROLE {user} LOGIN PASSWORD 'word'; GRANT ALL ON DATABASE {database} TO {user};
         CREATE SCHEMA {user} AUTHORIZATION {}; GRANT ALL ON SCHEMA {user} TO PUBLIC",
        stranger.role
    ));
    let theirs = Db::connect(options);
    let error = drain(&theirs, &log, &stream).unwrap_err().to_string();
    assert!(error.contains(&stranger.role), "{error}");
    db.execute(&format!("ALTER SCHEMA {user} OWNER TO {user}"));
    drain(&theirs, &log, &stream).unwrap();
    assert_eq!(
        db.one("SELECT schemaname FROM pg_tables WHERE tablename = 'items'"),
        user
    );
}

#[test]
fn the_rights_that_are_documented_suffice_and_each_that_is_missing_is_named() {
    let (mut db, log, stream) = opened(two_columns());
    let stranger = Stranger::new(&mut db);
    db.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    append(&log, &stream, &[(1, "one")]);
    let database = db.options.dbname.clone().unwrap();
    db.execute(&format!(
        "CREATE TABLE items (id int8 PRIMARY KEY, name text);
         REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC"
    ));
    let mut options = db.options.clone();
    options.user = Some(stranger.role.clone());
    options.password = Some("word".to_owned());
    let theirs = Db::connect(options);
    let report = check(&theirs.options, std::slice::from_ref(&stream)).unwrap();
    assert!(!report.is_good());
    let problems = [report.problems, report.tables[0].problems.clone()].concat();
    for right in ["TEMPORARY", "CREATE", "INSERT"] {
        let is_named = problems.iter().any(|problem| problem.contains(right));
        assert!(is_named, "{right}: {problems:?}");
    }

    // The script as psql would send it.
    let script = include_str!("../../../db/rights.sql")
        .replace(":\"DBNAME\"", &database)
        .replace(":\"role\"", &stranger.role)
        .replace(":\"schema\"", "public")
        .replace(":\"table\"", "items");
    db.execute(&script);
    let report = check(&theirs.options, std::slice::from_ref(&stream)).unwrap();
    assert!(report.is_good(), "{report:?}");
    drain(&theirs, &log, &stream).unwrap();
    append(&log, &stream, &[(1, "again"), (2, "two")]);
    drain(&theirs, &log, &stream).unwrap();
    assert_eq!(
        db.rows("SELECT name FROM items ORDER BY id"),
        ["again", "two"]
    );
}
