//! Visitors of the page: other users of the machine, web pages of other names, and clients that send anything.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::health::{self, addresses, get};
use crate::strangers::notes;
use crate::support::{NOBODY, Process, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

/// Sends a request as another user of the machine, and returns the answer.
pub(crate) fn asked_by_nobody(address: &str, method: &str, path: &str) -> String {
    let (host, port) = address.rsplit_once(':').unwrap();
    let script = format!(
        "exec 3<>/dev/tcp/{host}/{port}; printf '{method} {path} HTTP/1.1\\r\\nHost: {address}\\r\\n\
         Content-Length: 0\\r\\nConnection: close\\r\\n\\r\\n' >&3; cat <&3"
    );
    let mut bash = Command::new("timeout");
    bash.args(["30", "bash", "-c", &script]).uid(NOBODY);
    let output = bash.output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The page shows rows of files that their owner has closed. Needs to act as two users.
#[test]
fn the_page_shows_no_rows_to_other_users_of_the_machine() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = notes();
    sandbox.write("data/a.csv", "id,note\nx,secret\n");
    let process = sandbox.start("up --http 127.0.0.1:0");
    let address = health::address(&sandbox);
    wait_until("the row is a dead letter", LIMIT, || {
        get(&address, "/dead-letters").1.contains("secret")
    });
    for path in ["/dead-letters", "/log", "/", "/events?view=/dead-letters"] {
        let answer = asked_by_nobody(&address, "GET", path);
        assert!(answer.contains("user id is 65534"), "{path}: {answer}");
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        let answer = asked_by_nobody(&address, "GET", path);
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    assert_eq!(process.terminate(), Some(0));
    let process = sandbox.start("up --http 127.0.0.1:0 --http-open");
    let second = || addresses(&sandbox).into_iter().nth(1);
    wait_until("the second one answers", LIMIT, || second().is_some());
    let address = second().unwrap();
    assert!(asked_by_nobody(&address, "GET", "/dead-letters").starts_with("HTTP/1.1 200"));
    assert_eq!(process.terminate(), Some(0));
}

/// Each connection takes a file of the process, of which there are often no more than 1,024. Needs to act as two users.
#[test]
fn connections_to_the_page_take_neither_files_nor_the_page() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = notes();
    let process = sandbox.start("up --http 127.0.0.1:0");
    let address = health::address(&sandbox);
    let (host, port) = address.rsplit_once(':').unwrap();
    let script = format!(
        "for i in $(seq 400); do exec {{fd}}<>/dev/tcp/{host}/{port}; done; touch '{}'; sleep 60",
        sandbox.path("data/connected").display()
    );
    fs::set_permissions(sandbox.dir(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(sandbox.path("data"), Permissions::from_mode(0o777)).unwrap();
    let mut bash = Command::new("bash");
    let holder = Process::spawn(bash.args(["-c", &script]).uid(NOBODY));
    wait_until("they are connected", LIMIT, || {
        sandbox.path("data/connected").exists()
    });
    let files = || {
        let open = fs::read_dir(format!("/proc/{}/fd", process.id()));
        open.unwrap().count()
    };
    wait_until("most of them are closed", LIMIT, || files() < 300);
    assert_eq!(get(&address, "/").0, 200);
    sandbox.write("data/a.csv", "id,note\n1,one\n");
    wait_until("a row comes", LIMIT, || {
        let rows = sandbox.postgres().try_rows("SELECT count(*) FROM notes");
        rows.is_ok_and(|rows| rows == [["1"]])
    });
    holder.kill();
    assert_eq!(process.terminate(), Some(0));
}

/// Each file in `cli/fuzz/regressions` holds all that one connection sends.
#[test]
fn a_malformed_request_ends_its_connection_and_nothing_else() {
    let sandbox = notes();
    let process = sandbox.start("up --http 127.0.0.1:0");
    let address = health::address(&sandbox);
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions");
    let mut count = 0;
    for file in fs::read_dir(files).unwrap() {
        let file = file.unwrap().path();
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(&fs::read(&file).unwrap()).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let is_foreign = ["two-hosts", "absolute-target", "connect"].contains(&name);
        let mut answer = vec![0; 1_000];
        if is_foreign {
            // A whole request, whose answer the server may drop if the client is gone before it.
            let length = stream.read(&mut answer).unwrap();
            answer.truncate(length);
        } else {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            answer.clear();
            // The server may close a connection before it has read everything.
            if let Err(error) = stream.read_to_end(&mut answer) {
                assert_eq!(
                    error.kind(),
                    std::io::ErrorKind::ConnectionReset,
                    "{file:?}"
                );
            }
        }
        let answer = String::from_utf8_lossy(&answer);
        assert_eq!(answer.contains(" 421 "), is_foreign, "{name}: {answer}");
        count += 1;
    }
    assert!(count > 10, "{count}");
    assert_eq!(get(&address, "/healthz").0, 200);
    assert_eq!(process.terminate(), Some(0));
}

#[test]
fn a_web_page_of_another_name_is_not_answered() {
    let sandbox = notes();
    let process = sandbox.start("up --http 127.0.0.1:0");
    let address = health::address(&sandbox);
    let status = |host: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(
            stream,
            "GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(status(&address), "200");
    assert_eq!(status("localhost"), "200");
    assert_eq!(status("evil.example.com"), "421");
    assert_eq!(process.terminate(), Some(0));
    let process = sandbox.start("up --http 0.0.0.0:0");
    wait_until("it warns", LIMIT, || {
        sandbox.said().contains("anyone who can reach this address")
    });
    assert_eq!(process.terminate(), Some(0));
}
