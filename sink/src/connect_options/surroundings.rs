//! What libpq adds to a connection string: the service file, the `PG…` variables, the password file.
//!
//! The order is libpq's (<https://www.postgresql.org/docs/current/libpq-envars.html>): what the string says comes
//! first, then its service, then the environment, then the defaults. The password file is read last.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::parameters::Parameters;
use super::{ConnectOptions, ConnectOptionsError};

/// The environment's variables and the parameters they give.
const VARIABLES: [(&str, &str); 25] = [
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGPORT", "port"),
    ("PGDATABASE", "dbname"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGPASSFILE", "passfile"),
    ("PGOPTIONS", "options"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGSSLCERTMODE", "sslcertmode"),
    ("PGSSLCRL", "sslcrl"),
    ("PGSSLCRLDIR", "sslcrldir"),
    ("PGSSLNEGOTIATION", "sslnegotiation"),
    ("PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version"),
    ("PGSSLMAXPROTOCOLVERSION", "ssl_max_protocol_version"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGREQUIREAUTH", "require_auth"),
    ("PGREQUIREPEER", "requirepeer"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGLOADBALANCEHOSTS", "load_balance_hosts"),
    ("PGGSSENCMODE", "gssencmode"),
];

/// Adds to `parameters` what the service file and the environment say.
pub(super) fn complete(
    parameters: &mut Parameters,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(), ConnectOptionsError> {
    let service = parameters
        .get("service")
        .map(str::to_owned)
        .or_else(|| variable("PGSERVICE"));
    if let Some(service) = service {
        add_service(parameters, &service, variable)?;
    }
    for (name, parameter) in VARIABLES {
        // An address in the environment is not that of a host in the string.
        if parameter == "hostaddr" && parameters.get("host").is_some() {
            continue;
        }
        if let Some(value) = variable(name) {
            parameters.set_missing(parameter, value)?;
        }
    }
    Ok(())
}

fn add_service(
    parameters: &mut Parameters,
    service: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(), ConnectOptionsError> {
    let own = match variable("PGSERVICEFILE") {
        Some(path) => Some(PathBuf::from(path)),
        None => variable("HOME").map(|home| Path::new(&home).join(".pg_service.conf")),
    };
    let system = match variable("PGSYSCONFDIR") {
        Some(directory) => PathBuf::from(directory).join("pg_service.conf"),
        None => PathBuf::from("/etc/postgresql-common/pg_service.conf"),
    };
    for path in own.iter().chain([&system]) {
        let Ok(text) = std::fs::read_to_string(path) else {
            continue;
        };
        let mut lines = text.lines().map(str::trim);
        if !lines.any(|line| line == format!("[{service}]")) {
            continue;
        }
        let lines = lines.take_while(|line| !line.starts_with('['));
        if lines.clone().any(|line| line.starts_with("password")) && is_open(path) {
            tracing::warn!(
                path = %path.display(),
                "the service file holds a password and other users may read it; run chmod 600 on it, or move the password to \
                 ~/.pgpass"
            );
        }
        for line in lines {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = line.split_once('=').ok_or(ConnectOptionsError::Syntax(
                "a line of the service file without `=`",
            ))?;
            parameters.set_missing(name.trim(), value.trim().to_owned())?;
        }
        return Ok(());
    }
    Err(ConnectOptionsError::NoService(service.to_owned()))
}

/// Whether other users may read a file.
fn is_open(path: &Path) -> bool {
    let metadata = std::fs::metadata(path);
    metadata.is_ok_and(|metadata| metadata.mode() & 0o044 != 0)
}

/// The password that the password file has for these options.
///
/// A file that other users may read is not used, as with libpq.
pub(super) fn password(
    options: &ConnectOptions,
    passfile: Option<&str>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    let path = match passfile {
        Some(path) => PathBuf::from(path),
        None => Path::new(&variable("HOME")?).join(".pgpass"),
    };
    let metadata = std::fs::metadata(&path).ok().filter(|m| m.is_file())?;
    if std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077 != 0 {
        tracing::warn!(
            path = %path.display(),
            "password file ignored: other users may read it; run chmod 600 on it"
        );
        return None;
    }
    let text = std::fs::read_to_string(&path).ok()?;
    let user = match &options.user {
        Some(user) => user.clone(),
        None => whoami::username().ok()?,
    };
    let dbname = options.dbname.as_deref().unwrap_or(&user);
    options.hosts().find_map(|host| {
        let name = match &host.hostaddr {
            Some(address) if host.name.is_empty() => address.to_string(),
            // libpq keeps the default socket's password under this name.
            _ if matches!(
                &*host.name,
                "/tmp" | "/run/postgresql" | "/var/run/postgresql"
            ) =>
            {
                "localhost".to_owned()
            }
            _ => host.name.clone(),
        };
        let wanted = [&*name, &host.port.to_string(), dbname, &user];
        text.lines().find_map(|line| password_in(line, &wanted))
    })
}

/// The password of a line `host:port:database:user:password` if it is for these four.
fn password_in(line: &str, wanted: &[&str; 4]) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut chars = line.chars();
    for wanted in wanted {
        let mut field = String::new();
        let mut is_plain = true;
        loop {
            match chars.next()? {
                ':' => break,
                '\\' => {
                    is_plain = false;
                    field.push(chars.next()?);
                }
                c => field.push(c),
            }
        }
        let is_any = is_plain && field == "*";
        if !is_any && field != *wanted {
            return None;
        }
    }
    // The password is the rest, its escapes undone.
    let mut password = String::new();
    while let Some(c) = chars.next() {
        password.push(if c == '\\' { chars.next()? } else { c });
    }
    Some(password).filter(|password| !password.is_empty())
}

#[cfg(test)]
mod tests {
    use super::password_in;

    #[test]
    fn lines_of_the_password_file() {
        let wanted = ["db", "5432", "shop", "me"];
        let check = |line, expected: Option<&str>| {
            assert_eq!(password_in(line, &wanted).as_deref(), expected, "{line}");
        };
        check("db:5432:shop:me:secret", Some("secret"));
        check("*:*:*:*:any", Some("any"));
        check(r"db:5432:shop:me:a\:b\\c:d", Some(r"a:b\c:d"));
        check(r"\*:5432:shop:me:x", None);
        check("other:5432:shop:me:x", None);
        check("#db:5432:shop:me:x", None);
        check("db:5432:shop", None);
        check("db:5432:shop:me:", None);
    }
}
