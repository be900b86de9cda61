//! What a connection string says, by libpq's names, before it has types.

use std::collections::BTreeMap;

use super::{ConnectOptions, ConnectOptionsError, Host, TargetSession};

/// What a connection string says, by libpq's names.
#[derive(Default)]
pub(super) struct Parameters(BTreeMap<String, String>);

/// Parameters that choose something.
const USED: [&str; 21] = [
    "host",
    "hostaddr",
    "port",
    "user",
    "password",
    "passfile",
    "dbname",
    "service",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslcertmode",
    "channel_binding",
    "require_auth",
    "connect_timeout",
    "target_session_attrs",
    "application_name",
    "options",
    "ssl_min_protocol_version",
    "sslnegotiation",
];

/// Parameters that libpq knows and that change nothing here: no GSSAPI is ever used, keepalives are Bekk's own
/// (dead peers are noticed within half a minute), text is always UTF-8, hosts are tried in order.
const WITHOUT_EFFECT: [&str; 20] = [
    "client_encoding",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "requiressl",
    "ssl_max_protocol_version",
    "sslcompression",
    "sslpassword",
    "sslsni",
    "tcp_user_timeout",
    "tty",
];

/// Parameters that would make a connection safer and that Bekk cannot honour, each with what to do instead.
const UNSUPPORTED: [(&str, &str); 4] = [
    ("sslcrl", "remove it; revocation lists are not checked"),
    ("sslcrldir", "remove it; revocation lists are not checked"),
    (
        "requirepeer",
        "remove it, or connect over TLS with sslmode=verify-full",
    ),
    ("replication", "remove it"),
];

impl Parameters {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets a parameter; an empty value is libpq's "not given".
    pub(super) fn set(&mut self, name: &str, value: String) -> Result<(), ConnectOptionsError> {
        if let Some((name, remedy)) = UNSUPPORTED.iter().find(|(known, _)| *known == name) {
            if value.is_empty() {
                return Ok(());
            }
            return Err(ConnectOptionsError::Unsupported { name, remedy });
        }
        if WITHOUT_EFFECT.contains(&name) {
            return Ok(());
        }
        if !USED.contains(&name) {
            return Err(ConnectOptionsError::unknown(name));
        }
        if value.is_empty() {
            self.0.remove(name);
        } else {
            self.0.insert(name.to_owned(), value);
        }
        Ok(())
    }

    pub(super) fn set_missing(
        &mut self,
        name: &str,
        value: String,
    ) -> Result<(), ConnectOptionsError> {
        match self.0.contains_key(name) {
            true => Ok(()),
            false => self.set(name, value),
        }
    }

    pub(super) fn into_options(self) -> Result<ConnectOptions, ConnectOptionsError> {
        let mut options = ConnectOptions::default();
        self.set_hosts(&mut options)?;
        for (name, value) in &self.0 {
            options.set(name, value)?;
        }
        if !options.fallbacks.is_empty() && !self.0.contains_key("target_session_attrs") {
            options.target = TargetSession::ReadWrite;
        }
        if self.get("sslcertmode") == Some("disable") {
            options.sslcert = None;
        }
        options.require_auth(self.get("require_auth"))?;
        Ok(options)
    }

    /// Sets the hosts from `host`, `hostaddr` and `port`, each a list of the same length; a single port is for all.
    fn set_hosts(&self, options: &mut ConnectOptions) -> Result<(), ConnectOptionsError> {
        let list =
            |name| -> Vec<&str> { self.get(name).map_or(vec![], |v| v.split(',').collect()) };
        let (names, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
        let count = names.len().max(addresses.len()).max(1);
        let wrong = |name, expected| ConnectOptionsError::Value { name, expected };
        if !addresses.is_empty() && !names.is_empty() && addresses.len() != names.len() {
            return Err(wrong("hostaddr", "one address for each host"));
        }
        if ports.len() > 1 && ports.len() != count {
            return Err(wrong("port", "one port, or one for each host"));
        }
        let mut hosts = Vec::with_capacity(count);
        for at in 0..count {
            let mut host = ConnectOptions::default();
            let part = |list: &[&str]| {
                list.get(at)
                    .filter(|part| !part.is_empty())
                    .map(|p| (*p).to_owned())
            };
            if let Some(name) = part(&names) {
                host.set("host", &name)?;
            }
            if let Some(address) = part(&addresses) {
                host.set("hostaddr", &address)?;
            }
            if let Some(port) =
                part(&ports).or_else(|| (ports.len() == 1).then(|| ports[0].to_owned()))
            {
                host.set("port", &port)?;
            }
            hosts.push(Host {
                name: host.host,
                hostaddr: host.hostaddr,
                port: host.port,
            });
        }
        let first = hosts.remove(0);
        (options.host, options.hostaddr, options.port) = (first.name, first.hostaddr, first.port);
        options.fallbacks = hosts;
        Ok(())
    }
}
