//! Columns of many types, and such that are no fields, from the files to the table and back through every command.

use std::fs;

use crate::support::Sandbox;

const CONFIG: &str = r#"
[streams.t]
files = ["in/**/*.csv"]
key = ["hash"]
csv = { delimiter = ";" }
columns = [
  { name = "hash", type = "uuid", source = "row_hash" },
  { name = "address", type = "pg:inet" },
  { name = "mood", type = "pg:mood", nullable = true },
  { name = "tags", type = "pg:text[]", nullable = true },
  { name = "at", type = "time", format = "%I:%M %p", nullable = true },
  { name = "n", type = "numeric", nullable = true },
  { name = "price", type = "decimal(12,2)", decimal = ",", strip = [".", "€", "()"], nullable = true },
  { name = "file", type = "text", source = "file_name" },
  { name = "dt", type = "date", source = "directory:dt" },
]
"#;

#[test]
fn every_command_knows_every_column() {
    let sandbox = Sandbox::new();
    let postgres = sandbox.postgres();
    postgres.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')");
    sandbox.write("bekk.toml", CONFIG);
    fs::create_dir_all(sandbox.path("in/dt=2026-01-31")).unwrap();
    let long = "1".repeat(60);
    sandbox.write(
        "in/dt=2026-01-31/a.csv",
        format!(
            "address;mood;tags;at;n;price\n\
             10.0.0.1;glad;{{a,b}};12:05 AM;{long}.50;1.234,50 €\n\
             10.0.0.2;;\"\";12:00 PM;0;(5)\n\
             10.0.0.999;sad;;;;\n\
             10.0.0.3;angry;;;;\n\
             10.0.0.4;;;;;1.23\n"
        ),
    );
    // What only PostgreSQL can tell is not known before.
    let says = |arguments: &[&str], part: &str| {
        let ran = sandbox.run(arguments);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains(part), "{arguments:?}: {said}");
    };
    says(&["check", "--files"], "`1.23` has marks");
    sandbox.run("up --once");
    let rows = || {
        let columns = "address, mood, tags, at, n, price, file, dt";
        let rows = postgres.rows(&format!("SELECT {columns} FROM t ORDER BY address"));
        rows.iter().map(|row| row.join("|")).collect::<Vec<_>>()
    };
    let first = format!("10.0.0.1|glad|{{a,b}}|00:05:00|{long}.50|1234.50|a.csv|2026-01-31");
    let second = "10.0.0.2|∅|∅|12:00:00|0|-5.00|a.csv|2026-01-31";
    assert_eq!(rows(), [first.as_str(), second]);
    assert_eq!(
        postgres.number("SELECT count(*) FROM bekk.dead_letters WHERE resolution IS NULL"),
        3
    );
    says(&["dead-letters", "list"], "10.0.0.999");
    // The label is made, and the letter is a row by its own text.
    postgres.execute("ALTER TYPE mood ADD VALUE 'angry'");
    says(
        &["dead-letters", "retry", "--all"],
        "1 retried, 0 superseded",
    );
    assert_eq!(rows().len(), 3);
    assert!(rows()[2].starts_with("10.0.0.3|angry|"), "{:?}", rows());
    says(&["log", "read"], &format!("{long}.50"));
    says(
        &["audit", "--deep"],
        "3 rows of the table: 0 missing, 0 changed, 0 extra",
    );
    sandbox.ok("check");
}

/// The accident: a column gets another name in the configuration and the table, and the log is applied again. The values have
/// the former name in the log, so that the new column loses them: a warning says so, also before records that wait.
#[test]
fn a_column_with_another_name_lacks_the_values_of_the_log() {
    const OLD: &str = "{ name = \"note\", type = \"text\", nullable = true }";
    const LACKS: &str = "have a value for `note`, which is not written, and none for `remark`";
    let config = |columns: &str| {
        format!(
            "[streams.items]\nfiles = [\"data/*.csv\"]\nkey = \"id\"\n\
             columns = [{{ name = \"id\", type = \"int8\" }}, {columns}]\n"
        )
    };
    let sandbox = Sandbox::new();
    sandbox.write("bekk.toml", config(OLD));
    sandbox.write("data/a.csv", "id,note\n1,a\n2,b\n");
    sandbox.ok("up --once");
    let postgres = sandbox.postgres();
    postgres.execute("ALTER TABLE items RENAME COLUMN note TO remark");
    let renamed = OLD.replace("\"note\"", "\"remark\", header = \"note\"");
    sandbox.write("bekk.toml", config(&renamed));
    let replay = sandbox.ok("replay --from earliest --execute");
    replay.says(LACKS).says("bekk ingest reread FILE");
    assert_eq!(postgres.number("SELECT count(remark) FROM items"), 0);
    sandbox.ok("ingest reread data/a.csv --execute");
    let up = sandbox.ok("up --once");
    assert!(!up.stderr.contains(LACKS), "{}", up.stderr);
    assert_eq!(postgres.number("SELECT count(remark) FROM items"), 2);

    // A column that is dropped, and one of another type that is added, are two.
    postgres.execute("ALTER TABLE items ADD COLUMN n int8");
    let other = "{ name = \"n\", type = \"int8\", nullable = true }";
    sandbox.write("bekk.toml", config(other));
    let replay = sandbox.ok("replay --from earliest --execute");
    assert!(
        !replay.stderr.contains("is not written"),
        "{}",
        replay.stderr
    );
}

