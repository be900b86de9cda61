//! The page, as a browser asks for it: its content, what it refuses, and what it sends to those who keep looking.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bekk_postgres::Server;

use crate::exact::check_audit;
use crate::health::{address, addresses, get};
use crate::sample::{HEADER, event, file};
use crate::support::{Sandbox, assert_says, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

/// A request's whole answer.
fn request(address: &str, text: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "{text}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn numbers_of(page: &str) -> String {
    let mut text = String::new();
    let mut is_tag = false;
    for character in page.chars() {
        match character {
            '<' => is_tag = true,
            '>' => is_tag = false,
            _ if !is_tag => text.push(character),
            _ => {}
        }
    }
    text
}

/// A file holds a script as a price: it is a dead letter, and a text on the page, whose field is marked.
#[test]
fn texts_from_files_are_shown_and_never_run() {
    let sandbox = Sandbox::new();
    let script = "<script>alert(1)</script>";
    sandbox.events(
        "data/a<b>&.csv",
        &[(1, "view", "1"), (2, "view", script), (3, "<i>", "1")],
    );
    sandbox.write("data/c.csv", "<b>no</b>,header\n1,2\n");
    let up = sandbox.start("up --http 127.0.0.1:0");
    let at = address(&sandbox);
    let letters = || get(&at, "/dead-letters").1;
    // The letters are read for each request, and their count now and then.
    wait_until("both letters and their count are shown", LIMIT, || {
        let shown = letters();
        shown.matches("class=\"letter\"").count() == 2 && shown.contains("2 open dead letters")
    });
    let shown = letters();
    assert_says(
        &shown,
        &[
            "<mark>&lt;script&gt;alert(1)&lt;/script&gt;</mark>",
            "<mark>&lt;i&gt;</mark>",
            "a&lt;b&gt;&amp;.csv, line 3",
            "bekk dead-letters retry ",
            "bekk dead-letters edit 1<",
        ],
    );
    for path in [
        "/",
        "/streams",
        "/files",
        "/files?q=%3Cscript%3E",
        "/groups",
        "/dead-letters",
    ] {
        let (status, page) = get(&at, path);
        assert_eq!(status, 200, "{path}");
        assert!(!page.contains("<script>"), "{path}: {page}");
        assert!(
            !page.contains("<i>") && !page.contains("<b>no"),
            "{path}: {page}"
        );
        assert!(page.len() < 200_000, "{path}: {} bytes", page.len());
    }
    let only = get(&at, "/dead-letters?reason=not_allowed").1;
    assert_eq!(only.matches("class=\"letter\"").count(), 1);
    // After a failed query the letters are read again, although their counts have not changed.
    let postgres = sandbox.postgres();
    let rename = |from, to| {
        postgres.execute(&format!(
            "ALTER TABLE bekk.dead_letters RENAME COLUMN {from} TO {to}"
        ));
    };
    let of_stream = || get(&at, "/dead-letters?stream=events").1;
    rename("raw", "other");
    wait_until("the error is shown", LIMIT, || {
        of_stream().contains("The dead letters cannot be read")
    });
    rename("other", "raw");
    wait_until("the letters are shown again", LIMIT, || {
        of_stream().matches("class=\"letter\"").count() == 2
    });
    wait_until(
        "the file that is set aside is what it says first",
        LIMIT,
        || get(&at, "/").1.contains("A file is set aside"),
    );
    assert_eq!(up.terminate(), Some(0), "{}", sandbox.said());
}

#[test]
fn only_its_own_names_and_reading_are_answered() {
    let sandbox = Sandbox::new();
    let up = sandbox.start("up --http 127.0.0.1:0");
    let at = address(&sandbox);
    let page = request(&at, &format!("GET / HTTP/1.1\r\nHost: {at}"));
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    let head = page.split_once("\r\n\r\n").unwrap().0;
    assert_says(
        head,
        &[
            "content-security-policy: default-src 'none'; script-src 'self';",
            "x-content-type-options: nosniff",
        ],
    );
    // The policy would stop these, so the page must not need them.
    assert!(!page.contains(" style=\"") && !page.contains("<style") && !page.contains(" onclick"));
    for path in ["/", "/metrics", "/readyz", "/events?view=/"] {
        let foreign = request(
            &at,
            &format!("GET {path} HTTP/1.1\r\nHost: bekk.example.com"),
        );
        assert!(foreign.starts_with("HTTP/1.1 421"), "{path}: {foreign}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let refused = request(
            &at,
            &format!("{method} / HTTP/1.1\r\nHost: {at}\r\nContent-Length: 0"),
        );
        assert!(refused.starts_with("HTTP/1.1 405"), "{method}: {refused}");
    }
    assert_eq!(get(&at, "/other").0, 404);
    assert_eq!(get(&at, "/events?view=/other").0, 404);
    for asset in ["/page.css", "/page.js", "/icon.svg"] {
        assert_eq!(get(&at, asset).0, 200, "{asset}");
        assert!(page.contains(asset), "{asset}");
    }
    assert_eq!(up.terminate(), Some(0), "{}", sandbox.said());
}

/// Who keeps looking is sent what changes, as long as the connection lasts.
#[test]
fn numbers_move_while_somebody_looks() {
    let sandbox = Sandbox::new();
    sandbox.events("data/a.csv", &[(1, "view", "1")]);
    let up = sandbox.start("up --http 127.0.0.1:0");
    let at = address(&sandbox);
    let mut stream = TcpStream::connect(&at).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "GET /events?view=/ HTTP/1.1\r\nHost: {at}\r\n\r\n").unwrap();
    let mut events = BufReader::new(stream).lines().map_while(Result::ok);
    let mut next = || -> serde_json::Value {
        let data = events.find_map(|line| line.strip_prefix("data: ").map(str::to_owned));
        serde_json::from_str(&data.unwrap()).unwrap()
    };
    let first = next();
    for section in ["health", "pipeline", "charts", "outcome"] {
        assert!(first[section].is_string(), "{section}: {first}");
    }
    let mut wait_for = |text: &str| {
        for _ in 0..40 {
            let event = next();
            // The whole pipeline, or only the stage that changed.
            let shown =
                ["pipeline", "stage-ingest"].map(|id| event[id].as_str().unwrap_or_default());
            if shown.iter().any(|html| numbers_of(html).contains(text)) {
                return;
            }
        }
        panic!("`{text}` was never sent");
    };
    wait_for("1 read · 0 rejected");
    let more: Vec<_> = (2..1500).map(|id| event(id, "view", "1")).collect();
    sandbox.write("data/b.csv", file(&more));
    wait_for("1,499 read · 0 rejected");
    // What has not changed is not sent again.
    let mut sizes: Vec<_> = (0..6).map(|_| next().to_string().len()).collect();
    sizes.sort_unstable();
    // Only one stage's rate may have changed; charts and tables are many times as long.
    assert!(sizes[0] < 500, "{sizes:?}");
    assert_eq!(up.terminate(), Some(0), "{}", sandbox.said());
}

