//! Which server to connect to, and how: libpq's URLs and key-value strings, with what libpq adds to them.
//!
//! tokio-postgres parses them too, but knows three of libpq's six `sslmode`s, no `sslrootcert`, and neither the
//! service file, the `PG…` variables nor the password file.

mod parameters;
mod parse;
mod surroundings;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Which server to connect to, and how. Neither `Debug` nor `Display` show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    /// A host name, an address, or the directory of a Unix socket (it begins with `/`).
    pub host: String,
    /// The address to connect to, where `host` is only the name to verify.
    pub hostaddr: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// Hosts to try, in this order, if the first one is unreachable or does not take writes.
    pub fallbacks: Vec<Host>,
    /// Whether a host that takes no writes is skipped.
    pub target: TargetSession,
    /// The user; the operating system's if absent.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The database; the user's name if absent.
    pub dbname: Option<String>,
    /// Whether to use TLS, and what to verify.
    pub sslmode: SslMode,
    /// A file of PEM certificates that sign the server's, or `system` for those the system trusts.
    pub sslrootcert: Option<PathBuf>,
    /// A file of PEM certificates that identify this client; used if it exists.
    pub sslcert: Option<PathBuf>,
    /// The private key of `sslcert`, in PEM.
    pub sslkey: Option<PathBuf>,
    /// Whether SCRAM must be bound to the TLS connection.
    pub channel_binding: ChannelBinding,
    /// Time limit of one attempt to connect to one host.
    pub connect_timeout: Duration,
    /// Accepted and not used: sinks count one another by names that they give their backends themselves.
    pub application_name: Option<String>,
    /// Command-line options for the server, such as `-c statement_timeout=5s`.
    pub options: Option<String>,
}

/// One of several hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// As [`ConnectOptions::host`].
    pub name: String,
    /// As [`ConnectOptions::hostaddr`].
    pub hostaddr: Option<IpAddr>,
    /// As [`ConnectOptions::port`].
    pub port: u16,
}

/// Which server of several to choose, as libpq's `target_session_attrs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetSession {
    /// The first that answers.
    #[default]
    Any,
    /// The first whose sessions take writes. Bekk's default where several hosts are named.
    ReadWrite,
}

/// Whether SCRAM must be bound to the TLS connection, as libpq's `channel_binding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// If the server offers it.
    #[default]
    Prefer,
    /// Always; any other authentication is refused.
    Require,
}

/// Whether to use TLS, and what to verify, as libpq defines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Only if the server insists.
    Allow,
    /// If the server can; nothing is verified.
    #[default]
    Prefer,
    /// Always; the certificate is verified only if `sslrootcert` is given.
    Require,
    /// Always; the certificate must be signed by `sslrootcert`.
    VerifyCa,
    /// Always; it must also be for this host.
    VerifyFull,
}

/// The text names no server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectOptionsError {
    /// A parameter that libpq does not know.
    #[error(
        "unknown connection parameter `{0}`; common ones: host, port, user, password, dbname, sslmode, sslrootcert, \
         connect_timeout, target_session_attrs, passfile, service"
    )]
    Unknown(String),
    /// A parameter that libpq knows and Bekk cannot honour.
    #[error("connection parameter `{name}` is not supported: {remedy}")]
    Unsupported {
        /// The parameter.
        name: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
    /// A parameter's value is invalid. It is not shown: if a separator is missing, the value contains the password.
    #[error("connection parameter `{name}` must be {expected}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What would have been right.
        expected: &'static str,
    },
    /// No service file has this service.
    #[error(
        "no service file defines service `{0}`; Bekk searched PGSERVICEFILE or ~/.pg_service.conf, then the \
        system's pg_service.conf"
    )]
    NoService(String),
    /// The text does not follow the syntax; the text itself is not shown, for it may hold a password.
    #[error("malformed connection string: {0}")]
    Syntax(&'static str),
}

