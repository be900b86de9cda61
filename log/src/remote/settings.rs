//! How a server is reached: librdkafka's settings, and what it says of itself.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::waits::Waits;

/// What exactness rests on, or what Bekk sets by itself.
const RESERVED: [&str; 16] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "client.id",
    // With it, reads come from a follower, which may not know yet how far the leader's log reaches.
    "client.rack",
    "group.id",
    "acks",
    "request.required.acks",
    "enable.idempotence",
    "transactional.id",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "isolation.level",
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
];

/// Properties with two names.
const SYNONYMS: [(&str, &str); 3] = [
    ("compression.type", "compression.codec"),
    ("fetch.message.max.bytes", "max.partition.fetch.bytes"),
    ("linger.ms", "queue.buffering.max.ms"),
];

/// Where a served log is, and how it is reached.
#[derive(Clone)]
pub struct RemoteConfig {
    /// `host:port`, several with commas between.
    pub hosts: String,
    /// librdkafka's properties, for authentication and encryption: `security.protocol`, `sasl.username`, ….
    pub properties: BTreeMap<String, String>,
    /// How long a call waits for a server that does not answer before it fails with
    /// [`Error::Away`](crate::Error::Away).
    pub patience: Duration,
    /// Whether a call is of a short command. It fails after a few seconds, with the broker and the address, if the cluster
    /// gives an address that is unreachable from here: waiting seldom helps with that.
    pub is_brief: bool,
    /// How long a fetch waits at the end of the log for new records. Only the next fetch tells a reader that it is at the
    /// end, so one that reads what is there and then stops is best served by a short wait.
    pub end_wait: Duration,
    /// The topics that are Bekk's own there. [`Client::topics`](crate::Client::topics) lists no others of a Kafka
    /// cluster; all if it is empty.
    pub topics: Vec<String>,
    /// What calls wait for, also those of clients that are made from clones of this.
    pub waits: Waits,
}

/// Without the properties' values, which may be secrets.
impl fmt::Debug for RemoteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteConfig")
            .field("hosts", &self.hosts)
            .field("properties", &self.properties.keys())
            .field("patience", &self.patience)
            .finish()
    }
}

impl RemoteConfig {
    /// A log at `hosts`, without authentication; calls wait 30 seconds.
    #[must_use]
    pub fn new(hosts: String) -> Self {
        Self {
            hosts,
            properties: BTreeMap::new(),
            patience: Duration::from_secs(30),
            is_brief: false,
            end_wait: Duration::from_millis(50),
            topics: Vec::new(),
            waits: Waits::default(),
        }
    }

    /// The first property that is not the user's to set, since exactness rests on it or another setting names
    /// the same thing.
    #[must_use]
    pub fn reserved_property(&self) -> Option<&str> {
        let mut keys = self.properties.keys().map(String::as_str);
        keys.find(|key| RESERVED.contains(key))
    }

    /// Why a file that a property names cannot be read; librdkafka does not say which one.
    pub(super) fn unreadable_file(&self) -> Option<String> {
        let named = self.properties.iter();
        let mut files = named.filter(|(key, file)| key.ends_with(".location") && *file != "probe");
        files.find_map(|(key, file)| {
            let error = File::open(file).err()?;
            Some(format!(
                "cannot read `{file}`, \"{key}\" under [log.kafka] in bekk.toml: {error}"
            ))
        })
    }

    /// Whether the user has set a property, under one of its names.
    pub(super) fn is_set(&self, property: &str) -> bool {
        let synonym = SYNONYMS.iter().find(|(name, _)| *name == property);
        let names = [property, synonym.map_or(property, |(_, other)| other)];
        names.iter().any(|name| self.properties.contains_key(*name))
    }

    /// librdkafka's settings for a client of the given name.
    pub(super) fn client_config(&self, client_id: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        if !tracing::enabled!(tracing::Level::DEBUG) {
            // Nobody sees its messages, which would come before errors.
            config.set_log_level(RDKafkaLogLevel::Emerg);
        }
        config
            .set("reconnect.backoff.ms", "20")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true")
            .set("socket.timeout.ms", "10000")
            .set("allow.auto.create.topics", "false");
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config
            .set("bootstrap.servers", &self.hosts)
            .set("client.id", client_id);
        config
    }
}

