//! The log served to Kafka clients. `make test-clients` has real ones; here a request is written by hand.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{Sandbox, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

/// Where the started binary says that it listens.
fn address(sandbox: &Sandbox) -> String {
    let find = || {
        let said = sandbox.said();
        let line = said.lines().find(|line| line.starts_with("listening"))?;
        line.split_whitespace().nth(1).map(str::to_owned)
    };
    wait_until("it listens", LIMIT, || find().is_some());
    find().unwrap()
}

/// The answer to a request for the metadata of all topics, version 1.
fn metadata(address: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let request = [0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    stream.write_all(&[0, 0, 0, 14]).unwrap();
    stream.write_all(&request).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..4], [0, 0, 0, 7]);
    answer
}

fn has(answer: &[u8], text: &str) -> bool {
    answer
        .windows(text.len())
        .any(|bytes| bytes == text.as_bytes())
}

/// `bekk log serve` says where it listens, tells clients what it was told to, warns when everyone can reach
/// it, lets other commands see the log as guests, and ends cleanly.
#[test]
fn a_log_is_served() {
    let sandbox = Sandbox::new();
    let process = sandbox.start("log serve --listen 127.0.0.1:0");
    let at = address(&sandbox);
    assert!(has(&metadata(&at), "127.0.0.1"));
    let topics = sandbox.ok("log topics");
    assert!(topics.stdout.starts_with("log id "), "{}", topics.stdout);
    let second = sandbox.path("second");
    let second = second.to_str().unwrap();
    sandbox.refuses(
        &["log", "serve", "--log", second, "--listen", &at],
        &format!("listen at {at}"),
    );
    assert_eq!(process.terminate(), Some(0));
    let said = sandbox.said();
    assert!(said.contains("stopped cleanly"), "{said}");
    assert!(!said.contains("authentication"), "{said}");

    let sandbox = Sandbox::new();
    let arguments = "log serve --listen 0.0.0.0:0 --advertise log.example.net:19092";
    let process = sandbox.start(arguments);
    let port = address(&sandbox).replace("0.0.0.0", "127.0.0.1");
    assert!(has(&metadata(&port), "log.example.net"));
    let said = sandbox.said();
    assert!(said.contains("there is no authentication"), "{said}");
    assert_eq!(process.terminate(), Some(0));
}

/// A password in a file closes the log to who does not know it, and what is missing for it is named.
#[test]
fn a_log_is_served_to_who_knows_the_password() {
    let sandbox = Sandbox::new();
    let file = sandbox.write("password", "brook\n");
    let file = file.to_str().unwrap();
    let serve = ["log", "serve", "--listen", "0.0.0.0:0"];
    let with = |more: &[&'static str]| [&serve[..], more].concat();
    sandbox
        .run(&with(&["--sasl-user", "bekk"]))
        .exits(2)
        .says("--sasl-user needs BEKK_SASL_PASSWORD");
    sandbox.refuses(
        &with(&["--tls-cert", "no.crt", "--tls-key", "no.key"]),
        "no.crt",
    );
    sandbox.run(&with(&["--tls-cert", "no.crt"])).exits(2);

    let known = ["--sasl-user", "bekk", "--sasl-password-file", file];
    let process = sandbox.start(&[&serve[..], &known].concat());
    let at = address(&sandbox).replace("0.0.0.0", "127.0.0.1");
    let mut stream = TcpStream::connect(&at).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let handshake = b"\0\0\0\x11\0\x11\0\0\0\0\0\x07\xff\xff\0\x05PLAIN";
    stream.write_all(handshake).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length).try_into().unwrap()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[4..6], [0, 0], "no error");
    assert!(answer.ends_with(b"SCRAM-SHA-512"), "{answer:?}");
    stream.write_all(b"\0\0\0\x0b\0bekk\0brook").unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0; 4]);
    let said = sandbox.said();
    assert!(!said.contains("there is no authentication"), "{said}");
    assert!(said.contains("there is no encryption"), "{said}");
    assert!(!said.contains("brook"), "{said}");
    assert_eq!(process.terminate(), Some(0));
}

/// `bekk up --listen` serves the log that it writes, while rows flow.
#[test]
fn up_serves_the_log_that_it_uses() {
    let sandbox = Sandbox::new();
    let process = sandbox.start("up --listen 127.0.0.1:0");
    let at = address(&sandbox);
    wait_until("its topic is there", LIMIT, || {
        has(&metadata(&at), "events")
    });
    let text = "event_id,event_type,user_id,product_id,category,price,quantity,session_id,event_time\n\
        00000000-0000-0000-0000-000000000001,view,1,2,a,9.99,1,,2026-01-01T00:00:00Z\n";
    sandbox.write("data/a.csv", text);
    let postgres = sandbox.postgres();
    wait_until("the row is there", LIMIT, || {
        postgres
            .try_rows("SELECT 1 FROM events")
            .is_ok_and(|rows| rows.len() == 1)
    });
    assert_eq!(process.terminate(), Some(0), "{}", sandbox.said());
}
