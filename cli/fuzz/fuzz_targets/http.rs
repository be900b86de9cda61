//! The bytes that a connection sends to the page of `bekk log serve` in its whole life. A panic anywhere in the server ends
//! the run, as does a connection that has not ended a minute after its requests.

#![no_main]
#![allow(dead_code, unreachable_pub)]

include!(concat!(env!("OUT_DIR"), "/bekk/modules.rs"));

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use clap::Parser;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const TOML: &str = r#"
[streams.t]
files = ["*.csv"]
key = ["id"]
columns = [{ name = "id", type = "int8" }, { name = "note", type = "text", nullable = true }]
"#;

/// A served log with a page.
static PAGE: LazyLock<SocketAddr> = LazyLock::new(|| {
    let dir = tempfile::TempDir::new_in("/dev/shm").expect("a temporary directory").keep();
    std::env::set_current_dir(&dir).expect("a directory");
    std::fs::write("bekk.toml", TOML).expect("a file");
    std::fs::write("token", TOKEN).expect("a file");
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let http = address.to_string();
    thread::spawn(move || {
        let typed = ["bekk", "log", "serve", "--listen", "127.0.0.1:0", "--http", &http];
        let cli = args::Cli::parse_from(typed.iter().chain(&["--http-token-file", "token"]));
        let screen = screen::Screen::start(&cli.global);
        let args::Command::Log(log) = &cli.command else {
            unreachable!("typed so");
        };
        let ended = commands::log::run(&cli.global, log, &screen);
        panic!("the server ended: {:?}", ended.err());
    });
    while TcpStream::connect(address).is_err() {
        thread::sleep(Duration::from_millis(10));
    }
    address
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut stream = TcpStream::connect(*PAGE).expect("the server lives");
    let minute = Some(Duration::from_secs(60));
    stream.set_read_timeout(minute).expect("a timeout");
    // The server may close the connection before all is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    assert!(!ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "no end of the connection");
    let has_token = |text: &[u8]| text.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes());
    assert!(!has_token(&answer) || has_token(bytes), "the token is in an answer");
});
