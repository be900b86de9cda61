//! Which PostgreSQL: the one that is named, else a private one.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bekk_postgres::Server;
use bekk_sink::{ConnectOptions, Host};
use bekk_stream::Config;

use crate::environment::{plain, variable};
use crate::outcome::as_usage;
use crate::private_server::PrivateServer;
use crate::screen::Screen;
use crate::secrets;

/// Variables beside POSTGRES_HOST, each with its libpq parameter
const PARTS: [(&str, &str); 6] = [
    ("POSTGRES_PORT", "port"),
    ("POSTGRES_USER", "user"),
    ("POSTGRES_PASSWORD", "password"),
    ("POSTGRES_DB", "dbname"),
    ("POSTGRES_SSLMODE", "sslmode"),
    ("POSTGRES_SSLROOTCERT", "sslrootcert"),
];

pub(crate) struct Database {
    pub(crate) options: ConnectOptions,
    pub(crate) description: Description,
    /// The private server, which runs as long as this lives.
    pub(crate) private: Option<Server>,
    kept: Option<PrivateServer>,
}

/// Which database it is and why, for a person
#[derive(Clone)]
pub(crate) struct Description {
    pub(crate) place: String,
    pub(crate) origin: String,
    is_private: bool,
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let look = if self.is_private {
            "; see bekk psql"
        } else {
            ""
        };
        write!(f, "{} ({}){look}", self.place, self.origin)
    }
}

/// Sources of the database's address, in the order of precedence
pub(crate) struct Choice<'a> {
    pub(crate) typed: Option<&'a str>,
    /// A demonstration uses the private server unless another is typed.
    pub(crate) demo: bool,
    pub(crate) config: &'a Config,
    /// Where `.bekk` is.
    pub(crate) base: &'a Path,
}

impl Database {
    /// Finds the database, and starts the private server if it is that.
    ///
    /// # Errors
    /// If what names it is wrong, or the private server cannot be had.
    pub(crate) fn choose(choice: &Choice<'_>) -> Result<Self> {
        if let Some(named) = Self::named(choice)? {
            return Ok(named);
        }
        let wanted = private_options(choice.base)?;
        secrets::let_server_in(choice.base)?;
        let server = Server::start(&wanted).context("start a private PostgreSQL")?;
        Ok(private(server, &wanted, choice.base))
    }

    /// The same, but does not create a private server.
    ///
    /// # Errors
    /// As [`Self::choose`].
    pub(crate) fn choose_if_made(choice: &Choice<'_>) -> Result<Option<Self>> {
        let is_made = || Ok::<_, anyhow::Error>(private_options(choice.base)?.directory.exists());
        match named(choice)?.is_some() || is_made()? {
            true => Self::choose(choice).map(Some),
            false => Ok(None),
        }
    }

    /// The same, but starts no private server.
    ///
    /// # Errors
    /// As [`Self::choose`].
    pub(crate) fn choose_if_running(choice: &Choice<'_>) -> Result<Option<Self>> {
        if let Some(named) = Self::named(choice)? {
            return Ok(Some(named));
        }
        let wanted = private_options(choice.base)?;
        let server = Server::find(&wanted).context("find the private PostgreSQL")?;
        Ok(server.map(|server| private(server, &wanted, choice.base)))
    }

    /// Starts the private server again whenever it ends, for as long as this lives.
    ///
    /// # Errors
    /// If the thread that does it cannot be started.
    pub(crate) fn keep_running(&mut self, screen: &Screen) -> Result<()> {
        let kept = self.private.take();
        let kept = kept.map(|server| PrivateServer::keep(server, screen));
        self.kept = kept.transpose()?;
        Ok(())
    }

    /// Whether the choice names a server, which is then not private.
    pub(crate) fn is_named(choice: &Choice<'_>) -> bool {
        matches!(named(choice), Ok(Some(_)) | Err(_))
    }

    fn named(choice: &Choice<'_>) -> Result<Option<Self>> {
        Ok(named(choice)?.map(|(options, why)| Self {
            description: Description {
                place: options.to_string(),
                origin: why.to_owned(),
                is_private: false,
            },
            options,
            private: None,
            kept: None,
        }))
    }
}

/// The database that is named, and by what.
///
/// # Errors
/// [`WrongUsage`](crate::outcome::WrongUsage) if its address is wrong.
fn named(choice: &Choice<'_>) -> Result<Option<(ConnectOptions, &'static str)>> {
    as_usage(by_precedence(choice))
}

fn by_precedence(choice: &Choice<'_>) -> Result<Option<(ConnectOptions, &'static str)>> {
    if let Some(url) = choice.typed {
        let url = secrets::typed_postgres(url);
        return Ok(Some((parse(&url, "--postgres")?, "--postgres")));
    }
    if choice.demo {
        return Ok(None);
    }
    if let Some(url) = variable("DATABASE_URL")? {
        return Ok(Some((parse(&url, "DATABASE_URL")?, "DATABASE_URL")));
    }
    if let Some(host) = variable("POSTGRES_HOST")? {
        return Ok(Some((from_parts(&host)?, "POSTGRES_HOST")));
    }
    if let Some(url) = &choice.config.postgres_url {
        let options = parse(url, "the configuration's postgres.url")?;
        return Ok(Some((options, "configuration")));
    }
    for name in ["PGHOST", "PGSERVICE"] {
        if plain(name).is_some() {
            return Ok(Some((parse("", name)?, name)));
        }
    }
    Ok(None)
}