/// PostgreSQL is killed: the page says so in words, and keeps what it knew.
#[test]
fn what_is_unreachable_is_a_word_and_no_zero() {
    let mut server = Server::temporary_with(&[("fsync", "off")]).unwrap();
    let sandbox = Sandbox::on(&server);
    sandbox.events("data/a.csv", &[(1, "view", "1"), (2, "view", "2")]);
    let up = sandbox.start("up --http 127.0.0.1:0");
    let at = address(&sandbox);
    let page = || numbers_of(&get(&at, "/").1);
    wait_until("the rows are shown", LIMIT, || page().contains("2 rows"));
    assert!(page().contains("Healthy"), "{}", page());
    server.kill();
    wait_until("it says that PostgreSQL is unreachable", LIMIT, || {
        page().contains("PostgreSQL is unreachable")
    });
    let shown = page();
    assert!(
        shown.contains("2 rows") && !shown.contains("0 rows"),
        "{shown}"
    );
    assert!(shown.contains("start PostgreSQL"), "{shown}");
    let letters = numbers_of(&get(&at, "/dead-letters").1);
    assert!(letters.contains("PostgreSQL is unreachable: "), "{letters}");
    server.ensure_running().unwrap();
    wait_until("all is well again", LIMIT, || page().contains("Healthy"));
    assert_eq!(up.terminate(), Some(0), "{}", sandbox.said());
    check_audit(&sandbox);
}

