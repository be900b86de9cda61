//! The log served for Kafka clients, by `bekk log serve` or beside `up` and `ingest`.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use bekk_log::{Client, Credentials, ServeConfig, Server, TlsConfig};

use crate::args::ServeArgs;
use crate::environment;
use crate::outcome::as_usage;
use crate::screen::Screen;
use crate::secrets;

/// How a log is to be served.
///
/// # Errors
/// If the arguments contradict each other, or a file that they name cannot be used.
pub(super) fn config(listen: SocketAddr, args: &ServeArgs) -> Result<ServeConfig> {
    as_usage(from_arguments(listen, args))
}

fn from_arguments(listen: SocketAddr, args: &ServeArgs) -> Result<ServeConfig> {
    let mut config = ServeConfig::new(listen);
    config.advertise.clone_from(&args.advertise);
    [config.credentials, config.read_credentials] = credentials(args)?;
    if let Some(key) = &args.tls_key {
        secrets::check_key(key)?;
    }
    let files = args.tls_cert.clone().zip(args.tls_key.clone());
    config.tls = files.map(|(cert, key)| TlsConfig { cert, key });
    Ok(config)
}

/// Starts to serve a log, and says where.
pub(super) fn start(log: &Client, config: ServeConfig, screen: &Screen) -> Result<Server> {
    let advertise = config.advertise.clone();
    let (is_closed, is_encrypted) = (config.credentials.is_some(), config.tls.is_some());
    let server =
        Server::start(log.clone(), config).context("serve the log (--listen names the address)")?;
    let address = server.local_addr();
    let advertised = match advertise {
        Some((host, port)) => format!(", advertised as {host}:{port}"),
        None => String::new(),
    };
    let secured = match (is_closed, is_encrypted) {
        (true, true) => ", SASL over TLS",
        (true, false) => ", SASL",
        (false, true) => ", TLS",
        (false, false) => "",
    };
    screen.say(&format!(
        "listening  {address}   the Kafka protocol{advertised}{secured}"
    ));
    if !address.ip().to_canonical().is_loopback() {
        warn_of(address, is_closed, is_encrypted);
    }
    Ok(server)
}

/// Says what whoever can reach an address that is not loopback can do.
fn warn_of(address: SocketAddr, is_closed: bool, is_encrypted: bool) {
    if !is_closed {
        tracing::warn!(
            %address,
            "anyone who can reach this address can read and write the log: there is no authentication (--sasl-user)"
        );
    }
    if !is_encrypted {
        tracing::warn!(
            %address,
            "records and passwords cross the network in the clear: there is no encryption (--tls-cert)"
        );
    }
}

/// The users whose passwords are asked for: the one that may do all, and the one that may only read.
fn credentials(args: &ServeArgs) -> Result<[Option<Credentials>; 2]> {
    let all = User {
        option: "--sasl-user",
        variable: "BEKK_SASL_PASSWORD",
        name: args.sasl_user.as_deref(),
        file: args.sasl_password_file.as_deref(),
    };
    let read = User {
        option: "--sasl-read-user",
        variable: "BEKK_SASL_READ_PASSWORD",
        name: args.sasl_read_user.as_deref(),
        file: args.sasl_read_password_file.as_deref(),
    };
    let all = all.credentials()?;
    if all.is_none() && read.name.is_some() {
        bail!("--sasl-read-user needs --sasl-user: without it, any client can do all");
    }
    let read = read.credentials()?;
    match (&all, &read) {
        (Some(all), Some(read)) if all.username == read.username => {
            bail!("--sasl-read-user and --sasl-user name the same user; give them different names")
        }
        _ => Ok([all, read]),
    }
}

/// A user of the served log, as the arguments name it.
struct User<'a> {
    option: &'static str,
    variable: &'static str,
    name: Option<&'a str>,
    file: Option<&'a Path>,
}

impl User<'_> {
    fn credentials(&self) -> Result<Option<Credentials>> {
        let Self {
            option, variable, ..
        } = self;
        let set = environment::plain(variable);
        let Some(name) = self.name else {
            if self.file.is_some() {
                bail!(
                    "{}-password-file needs {option}",
                    option.trim_end_matches("-user")
                );
            }
            if set.is_some() {
                bail!(
                    "{variable} is set, but {option} is not: the password would not be used; name the user, \
                    or unset {variable}"
                );
            }
            return Ok(None);
        };
        let password = match self.file {
            Some(file) => {
                secrets::warn_if_open(file);
                let read = fs::read_to_string(file);
                let text =
                    read.with_context(|| format!("read the password in `{}`", file.display()))?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
            None => set.with_context(|| {
                format!("{option} needs {variable} in the environment, or a password file")
            })?,
        };
        if name.is_empty() || password.is_empty() {
            bail!("the name and the password of {option} must not be empty");
        }
        Ok(Some(Credentials {
            username: name.to_owned(),
            password,
        }))
    }
}
