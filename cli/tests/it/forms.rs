//! Files as people have them: half written, with a stray quote, other headers, other forms. Nothing goes wrong unsaid.

use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, Instant};

use crate::support::Sandbox;

const HEADER: &str = "id,name,amount\n";
const COLUMNS: &str = r#"[{ name = "id", type = "int8" }, { name = "name", type = "text", nullable = true },
    { name = "amount", type = "decimal(12,2)", nullable = true }]"#;

/// A stream `t` of the files in `in`.
fn sandbox(settings: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("in")).unwrap();
    sandbox.write(
        "bekk.toml",
        format!(
            "[streams.t]\nfiles = [\"in/*\"]\nkey = [\"id\"]\n{settings}\ncolumns = {COLUMNS}\n"
        ),
    );
    sandbox
}

fn amounts(sandbox: &Sandbox) -> Vec<String> {
    let rows = sandbox
        .postgres()
        .rows("SELECT id, amount FROM t ORDER BY id");
    rows.iter().map(|row| row.join("=")).collect()
}

/// A program's buffer ends in the middle of a number: that number is no record while the program has the file open.
#[test]
fn half_a_number_is_no_record() {
    let sandbox = sandbox("");
    let mut file = File::create(sandbox.path("in/a.csv")).unwrap();
    write!(file, "{HEADER}1,Ann,1.00\n2,Bob,12").unwrap();
    sandbox.refuses("up --once", "has the file open for writing");
    assert_eq!(amounts(&sandbox), ["1=1.00"]);
    sandbox.ok("status").prints("without a line end");
    writeln!(file, "34.56").unwrap();
    write!(file, "3,Cid,3.00").unwrap();
    drop(file);
    sandbox.ok("up --once");
    assert_eq!(amounts(&sandbox), ["1=1.00", "2=1234.56", "3=3.00"]);
    // Somebody continues where nobody was to be seen: that is told, as the row may be cut.
    let path = sandbox.path("in/a.csv");
    let mut file = File::options().append(true).open(path).unwrap();
    writeln!(file, "9").unwrap();
    drop(file);
    sandbox.ok("up --once").says("the file has grown since");
}

/// A file that is to be deleted when it is finished is written to still: it stays until its writer closes it.
#[test]
fn a_file_that_is_written_to_is_not_deleted() {
    let sandbox = sandbox("finished = \"delete\"");
    let path = sandbox.path("in/a.csv");
    let mut file = File::create(&path).unwrap();
    writeln!(file, "{HEADER}1,Ann,1.00").unwrap();
    sandbox
        .ok("up --once")
        .says("has the file open for writing");
    assert!(path.exists());
    writeln!(file, "2,Bob,2.00").unwrap();
    drop(file);
    std::thread::sleep(Duration::from_millis(1100));
    sandbox.ok("up --once");
    assert!(!path.exists());
    assert_eq!(amounts(&sandbox), ["1=1.00", "2=2.00"]);
}

/// A record is longer than what its dead letter keeps: the file that has the rest is not deleted.
#[test]
fn a_file_with_bytes_that_are_nowhere_else_stays() {
    let sandbox = sandbox("finished = \"delete\"");
    let long = "x".repeat(100_000);
    sandbox.write(
        "in/a.csv",
        format!("{HEADER}1,{long},no number\n2,Bob,2.00\n"),
    );
    sandbox.ok("up --once").says("stays where it is");
    assert!(sandbox.path("in/a.csv").exists());
    assert_eq!(amounts(&sandbox), ["2=2.00"]);
}

/// A quote that is never closed keeps back the lines behind it while the file may grow, and somebody is told.
#[test]
fn an_open_quote_is_told_of() {
    let sandbox = sandbox("");
    let mut file = File::create(sandbox.path("in/a.csv")).unwrap();
    writeln!(file, "{HEADER}1,\"5 inch,1.00\n2,Bob,2.00").unwrap();
    let process = sandbox.start("ingest");
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let status = sandbox.ok("status");
        if status.stdout.contains("line 2 opens a quote") {
            break;
        }
        assert!(Instant::now() < deadline, "{}", status.stdout);
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(process.terminate(), Some(0));
    drop(file);
    // Nobody can close it now: it costs its line.
    std::thread::sleep(Duration::from_millis(1100));
    sandbox.ok("up --once");
    assert_eq!(amounts(&sandbox), ["2=2.00"]);
}