/// Why librdkafka refused its settings. Without OpenSSL it speaks of how it was built, and so do we.
pub(super) fn explain(error: &KafkaError) -> String {
    let all = error.to_string();
    // The whole text contains the property's value, which may be a password.
    let text = match error {
        KafkaError::ClientConfig(_, why, property, value) if why.contains(value.as_str()) => {
            format!("librdkafka does not take the value of property `{property}`")
        }
        KafkaError::ClientConfig(_, why, property, _) => format!("property `{property}`: {why}"),
        _ => all.clone(),
    };
    if !cfg!(feature = "kafka-tls") && all.to_ascii_lowercase().contains("openssl") {
        return format!(
            "this bekk was built without TLS and SASL/SCRAM; `make install` and `make deb` build it with them, and so \
             does `cargo build --release --features kafka-tls` (needs libssl-dev and pkg-config): {text}"
        );
    }
    text
}

/// What to do about a login that was refused, or a server that did not prove who it is. `authority` is the file of
/// `ssl.ca.location`.
pub(super) fn login_remedy(detail: &str, authority: Option<&str>) -> String {
    // librdkafka reports each fault of a certificate alike.
    if detail.contains("certificate verify failed") {
        let command = verify_command(detail, authority);
        return format!(
            "the broker's certificate has expired, is for another name than that of its address, or is by another \
             authority than \"ssl.ca.location\" under [log.kafka] in bekk.toml; to see which: {command}"
        );
    }
    // The broker's name in the text begins with the protocol.
    let detail = detail.to_ascii_lowercase().replace("sasl_ssl", "");
    let settings = if detail.contains("mechanism handshake") {
        "\"sasl.mechanism\""
    } else if detail.contains("certificate") || detail.contains("ssl") {
        "\"ssl.ca.location\", \"ssl.certificate.location\" and \"ssl.key.location\""
    } else {
        "\"sasl.username\" and \"sasl.password\""
    };
    format!("check {settings} under [log.kafka] in bekk.toml")
}

/// The command that says what is wrong with the certificate of the broker that a report begins with.
fn verify_command(report: &str, authority: Option<&str>) -> String {
    let place = report.split_once("://").map_or("", |(_, rest)| rest);
    let place = place.split('/').next().unwrap_or_default();
    let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
    let host = host.trim_matches(['[', ']']);
    let kind = match host.parse::<std::net::IpAddr>() {
        Ok(_) => "-verify_ip",
        Err(_) => "-verify_hostname",
    };
    let authority = authority.map_or_else(String::new, |file| format!(" -CAfile '{file}'"));
    format!(
        "openssl s_client -connect {place} {kind} {host}{authority} </dev/null 2>&1 | grep '^Verif'"
    )
}

/// What is said of a server that takes connections, and does not answer the first request.
pub(super) const CLOSED: &str = "the server takes the connection, and gives no answer of a Kafka broker; check the \
                                 address, and \"security.protocol\" under [log.kafka] in bekk.toml: its listener may \
                                 want TLS or a login";

/// Whether librdkafka's report on a connection means that the server ended it.
pub(super) fn is_cut(report: &str) -> bool {
    ["Broken pipe", "Connection reset", "Disconnected"]
        .iter()
        .any(|sign| report.contains(sign))
}

/// librdkafka's report on a connection, or what it means if another program than a broker answered.
pub(super) fn connection_report(report: &str) -> String {
    if !report.contains("Invalid response size") {
        return report.to_owned();
    }
    let place = report.split("/bootstrap").next().unwrap_or_default();
    format!(
        "{place}: another program than a Kafka broker answers there; check the address and the port"
    )
}

