//! Connection strings, what libpq adds to them, and errors that never show a password.

use super::*;

fn parse(text: &str) -> ConnectOptions {
    text.parse().unwrap()
}

#[test]
fn urls() {
    let options = parse(
        "postgres://al%40ice:s%3Acret@db.example:5433/shop?sslmode=verify-full&sslrootcert=/ca.pem",
    );
    assert_eq!(options.host, "db.example");
    assert_eq!(options.port, 5433);
    assert_eq!(options.user.as_deref(), Some("al@ice"));
    assert_eq!(options.password.as_deref(), Some("s:cret"));
    assert_eq!(options.dbname.as_deref(), Some("shop"));
    assert_eq!(options.sslmode, SslMode::VerifyFull);
    assert_eq!(options.sslrootcert, Some(PathBuf::from("/ca.pem")));

    assert_eq!(parse("postgresql://").host, "localhost");
    assert_eq!(parse("postgres://[::1]:6000/x").host, "::1");
    assert_eq!(parse("postgres://[::1]:6000/x").to_string(), "[::1]:6000/x");
    let socket = parse("postgres:///shop?host=/run/postgresql&user=bob");
    assert!(socket.is_unix_socket());
    assert_eq!(socket.host, "/run/postgresql");
    assert_eq!(parse("postgres://%2Frun%2Fpg/shop").host, "/run/pg");
}

#[test]
fn pairs() {
    let options = parse(r"host = db port=6432 user='o' dbname=shop");
    assert_eq!(options.host, "db");
    assert_eq!(options.port, 6432);
    assert_eq!(options.user.as_deref(), Some("o"));
}

#[test]
fn quoted_values() {
    let options = parse(r"password='it\'s a \\ secret' options='-c geqo=off'");
    assert_eq!(options.password.as_deref(), Some(r"it's a \ secret"));
    assert_eq!(options.options.as_deref(), Some("-c geqo=off"));
}

#[test]
fn errors_name_the_parameter_and_never_the_password() {
    let check = |text: &str, expected: &str| {
        let error = text.parse::<ConnectOptions>().unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    };
    check("postgres://a:hunter2@h/d?ssl=1", "`ssl`");
    check("postgres://a:hunter2@h/d?sslmode=maybe", "verify-full");
    check("postgres://a:hunter2@h:99999/d", "`port`");
    check("host=h password='hunter2", "not closed");
    check("mysql://a:hunter2@h/d", "postgres://");
    check("postgres://a:hunter2%zz@h/d", "hexadecimal");
}

#[test]
fn the_password_is_not_shown() {
    let options = parse("postgres://alice:hunter2@h/d");
    assert!(!format!("{options:?} {options}").contains("hunter2"));
}

fn as_libpq(text: &str, variables: &[(&str, &str)]) -> ConnectOptions {
    let variable = |wanted: &str| {
        let (_, value) = variables.iter().find(|(name, _)| *name == wanted)?;
        Some((*value).to_owned())
    };
    ConnectOptions::as_libpq(text, &variable).unwrap()
}

#[test]
fn several_hosts() {
    let options = parse("postgres://bob@one,two:6000,[::1]:7000/shop");
    assert_eq!(options.to_string(), "one:5432,two:6000,[::1]:7000/shop");
    assert_eq!(options.target, TargetSession::ReadWrite);
    let options = parse("host=one,two port=6000 target_session_attrs=any");
    assert_eq!(options.to_string(), "one:6000,two:6000");
    assert_eq!(options.target, TargetSession::Any);
    let error = "host=one,two port=1,2,3".parse::<ConnectOptions>();
    assert!(error.unwrap_err().to_string().contains("`port`"));
}

#[test]
fn the_environment_fills_what_the_string_leaves_open() {
    let variables = [
        ("PGHOST", "db"),
        ("PGPORT", "6000"),
        ("PGUSER", "bob"),
        ("PGPASSWORD", "secret"),
        ("PGSSLMODE", "require"),
    ];
    let options = as_libpq("postgres://alice@/shop", &variables);
    assert_eq!(options.to_string(), "db:6000/shop");
    assert_eq!(options.user.as_deref(), Some("alice"));
    assert_eq!(options.password.as_deref(), Some("secret"));
    assert_eq!(options.sslmode, SslMode::Require);
    assert_eq!(parse("postgres:///shop").to_string(), "localhost:5432/shop");
}

#[test]
fn services_and_password_files() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    std::fs::write(
        at(".pg_service.conf"),
        "# mine\n[other]\nhost=no\n[mine]\nhost = db\nuser=bob\n\n[last]\nport=1\n",
    )
    .unwrap();
    std::fs::write(at(".pgpass"), "db:5432:shop:bob:secret\n").unwrap();
    let home = at("");
    let variables = [("HOME", &*home), ("PGDATABASE", "shop")];
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(at(".pgpass"), open).unwrap();
    let options = as_libpq("postgres://?service=mine", &variables);
    assert_eq!(options.to_string(), "db:5432/shop");
    assert_eq!(options.password, None, "others may read the password file");
    let closed = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(at(".pgpass"), closed).unwrap();
    let options = as_libpq("service=mine", &variables);
    assert_eq!(options.password.as_deref(), Some("secret"));
    let missing = ConnectOptions::as_libpq("service=none", &|_| None);
    assert!(missing.unwrap_err().to_string().contains("`none`"));
}

#[test]
fn parameters_of_libpq_are_accepted_honoured_or_refused_by_name() {
    let options = parse(
        "postgres://h/d?keepalives=1&gssencmode=disable&client_encoding=UTF8&tcp_user_timeout=5&ssl=true",
    );
    assert_eq!(options.sslmode, SslMode::Require);
    let bound = parse("postgres://h/d?sslmode=require&require_auth=scram-sha-256");
    assert_eq!(bound.channel_binding, ChannelBinding::Require);
    for refused in [
        "sslcrl=/x",
        "requirepeer=postgres",
        "require_auth=md5",
        "target_session_attrs=standby",
    ] {
        let error = format!("postgres://h/d?{refused}")
            .parse::<ConnectOptions>()
            .unwrap_err();
        let name = refused.split('=').next().unwrap();
        assert!(error.to_string().contains(name), "{error}");
    }
}