/// Parses a connection string, completed as libpq does.
fn parse(text: &str, origin: &str) -> Result<ConnectOptions> {
    // Else a part of the password would be taken for the host, the port or the database, which messages show.
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or("", |(before, _)| before);
    if rest.contains(['/', '?', '#', '@']) {
        bail!(
            "use {origin}: write the characters / ? # @ of a user's name or password as %2F %3F %23 %40"
        );
    }
    ConnectOptions::as_libpq(text, &plain).with_context(|| format!("use {origin}"))
}

fn from_parts(host: &str) -> Result<ConnectOptions> {
    // An empty value is libpq's "not given"; POSTGRES_USER has a default of its own.
    let mut parts = vec![("POSTGRES_HOST", "host", host.to_owned())];
    for (name, parameter) in PARTS {
        if let Some(value) = variable(name)? {
            parts.push((name, parameter, value));
        }
    }
    if !parts.iter().any(|(_, parameter, _)| *parameter == "user") {
        parts.push(("POSTGRES_USER", "user", "postgres".to_owned()));
    }
    let mut text = String::new();
    for (name, parameter, value) in parts {
        ConnectOptions::default()
            .set(parameter, &value)
            .with_context(|| format!("use {name}"))?;
        let escaped = value.replace('\\', r"\\").replace('\'', r"\'");
        let _ = write!(text, "{parameter}='{escaped}' ");
    }
    parse(&text, "POSTGRES_HOST")
}

fn private(server: Server, wanted: &bekk_postgres::Options, base: &Path) -> Database {
    let below = server.data_dir().starts_with(&wanted.directory);
    let place = if below {
        &wanted.directory
    } else {
        server.data_dir()
    };
    let options = ConnectOptions {
        host: server.host().to_owned(),
        port: server.port(),
        user: Some(server.user().to_owned()),
        password: Some(server.password().to_owned()),
        dbname: Some(server.database().to_owned()),
        ..ConnectOptions::default()
    };
    let description = Description {
        place: format!("{}:{}/{}", server.host(), server.port(), server.database()),
        origin: format!("private, {}", shown_from(base, place).display()),
        is_private: true,
    };
    Database {
        options,
        description,
        private: Some(server),
        kept: None,
    }
}

pub(crate) fn private_options(base: &Path) -> Result<bekk_postgres::Options> {
    secrets::close_state(base)?;
    as_usage(from_variables(base))
}

fn from_variables(base: &Path) -> Result<bekk_postgres::Options> {
    let default = bekk_postgres::Options::default();
    let port = match variable("POSTGRES_PORT")? {
        None => default.port,
        Some(text) => text
            .parse()
            .with_context(|| format!("use POSTGRES_PORT: `{text}` is not a port (1 to 65535)"))?,
    };
    Ok(bekk_postgres::Options {
        directory: base.join(&default.directory),
        port,
        user: variable("POSTGRES_USER")?.unwrap_or(default.user),
        password: variable("POSTGRES_PASSWORD")?,
        database: variable("POSTGRES_DB")?.unwrap_or(default.database),
        bin_dir: None,
    })
}

/// A path as it is shortest to read: from `base` on, if it lies there.
pub(crate) fn shown_from<'a>(base: &Path, path: &'a Path) -> &'a Path {
    match path.strip_prefix(base) {
        Ok(rest) if rest.as_os_str().is_empty() => Path::new("."),
        rest => rest.unwrap_or(path),
    }
}

/// The variables that tell libpq's programs, psql among them, where and as whom to connect.
pub(crate) fn libpq_environment(options: &ConnectOptions) -> Vec<(&'static str, String)> {
    let list = |part: &dyn Fn(&Host) -> String| {
        options
            .hosts()
            .map(|host| part(&host))
            .collect::<Vec<_>>()
            .join(",")
    };
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let address = |host: &Host| {
        host.hostaddr
            .map(|address| address.to_string())
            .unwrap_or_default()
    };
    let has_address = options.hosts().any(|host| host.hostaddr.is_some());
    let variables = [
        ("PGHOST", Some(list(&|host| host.name.clone()))),
        ("PGPORT", Some(list(&|host| host.port.to_string()))),
        ("PGHOSTADDR", has_address.then(|| list(&address))),
        ("PGSSLMODE", Some(options.sslmode.to_string())),
        ("PGUSER", options.user.clone()),
        ("PGPASSWORD", options.password.clone()),
        ("PGDATABASE", options.dbname.clone()),
        ("PGSSLROOTCERT", path(&options.sslrootcert)),
        ("PGSSLCERT", path(&options.sslcert)),
        ("PGSSLKEY", path(&options.sslkey)),
        ("PGOPTIONS", options.options.clone()),
    ];
    let given = |(name, value): (_, Option<String>)| Some((name, value?));
    variables.into_iter().filter_map(given).collect()
}
