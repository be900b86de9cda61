//! How a server is reached: librdkafka's settings, and what it says of itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

/// What exactness rests on, or what Bekk sets by itself.
const RESERVED: [&str; 14] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "client.id",
    "group.id",
    "acks",
    "request.required.acks",
    "enable.idempotence",
    "transactional.id",
    "message.timeout.ms",
    "isolation.level",
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
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
        }
    }

    /// The first property that is not the user's to set, since exactness rests on it or another setting names
    /// the same thing.
    #[must_use]
    pub fn reserved_property(&self) -> Option<&str> {
        let mut keys = self.properties.keys().map(String::as_str);
        keys.find(|key| RESERVED.contains(key))
    }

    /// librdkafka's settings for a client of the given name.
    pub(super) fn client_config(&self, client_id: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
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
    let text = error.to_string();
    if !cfg!(feature = "kafka-tls") && text.to_ascii_lowercase().contains("openssl") {
        return format!(
            "this bekk was built without TLS and SASL/SCRAM; build it with `cargo build --release --features \
             kafka-tls` (needs libssl-dev and pkg-config): {text}"
        );
    }
    text
}

/// Takes what librdkafka says.
#[derive(Default)]
pub(super) struct Context {
    /// The last error of the connection.
    failure: Option<Arc<Mutex<Option<String>>>>,
}

impl Context {
    /// One that notes the last error in `failure`.
    pub(super) fn noting(failure: Arc<Mutex<Option<String>>>) -> Self {
        Self {
            failure: Some(failure),
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What matters comes as an error or as the outcome of a call; librdkafka warns of every reconnect.
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the connection to the log");
        if let Some(failure) = &self.failure {
            let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
            *failure = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Context {}