/// A column is added to the configuration after files that have it were read without it.
#[test]
fn a_file_is_read_again() {
    let sandbox = sandbox("");
    sandbox.write("in/a.csv", "id,name,amount,colour\n1,Ann,1.00,red\n");
    sandbox.ok("up --once").says("`colour`, which no column");
    let config = fs::read_to_string(sandbox.path("bekk.toml")).unwrap();
    let added = config.replace(
        "nullable = true }]",
        "nullable = true }, { name = \"colour\", type = \"text\", nullable = true }]",
    );
    sandbox.write("bekk.toml", added);
    sandbox.postgres().execute("ALTER TABLE t ADD colour text");
    sandbox
        .ok("ingest reread in/a.csv")
        .prints("1 record, 0 of them rejects");
    sandbox.ok("up --once");
    assert_eq!(sandbox.postgres().one("SELECT colour FROM t"), "∅");
    sandbox.ok("ingest reread in/a.csv --execute");
    sandbox.ok("up --once");
    assert_eq!(
        sandbox.postgres().rows("SELECT id, colour FROM t"),
        [["1", "red"]]
    );
}

/// What would be rejected is said before anything is read.
#[test]
fn files_are_tried_before_they_are_read() {
    let sandbox = sandbox("");
    sandbox.write("in/a.csv", format!("{HEADER}1,Ann,1.00\n2,Bob,two\n"));
    sandbox
        .fails("check --offline --files")
        .prints("2 records tried, 1 rejected")
        .prints("`two` is not a number");
    assert!(!sandbox.path(".bekk").exists());
}

/// A pattern that matches nothing is no success.
#[test]
fn no_file_is_no_success() {
    let sandbox = sandbox("");
    sandbox.refuses("up --once", "no file matches any pattern");
    sandbox.ok("up --once --allow-empty");
}

/// Texts in encodings of Windows and of Asia; a byte that is no character makes a reject.
#[test]
fn other_encodings() {
    let sandbox = sandbox("csv = { encoding = \"windows-1252\" }");
    sandbox.write(
        "in/a.csv",
        b"id,name\n1,\x93Zo\xeb\x94 \x96 5\x80\n2,\x81\n",
    );
    sandbox.ok("up --once");
    let postgres = sandbox.postgres();
    assert_eq!(postgres.rows("SELECT name FROM t"), [["“Zoë” – 5€"]]);
    assert_eq!(
        postgres.one("SELECT reason FROM bekk.dead_letters"),
        "bad_encoding"
    );
}

/// Bytes that are written as hexadecimal digits.
fn bytes_of(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    let digits = pairs.map(|pair| std::str::from_utf8(pair).unwrap());
    digits
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

/// One file of each form that is decompressed, and a named pipe, which is not read.
#[test]
fn compressed_files_are_read_and_pipes_are_not() {
    const BZIP2: &str = "425a6839314159265359ffa4defb00000859800010000560002623860020002227a8f51b51e8840000a3b410d4b9591e65c\
        18b3cbf8bb9229c28487fd26f7d80";
    const XZ: &str = "fd377a585a000004e6d6b446020021010c0000008f98419c01001869642c6e616d652c616d6f756e740a322c6e322c312e3030\
        0a00000000811a2fb12b5decb700013119591ab0821fb6f37d010000000004595a";
    const ZIP: &str = "504b0304140000000800d0517b5d746529a11b0000001900000005000000782e637376cb4cd1c94bcc4dd549cccd2fcd2be132\
        d6c933d631d43330e00200504b01021403140000000800d0517b5d746529a11b00000019000000050000000000000000000000800100000000782e63\
        7376504b05060000000001000100330000003e0000000000";
    let sandbox = sandbox("");
    sandbox.write("in/1.bz2", bytes_of(BZIP2));
    sandbox.write("in/2.xz", bytes_of(XZ));
    sandbox.write("in/3.zip", bytes_of(ZIP));
    let text = |id: u32| format!("{HEADER}{id},n,1.00\n");
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    sandbox.write(
        "in/4.zst",
        ruzstd::encoding::compress_to_vec(text(4).as_bytes(), level),
    );
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let padded = [gzip(&text(5)), gzip("6,n,1.00\n"), vec![0; 512]].concat();
    sandbox.write("in/5.gz", padded);
    let pipe = sandbox.path("in/pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let ran = sandbox.fails("up --once");
    ran.says("it is a named pipe (FIFO)")
        .says("bekk up --once -");
    let ids: Vec<String> = (1..7).map(|id| format!("{id}=1.00")).collect();
    assert_eq!(amounts(&sandbox), ids);
}

/// A file has a column that no stream takes, and another lacks one: a person who looks at the output of a run finds each
/// of both once.
#[test]
fn a_run_says_once_what_it_noticed() {
    let sandbox = sandbox("");
    sandbox.write("in/a.csv", "id,name,amount,colour\n1,Ann,1.00,red\n");
    sandbox.write("in/b.csv", "name\nBob\n");
    let ran = sandbox.fails("up --once");
    for said in ["its header has `colour`", "its header lacks `id`"] {
        let times = ran.stderr.matches(said).count();
        assert_eq!(times, 1, "{said}: {}", ran.stderr);
    }
    let lines: Vec<_> = ran.stderr.lines().collect();
    assert!(
        lines.iter().any(|line| line.starts_with("noticed: "))
            && lines.iter().any(|line| line.starts_with("blocked: ")),
        "{}",
        ran.stderr
    );
}