/// What a topic's refusal of a record means, and what to do about it.
pub(super) fn record_remedy(hosts: &str, topic: &str, code: RDKafkaErrorCode) -> String {
    use RDKafkaErrorCode as Code;
    let alter = |setting: &str| alter_topic(hosts, topic, setting);
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => format!(
            "{code}: the record, or the batch that it is in, is larger than the topic's max.message.bytes; raise that: {}; or, \
             if the record is smaller, set \"message.max.bytes\" under [log.kafka] in bekk.toml to the topic's",
            alter("max.message.bytes=…")
        ),
        Code::InvalidTimestamp => format!(
            "{code}: its time is outside of what the topic's message.timestamp.before.max.ms and \
             message.timestamp.after.max.ms allow; check the clocks of this machine and of the broker, or raise the \
             limit: {}",
            alter("message.timestamp.before.max.ms=…,message.timestamp.after.max.ms=…")
        ),
        _ => format!(
            "{code}: a topic with cleanup.policy=compact takes no record without a key, and rejected lines have \
             none; change that: {}",
            alter("cleanup.policy=delete")
        ),
    }
}

/// The command that changes a topic's setting.
pub(super) fn alter_topic(hosts: &str, topic: &str, setting: &str) -> String {
    format!(
        "kafka-configs.sh --bootstrap-server {hosts} --alter --entity-type topics --entity-name {topic} --add-config \
         {setting}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What librdkafka reports of Apache Kafka's refusals.
    #[test]
    fn a_refused_login_names_the_setting_that_it_is_about() {
        let of = |detail: &str| {
            login_remedy(
                &format!("sasl_ssl://b1:9093/bootstrap: {detail}"),
                Some("ca.pem"),
            )
        };
        for (detail, setting) in [
            (
                "SASL authentication error: Authentication failed during authentication due to invalid credentials \
                 with SASL mechanism SCRAM-SHA-512 (after 339ms in state AUTH_REQ)",
                "sasl.password",
            ),
            (
                "SASL SCRAM-SHA-256 mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported \
                 mechanisms: PLAIN,SCRAM-SHA-512 (after 307ms in state AUTH_HANDSHAKE)",
                "sasl.mechanism",
            ),
            (
                "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could \
                 not be verified (after 183ms in state SSL_HANDSHAKE)",
                "ssl.ca.location",
            ),
        ] {
            assert!(of(detail).contains(setting), "{}", of(detail));
        }
        let failed = "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate";
        let command = "openssl s_client -connect b1:9093 -verify_hostname b1 -CAfile 'ca.pem'";
        assert!(of(failed).contains(command), "{}", of(failed));
        let address = login_remedy(&format!("ssl://[::1]:9093/bootstrap: {failed}"), None);
        assert!(
            address.contains("-connect [::1]:9093 -verify_ip ::1 <"),
            "{address}"
        );
    }

    /// A PostgreSQL server begins its answer with `E` and the length of the message.
    #[test]
    fn another_program_at_the_address_is_told_as_such() {
        let told = connection_report(
            "127.0.0.1:5432/bootstrap: Receive failed: Invalid response size 1157627904 (0..100000000): increase \
             receive.message.max.bytes (after 32ms in state APIVERSION_QUERY)",
        );
        let expected = "127.0.0.1:5432: another program than a Kafka broker answers there";
        assert!(told.starts_with(expected), "{told}");
        let refused =
            "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused";
        assert_eq!(connection_report(refused), refused);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_with_its_property() {
        let mut config = RemoteConfig::new("b1:9093".to_owned());
        let mut set = |key: &str, value: &str| config.properties.insert(key.into(), value.into());
        set("ssl.ca.location", "probe");
        set("ssl.key.location", "/nowhere/key.pem");
        let why = config.unreadable_file().unwrap();
        assert!(
            why.contains("/nowhere/key.pem") && why.contains("ssl.key.location"),
            "{why}"
        );
    }

    /// librdkafka takes both names of a property, in an order of its own.
    #[test]
    fn a_property_is_set_under_each_of_its_names() {
        let mut config = RemoteConfig::new("b1:9092".to_owned());
        let codec = "compression.codec".to_owned();
        config.properties.insert(codec, "zstd".to_owned());
        assert!(config.is_set("compression.type") && config.is_set("compression.codec"));
        assert!(!config.is_set("linger.ms"));
    }

    #[test]
    fn properties_that_exactness_depends_on_are_reserved() {
        for property in ["client.rack", "delivery.timeout.ms", "acks"] {
            let mut config = RemoteConfig::new("b1:9092".to_owned());
            config.properties.insert(property.into(), "1".into());
            assert_eq!(config.reserved_property(), Some(property));
        }
    }
}