impl ConnectOptionsError {
    /// An unknown name, which is shown only if it cannot be a part of a password that a missing separator has left there.
    fn unknown(name: &str) -> Self {
        let is_name = name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        Self::Unknown(if is_name { name } else { "…" }.to_owned())
    }
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            hostaddr: None,
            port: 5432,
            fallbacks: Vec::new(),
            target: TargetSession::default(),
            user: None,
            password: None,
            dbname: None,
            sslmode: SslMode::default(),
            sslrootcert: None,
            sslcert: None,
            sslkey: None,
            channel_binding: ChannelBinding::default(),
            connect_timeout: Duration::from_secs(10),
            application_name: None,
            options: None,
        }
    }
}

impl ConnectOptions {
    /// Parses a connection string, and adds what libpq would: from the service file, the `PG…` variables and the
    /// password file. `variable` gives the environment's variables; an empty one counts as unset.
    ///
    /// # Errors
    /// If the string, the service or a variable is wrong.
    pub fn as_libpq(
        text: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConnectOptionsError> {
        let mut parameters = parse::parameters(text)?;
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        surroundings::complete(&mut parameters, &variable)?;
        let passfile = parameters.get("passfile").map(str::to_owned);
        let mut options = parameters.into_options()?;
        if options.password.is_none() {
            options.password = surroundings::password(&options, passfile.as_deref(), &variable);
        }
        if let Some(home) = variable("HOME") {
            options.use_files_below(&PathBuf::from(home).join(".postgresql"));
        }
        Ok(options)
    }

    /// Uses libpq's default certificates of this directory, where they exist and none are named.
    fn use_files_below(&mut self, directory: &std::path::Path) {
        let existing = |name: &str| Some(directory.join(name)).filter(|path| path.exists());
        self.sslrootcert = self.sslrootcert.take().or_else(|| existing("root.crt"));
        if self.sslcert.is_none() {
            self.sslcert = existing("postgresql.crt");
            if self.sslcert.is_some() && self.sslkey.is_none() {
                self.sslkey = existing("postgresql.key");
            }
        }
    }

    /// Sets one parameter by libpq's name.
    ///
    /// # Errors
    /// If the name is unknown or the value is invalid.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConnectOptionsError> {
        let wrong = |name, expected| ConnectOptionsError::Value { name, expected };
        match name {
            // Lists of hosts are taken apart before.
            "host" | "hostaddr" | "port" if value.contains(',') => {}
            "host" => value.clone_into(&mut self.host),
            "hostaddr" => {
                let address = value
                    .parse()
                    .map_err(|_| wrong("hostaddr", "an IP address"))?;
                self.hostaddr = Some(address);
            }
            "port" => {
                self.port = value
                    .parse()
                    .ok()
                    .filter(|port| *port > 0)
                    .ok_or_else(|| wrong("port", "a port, 1 to 65535"))?;
            }
            "user" => self.user = Some(value.to_owned()),
            "password" => self.password = Some(value.to_owned()),
            "dbname" => self.dbname = Some(value.to_owned()),
            "sslmode" => {
                self.sslmode = value.parse().map_err(|()| {
                    wrong(
                        "sslmode",
                        "disable, allow, prefer, require, verify-ca or verify-full",
                    )
                })?;
            }
            "sslrootcert" => self.sslrootcert = Some(PathBuf::from(value)),
            "sslcert" => self.sslcert = Some(PathBuf::from(value)),
            "sslkey" => self.sslkey = Some(PathBuf::from(value)),
            "channel_binding" => {
                self.channel_binding = match value {
                    "disable" => ChannelBinding::Disable,
                    "prefer" => ChannelBinding::Prefer,
                    "require" => ChannelBinding::Require,
                    _ => return Err(wrong("channel_binding", "disable, prefer or require")),
                };
            }
            "target_session_attrs" => {
                self.target = match value {
                    "any" => TargetSession::Any,
                    "read-write" | "primary" => TargetSession::ReadWrite,
                    _ => return Err(wrong("target_session_attrs", "any, read-write or primary")),
                };
            }
            "connect_timeout" => {
                let seconds = value.parse();
                let seconds =
                    seconds.map_err(|_| wrong("connect_timeout", "a number of seconds"))?;
                self.connect_timeout = timeout(seconds);
            }
            "application_name" => self.application_name = Some(value.to_owned()),
            "options" => self.options = Some(value.to_owned()),
            other => return check_only(other, value),
        }
        Ok(())
    }