/// The table exists, with types that only the database knows: the stream gets them from it, and what they refuse is said.
#[test]
fn init_takes_the_types_of_a_table() {
    let sandbox = Sandbox::new();
    let postgres = sandbox.postgres();
    postgres.execute(
        "CREATE SCHEMA net;
         CREATE DOMAIN net.port AS int CHECK (VALUE BETWEEN 1 AND 65535);
         CREATE TABLE net.hosts (id int PRIMARY KEY, address inet NOT NULL, mac macaddr, port net.port, seen tstzrange,
             tags text[], price numeric(8,2), day date, no bigint GENERATED ALWAYS AS IDENTITY, note text DEFAULT 'n')",
    );
    sandbox.write(
        "hosts.csv",
        "id,address,mac,port,seen,tags,price,day\n\
         1,10.0.0.1/8,08:00:2b:01:02:03,80,\"[2026-01-01 00:00+00,2026-01-02 00:00+00)\",\"{a,\"\"b c\"\"}\",1.50,31.01.2026\n\
         2,::1,,,,,,\n\
         3,10.0.0.3,,99999,,,,\n\
         4,10.0.0.4,08:00,,,,,\n\
         5,,,,,,,\n",
    );
    let init = ["init", "--from", "hosts.csv", "--table", "net.hosts"];
    sandbox.ok(&init);
    let config = fs::read_to_string(sandbox.path("bekk.toml")).unwrap();
    for part in [
        "table = \"net.hosts\"",
        "key = [\"id\"]   # the table's primary key",
        "name = \"id\", type = \"int4\"",
        "name = \"address\", type = \"pg:inet\"",
        "name = \"port\", type = \"pg:net.port\", nullable = true",
        "type = \"pg:text[]\"",
        "type = \"date\", format = \"%d.%m.%Y\"",
        "# 1 of the first 5 records would be rejected:",
    ] {
        assert!(config.contains(part), "`{part}` is not in: {config}");
    }
    sandbox.run("up --once");
    let rows = postgres
        .rows("SELECT id, address, tags, price, day, no > 0, note FROM net.hosts ORDER BY id");
    let rows: Vec<String> = rows.iter().map(|row| row.join("|")).collect();
    let first = "1|10.0.0.1/8|{a,\"b c\"}|1.50|2026-01-31|t|n";
    assert_eq!(rows, [first, "2|::1|∅|∅|∅|t|n"]);
    let reasons = postgres.rows("SELECT reason FROM bekk.dead_letters ORDER BY id");
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    let audit = sandbox.ok("audit --deep").stdout;
    assert!(audit.contains("0 missing, 0 changed, 0 extra"), "{audit}");
    postgres.execute("CREATE TABLE at (day date, host inet, n int, PRIMARY KEY (day, host))");
    sandbox.write("at.csv", "host,n,day\n10.0.0.1,1,2026-01-31\n");
    let add = ["init", "--from", "at.csv", "--table", "at", "--add"];
    sandbox.ok(&add);
    let config = fs::read_to_string(sandbox.path("bekk.toml")).unwrap();
    // Texts that differ may be one address, so all records of a key go one way.
    let key = "key = [\"day\", \"host\"]   # the table's primary key";
    assert!(
        config.contains(key) && config.contains("partitions = 1"),
        "{config}"
    );
    sandbox.run("up --once");
    assert_eq!(postgres.number("SELECT count(*) FROM at"), 1);
    // Names of columns and types that need quotes.
    postgres.execute(
        "CREATE DOMAIN \"Odd Type\" AS int;
         CREATE TABLE odd (\"ID\" int PRIMARY KEY, \"Unit Price\" numeric NOT NULL, \"order\" \"Odd Type\")",
    );
    sandbox.write("odd.csv", "Id,unit price,order\n1,1.50,7\n");
    sandbox.ok("init --from odd.csv --table odd --add");
    sandbox.run("up --once");
    let row = postgres.one("SELECT concat_ws('|', \"ID\", \"Unit Price\", \"order\") FROM odd");
    assert_eq!(row, "1|1.50|7");
    sandbox.refuses(
        "init --from hosts.csv --table no --force",
        "it does not exist",
    );
}
