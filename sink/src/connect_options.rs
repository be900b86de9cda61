//! Which server to connect to, and how: libpq's URLs and key-value strings.
//!
//! tokio-postgres parses them too, but knows three of libpq's six `sslmode`s and no `sslrootcert`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Which server to connect to, and how. Neither `Debug` nor `Display` show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    /// A host name, an address, or the directory of a Unix socket (it begins with `/`).
    pub host: String,
    /// The address to connect to, where `host` is only the name to verify.
    pub hostaddr: Option<std::net::IpAddr>,
    /// The port.
    pub port: u16,
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
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// Accepted, for URLs have it, and not used: sinks name their backends themselves, for by these names
    /// they count one another.
    pub application_name: Option<String>,
    /// Command-line options for the server, such as `-c statement_timeout=5s`.
    pub options: Option<String>,
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
    /// A parameter that is not known.
    #[error(
        "unknown connection parameter `{0}`; known: host, hostaddr, port, user, password, dbname, sslmode, \
         sslrootcert, connect_timeout, application_name, options"
    )]
    Unknown(String),
    /// A parameter's value is none.
    #[error("connection parameter `{name}`: `{value}` is not {expected}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What was given.
        value: String,
        /// What would have been right.
        expected: &'static str,
    },
    /// The text does not follow the syntax; the text itself is not shown, for it may hold a password.
    #[error("malformed connection string: {0}")]
    Syntax(&'static str),
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            hostaddr: None,
            port: 5432,
            user: None,
            password: None,
            dbname: None,
            sslmode: SslMode::default(),
            sslrootcert: None,
            connect_timeout: Duration::from_secs(10),
            application_name: None,
            options: None,
        }
    }
}

impl ConnectOptions {
    /// Sets one parameter by libpq's name.
    ///
    /// # Errors
    /// If the name is unknown or the value is none of its kind.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConnectOptionsError> {
        let wrong = |name, expected| ConnectOptionsError::Value {
            name,
            value: value.to_owned(),
            expected,
        };
        match name {
            "host" if value.contains(',') => return Err(wrong("host", "one host")),
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
            "connect_timeout" => {
                let seconds: u64 = value
                    .parse()
                    .map_err(|_| wrong("connect_timeout", "a number of seconds"))?;
                // libpq: 0 is for ever, 1 is taken as 2.
                self.connect_timeout = match seconds {
                    0 => Duration::from_secs(24 * 60 * 60),
                    seconds => Duration::from_secs(seconds.max(2)),
                };
            }
            "application_name" => self.application_name = Some(value.to_owned()),
            "options" => self.options = Some(value.to_owned()),
            other => return Err(ConnectOptionsError::Unknown(other.to_owned())),
        }
        Ok(())
    }

    /// Whether the host is the directory of a Unix socket.
    pub(crate) fn is_unix_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    fn parse_url(rest: &str) -> Result<Self, ConnectOptionsError> {
        let mut options = Self::default();
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host_port = match authority.rsplit_once('@') {
            Some((credentials, host_port)) => {
                let (user, password) = match credentials.split_once(':') {
                    Some((user, password)) => (user, Some(password)),
                    None => (credentials, None),
                };
                if !user.is_empty() {
                    options.user = Some(decode_percent(user)?);
                }
                options.password = password.map(decode_percent).transpose()?;
                host_port
            }
            None => authority,
        };
        options.parse_host_port(host_port)?;
        if !path.is_empty() {
            options.dbname = Some(decode_percent(path)?);
        }
        for pair in query
            .unwrap_or("")
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair
                .split_once('=')
                .ok_or(ConnectOptionsError::Syntax("a parameter without `=`"))?;
            options.set(&decode_percent(name)?, &decode_percent(value)?)?;
        }
        Ok(options)
    }

    fn parse_host_port(&mut self, text: &str) -> Result<(), ConnectOptionsError> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest
                .split_once(']')
                .ok_or(ConnectOptionsError::Syntax("a `[` without `]`"))?;
            (host, rest.strip_prefix(':'))
        } else {
            match text.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if !host.is_empty() {
            self.set("host", &decode_percent(host)?)?;
        }
        match port {
            Some(port) if !port.is_empty() => self.set("port", port),
            _ => Ok(()),
        }
    }

    fn parse_pairs(text: &str) -> Result<Self, ConnectOptionsError> {
        let mut options = Self::default();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (name, behind) = rest
                .split_once('=')
                .ok_or(ConnectOptionsError::Syntax("a parameter without `=`"))?;
            let (value, behind) = take_value(behind.trim_start())?;
            options.set(name.trim(), &value)?;
            rest = behind.trim_start();
        }
        Ok(options)
    }
}

/// Takes a value of a key-value string: up to a blank, or in single quotes; a backslash escapes.
fn take_value(text: &str) -> Result<(String, &str), ConnectOptionsError> {
    let (quoted, body) = match text.strip_prefix('\'') {
        Some(body) => (true, body),
        None => (false, text),
    };
    let mut value = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                let (_, escaped) = chars.next().ok_or(ConnectOptionsError::Syntax(
                    "a backslash at the end of a value",
                ))?;
                value.push(escaped);
            }
            '\'' if quoted => return Ok((value, &body[at + 1..])),
            c if !quoted && c.is_whitespace() => return Ok((value, &body[at..])),
            c => value.push(c),
        }
    }
    if quoted {
        return Err(ConnectOptionsError::Syntax("a quote is not closed"));
    }
    Ok((value, ""))
}

fn decode_percent(text: &str) -> Result<String, ConnectOptionsError> {
    let wrong = ConnectOptionsError::Syntax("a `%` without two hexadecimal digits, or no UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(wrong);
        };
        bytes.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits are one byte"));
    }
    String::from_utf8(bytes).map_err(|_| wrong)
}

impl FromStr for ConnectOptions {
    type Err = ConnectOptionsError;

    /// Parses `postgres://user:password@host:port/dbname?parameter=value` or `host=… port=…`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        match text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"))
        {
            Some(rest) => Self::parse_url(rest),
            None if text.contains("://") => Err(ConnectOptionsError::Syntax(
                "a URL begins with postgres:// or postgresql://",
            )),
            None => Self::parse_pairs(text),
        }
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
    /// `host:port/dbname` or `/socket/directory:port/dbname`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)?;
        } else {
            write!(f, "{}:{}", self.host, self.port)?;
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
mod tests {
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
}