    /// Honours libpq's `require_auth` as far as it can be: SCRAM over TLS, which channel binding enforces.
    fn require_auth(&mut self, methods: Option<&str>) -> Result<(), ConnectOptionsError> {
        let encrypts = matches!(
            self.sslmode,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull
        );
        match methods {
            None => Ok(()),
            Some("scram-sha-256") if encrypts => {
                self.channel_binding = ChannelBinding::Require;
                Ok(())
            }
            Some(_) => Err(ConnectOptionsError::Unsupported {
                name: "require_auth",
                remedy: "use require_auth=scram-sha-256 with sslmode=require, verify-ca or verify-full",
            }),
        }
    }

    /// Returns every host, in the order in which they are tried.
    pub fn hosts(&self) -> impl Iterator<Item = Host> {
        let first = Host {
            name: self.host.clone(),
            hostaddr: self.hostaddr,
            port: self.port,
        };
        std::iter::once(first).chain(self.fallbacks.iter().cloned())
    }

    /// Whether every host is the directory of a Unix socket.
    pub(crate) fn is_unix_socket(&self) -> bool {
        self.hosts().all(|host| host.name.starts_with('/'))
    }
}

/// Checks a parameter that is decided elsewhere, or has one value that is supported.
fn check_only(name: &str, value: &str) -> Result<(), ConnectOptionsError> {
    let (name, is_right, expected) = match name {
        "sslcertmode" => (
            "sslcertmode",
            matches!(value, "disable" | "allow" | "require"),
            "disable, allow or require",
        ),
        "sslnegotiation" => (
            "sslnegotiation",
            value == "postgres",
            "`postgres`, the one way that is supported",
        ),
        // TLS 1.2 is the least that is ever used.
        "ssl_min_protocol_version" => (
            "ssl_min_protocol_version",
            matches!(value, "TLSv1" | "TLSv1.1" | "TLSv1.2"),
            "TLSv1.2 or less",
        ),
        "require_auth" | "passfile" | "service" => return Ok(()),
        other => return Err(ConnectOptionsError::unknown(other)),
    };
    if is_right {
        return Ok(());
    }
    Err(ConnectOptionsError::Value { name, expected })
}

/// The limit of `connect_timeout`: for libpq, 0 and less is for ever, and 1 is taken as 2.
fn timeout(seconds: i64) -> Duration {
    match u64::try_from(seconds) {
        Ok(seconds) if seconds > 0 => Duration::from_secs(seconds.max(2)),
        _ => Duration::from_secs(24 * 60 * 60),
    }
}

impl FromStr for ConnectOptions {
    type Err = ConnectOptionsError;

    /// Parses `postgres://user:password@host:port/dbname?parameter=value` or `host=… port=…`, and nothing else:
    /// see [`ConnectOptions::as_libpq`].
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse::parameters(text)?.into_options()
    }
}

impl FromStr for SslMode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "disable" => Self::Disable,
            "allow" => Self::Allow,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return Err(()),
        })
    }
}

impl fmt::Display for SslMode {
    /// As libpq writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        })
    }
}

impl fmt::Display for ConnectOptions {
    /// `host:port/dbname` or `/socket/directory:port/dbname`; several hosts with commas between.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, host) in self.hosts().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let (name, port) = (&host.name, host.port);
            match name.contains(':') {
                true => write!(f, "{comma}[{name}]:{port}")?,
                false => write!(f, "{comma}{name}:{port}")?,
            }
        }
        match self.dbname.as_ref().or(self.user.as_ref()) {
            Some(dbname) => write!(f, "/{dbname}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("server", &format_args!("{self}"))
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "hidden"))
            .field("sslmode", &self.sslmode)
            .field("sslrootcert", &self.sslrootcert)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
