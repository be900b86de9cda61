//! Whether the brokers can be reached at the addresses that the cluster gives. A client needs the configured ones only to
//! ask for those.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::metadata::Metadata;

use super::link::Link;
use crate::config::META_TOPIC;

/// Time limit of the question which brokers there are
const ASK_TIMEOUT: Duration = Duration::from_millis(500);
/// Time limit of one connection
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Number of brokers that are tried
const BROKERS_MAX: usize = 3;

/// What is wrong with the addresses that the cluster gives.
pub(super) struct Misdirection {
    /// The brokers, their addresses and the setting.
    pub(super) text: String,
    /// Whether waiting has no prospect: a name has no address, or no broker at all is reachable.
    pub(super) is_lasting: bool,
}

/// Why an address is unreachable.
enum Fault {
    Unresolved(io::Error),
    Unreachable(io::Error),
}

/// Notes the brokers that the cluster names.
pub(super) fn note_brokers(link: &Link, metadata: &Metadata) {
    let named = metadata.brokers().iter();
    *link.brokers.lock() = named
        .map(|broker| (broker.id(), address(broker.host(), broker.port())))
        .collect();
}

/// Tries the brokers whose addresses the configuration does not have; none if these are reachable.
pub(super) fn misdirection(link: &Link) -> Option<Misdirection> {
    let client = link.asker.client();
    // Without an answer, those that were named last.
    if let Ok(metadata) = client.fetch_metadata(Some(META_TOPIC), ASK_TIMEOUT) {
        note_brokers(link, &metadata);
    }
    let all = link.brokers.lock().clone();
    let hosts: Vec<&str> = link.config.hosts.split(',').map(str::trim).collect();
    let others = all.iter().filter(|(_, at)| !hosts.contains(&at.as_str()));
    let mut texts = Vec::new();
    let mut is_unresolved = false;
    for (id, at) in others.take(BROKERS_MAX) {
        let Err(fault) = reach(at) else {
            continue;
        };
        let (what, why) = match fault {
            Fault::Unresolved(why) => {
                is_unresolved = true;
                ("is unknown", why)
            }
            Fault::Unreachable(why) => ("is unreachable", why),
        };
        let setting = match link.is_bekk {
            true => "bekk log serve --advertise",
            false => "advertised.listeners",
        };
        texts.push(format!(
            "broker {id} gives its address as {at} ({setting}), which {what} here: {why}"
        ));
    }
    let is_lasting = is_unresolved || texts.len() == all.len().min(BROKERS_MAX);
    (!texts.is_empty()).then(|| Misdirection {
        text: texts.join("; "),
        is_lasting,
    })
}

fn address(host: &str, port: i32) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

fn reach(address: &str) -> Result<(), Fault> {
    let resolved = address.to_socket_addrs().map_err(Fault::Unresolved)?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in resolved {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(Fault::Unreachable(last))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_address_that_is_unknown_differs_from_one_that_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap().to_string();
        assert!(reach(&at).is_ok());
        drop(listener);
        assert!(matches!(reach(&at), Err(Fault::Unreachable(_))));
        let unknown = address("kafka.invalid", 9092);
        assert!(matches!(reach(&unknown), Err(Fault::Unresolved(_))));
        assert_eq!(address("::1", 9092), "[::1]:9092");
    }
}
