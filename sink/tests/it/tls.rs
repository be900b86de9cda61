//! `sslmode` against a server with a certificate of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use bekk_postgres::Server;
use bekk_sink::{ConnectOptions, SslMode};
use tempfile::TempDir;

use crate::harness::Db;

fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Makes an authority, and a certificate of it for `localhost` only.
fn certificates() -> TempDir {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let openssl = |arguments| openssl(path, arguments);
    let extensions = "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n";
    std::fs::write(path.join("extensions"), extensions).unwrap();
    openssl(
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=bekk-test-ca",
    );
    openssl("req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost");
    openssl(
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out server.crt -extfile extensions",
    );
    openssl(
        "req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.crt -days 2 -subj /CN=other-ca",
    );
    directory
}

fn serve_tls(server: &Server, certificates: &Path) {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let data = server.data_dir();
    let owner = std::fs::metadata(data).unwrap();
    for name in ["server.crt", "server.key"] {
        let to = data.join(name);
        std::fs::copy(certificates.join(name), &to).unwrap();
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).unwrap();
        chown(&to, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let mut db = Db::on(server);
    // A reload that changes the files only is not seen from outside; off and on again is.
    for wanted in ["off", "on"] {
        db.execute(&format!("ALTER SYSTEM SET ssl = {wanted}"));
        db.execute("SELECT pg_reload_conf()");
        crate::harness::until("TLS is switched", || {
            db.reconnect();
            db.one("SHOW ssl") == wanted
        });
    }
}

/// Connects to the server; the text of the error if it is refused.
fn connect(
    server: &Server,
    host: &str,
    sslmode: SslMode,
    sslrootcert: Option<PathBuf>,
) -> Result<(), String> {
    let mut options: ConnectOptions = server.url().parse().unwrap();
    host.clone_into(&mut options.host);
    (options.sslmode, options.sslrootcert) = (sslmode, sslrootcert);
    let checked = bekk_sink::check(&options, &[]);
    checked.map(drop).map_err(|error| error.to_string())
}

#[test]
fn each_mode_verifies_what_it_says() {
    use SslMode::{Allow, Disable, Prefer, Require, VerifyCa, VerifyFull};

    let server = Server::temporary().unwrap();
    let certificates = certificates();
    let path = certificates.path();
    serve_tls(&server, path);
    let connect = |host: &str, sslmode, root: Option<&str>| {
        connect(&server, host, sslmode, root.map(|root| path.join(root)))
    };
    let good = |host, sslmode, root| connect(host, sslmode, root).unwrap();
    let bad = |host, sslmode, root, expected: &str| {
        let error = connect(host, sslmode, root).unwrap_err();
        assert!(error.contains(expected), "{sslmode:?} {host}: {error}");
    };
    good("localhost", VerifyFull, Some("ca.crt"));
    good("127.0.0.1", VerifyCa, Some("ca.crt"));
    good("127.0.0.1", Require, Some("ca.crt"));
    good("127.0.0.1", Require, None);
    good("127.0.0.1", Prefer, None);
    good("127.0.0.1", Allow, None);
    good("127.0.0.1", Disable, None);
    bad(
        "127.0.0.1",
        VerifyFull,
        Some("ca.crt"),
        "not valid for name",
    );
    bad("localhost", VerifyFull, Some("other.crt"), "UnknownIssuer");
    bad("localhost", VerifyCa, Some("other.crt"), "UnknownIssuer");
    bad("localhost", Require, Some("other.crt"), "UnknownIssuer");
    bad("localhost", VerifyFull, None, "sslrootcert");
    bad("localhost", VerifyFull, Some("missing.crt"), "missing.crt");
    bad("localhost", VerifyFull, Some("ca.key"), "no certificate");
}

/// PostgreSQL's documentation makes certificates of both kinds; libpq verifies them.
#[test]
fn certificates_that_postgresqls_own_recipes_make_are_verified_as_libpq_does() {
    let server = Server::temporary().unwrap();
    let certificates = certificates();
    let path = certificates.path();
    let openssl = |arguments: &str| openssl(path, arguments);
    let connect =
        |host: &str, sslmode, root: &str| connect(&server, host, sslmode, Some(path.join(root)));
    let refused = |host, sslmode, root, expected: &str| {
        let error = connect(host, sslmode, root).unwrap_err();
        assert!(error.contains(expected), "{sslmode:?} {host}: {error}");
    };

    // A certificate signed by itself, which clients have as their root.
    let key = "req -new -x509 -nodes -newkey rsa:2048 -keyout server.key -out server.crt -subj /CN=localhost";
    openssl(&format!("{key} -days 2"));
    serve_tls(&server, path);
    connect("localhost", SslMode::VerifyFull, "server.crt").unwrap();
    connect("127.0.0.1", SslMode::VerifyCa, "server.crt").unwrap();
    refused(
        "127.0.0.1",
        SslMode::VerifyFull,
        "server.crt",
        "not valid for name",
    );
    refused("localhost", SslMode::VerifyCa, "other.crt", "certificate");

    // The host as common name only, signed by an authority.
    std::fs::write(path.join("extensions"), "basicConstraints=CA:FALSE\n").unwrap();
    openssl(
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out server.crt -extfile extensions",
    );
    openssl("req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost");
    openssl(
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out server.crt -extfile extensions",
    );
    serve_tls(&server, path);
    connect("localhost", SslMode::VerifyFull, "ca.crt").unwrap();
    refused(
        "127.0.0.1",
        SslMode::VerifyFull,
        "ca.crt",
        "not valid for name",
    );

    // Version 1, as `openssl x509 -req` makes it without extensions: refused, and the message says what to do.
    openssl(
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out server.crt",
    );
    serve_tls(&server, path);
    refused("localhost", SslMode::VerifyFull, "ca.crt", "-extfile");
}

#[test]
fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let server = crate::harness::shared_server();
    let mut options: ConnectOptions = server.url().parse().unwrap();
    options.sslmode = SslMode::Require;
    let error = bekk_sink::check(&options, &[]).unwrap_err().to_string();
    assert!(error.contains("TLS"), "{error}");
    options.sslmode = SslMode::Prefer;
    bekk_sink::check(&options, &[]).unwrap();
}