/// Ingest is killed while its file grows: the sink takes over the log, and its page names what no longer runs.
#[test]
fn a_killed_ingest_is_what_the_first_line_says() {
    let sandbox = Sandbox::new();
    sandbox.write("data/a.csv", format!("{HEADER}\n{}", event(1, "view", "1")));
    let ingest = sandbox.start("ingest --http off");
    let sink = sandbox.start("sink --http 127.0.0.1:0");
    let at = address(&sandbox);
    let page = || numbers_of(&get(&at, "/").1);
    wait_until("it is well", LIMIT, || {
        let page = page();
        page.contains("Healthy") && page.contains("1 row")
    });
    ingest.kill();
    let mut grown = OpenOptions::new()
        .append(true)
        .open(sandbox.path("data/a.csv"))
        .unwrap();
    write!(grown, "{}", event(2, "view", "1")).unwrap();
    wait_until("it says that no ingest runs", LIMIT, || {
        let page = page();
        page.contains("No ingest runs")
            && page.contains("1 file waits to be read")
            && page.contains("bekk ingest")
    });
    let next = sandbox.run("status").exits(0);
    assert_says(&next.stdout, &["\nnext: bekk ingest"]);
    let again = sandbox.start("ingest --http off");
    wait_until("the row is there, and all is well", LIMIT, || {
        let page = page();
        page.contains("Healthy") && page.contains("2 rows")
    });
    assert_eq!(sink.terminate(), Some(0), "{}", sandbox.said());
    assert_eq!(again.terminate(), Some(0), "{}", sandbox.said());
    check_audit(&sandbox);
}

/// Each part as a process of its own: each one's page shows the whole pipeline.
#[test]
fn every_service_shows_the_whole_pipeline() {
    let sandbox = Sandbox::new();
    sandbox.write("data/a.csv", format!("{HEADER}\n{}", event(1, "view", "1")));
    let serve = [
        "log",
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
    ];
    let mut running = vec![sandbox.start(&serve)];
    wait_until("the log is served", LIMIT, || {
        sandbox.said().contains("listening")
    });
    for command in ["ingest", "sink"] {
        let before = addresses(&sandbox).len();
        running.push(sandbox.start(&[command, "--http", "127.0.0.1:0"]));
        wait_until("it answers", LIMIT, || addresses(&sandbox).len() > before);
    }
    for (at, command) in addresses(&sandbox)
        .iter()
        .zip(["log serve", "ingest", "sink"])
    {
        let page = || numbers_of(&get(at, "/").1);
        wait_until("all of the pipeline is there", LIMIT, || {
            let page = page();
            page.contains("1 read · 0 rejected")
                && page.contains("1 record held")
                && page.contains("1 row")
        });
        assert_says(page(), &[&format!("served by bekk {command}")]);
    }
    for process in running.into_iter().rev() {
        assert_eq!(process.terminate(), Some(0), "{}", sandbox.said());
    }
}

/// Files in Windows-1252 and Shift_JIS have values that are no numbers: each command and the page show the text as the
/// table would have it, and the page marks the field.
#[test]
fn texts_are_shown_as_their_files_encoding_says() {
    let sandbox = Sandbox::new();
    let stream = |name: &str, encoding: &str, column: &str| {
        format!(
            "[streams.{name}]\nfiles = \"{name}.csv\"\non_conflict = \"append\"\ncsv = {{ encoding = \"{encoding}\" }}\n\
             columns = [{{ name = \"n\", type = \"int8\", header = \"{column}\" }}, {{ name = \"t\", type = \"text\" }}]\n"
        )
    };
    let west = stream("west", "windows-1252", "Stück");
    sandbox.write("bekk.toml", west + &stream("east", "shift_jis", "数"));
    // "Stück,t", "Öl,Größe"; "数,t", "六,ソ": the last character's second byte is a backslash.
    sandbox.write("west.csv", b"St\xfcck,t\n\xd6l,Gr\xf6\xdfe\n");
    sandbox.write("east.csv", b"\x90\x94,t\n\x98\x5a,\x83\x5c\n");
    sandbox.ok("up --once");
    for (stream, text) in [("west", "Öl,Größe"), ("east", "六,ソ")] {
        let at = format!("{stream}.csv:2");
        for command in [
            &["trace", "--at", &at][..],
            &["dead-letters", "list", "--stream", stream, "--json"],
            &["log", "read", "--topic", stream],
            &["log", "read", "--topic", stream, "--format", "csv"],
        ] {
            let said = sandbox.ok(command).stdout;
            assert!(said.contains(text), "{command:?}: {said}");
        }
    }
    let up = sandbox.start("up --http 127.0.0.1:0");
    let at = address(&sandbox);
    let letters = || get(&at, "/dead-letters").1;
    wait_until("both letters are shown", LIMIT, || {
        letters().matches("class=\"letter\"").count() == 2
    });
    for shown in ["<mark>Öl</mark>,Größe", "<mark>六</mark>,ソ"] {
        wait_until(shown, LIMIT, || letters().contains(shown));
    }
    let records = |topic: &str| {
        let of = |partition| get(&at, &format!("/log?topic={topic}&partition={partition}")).1;
        (0..4).map(of).collect::<String>()
    };
    assert!(records("west").contains("Öl,Größe"));
    assert!(records("east").contains("六,ソ"));
    assert_eq!(up.terminate(), Some(0), "{}", sandbox.said());
}
