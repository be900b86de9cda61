//! Requests as people are told of them, and the errors that they end with.

use std::fmt;

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::link::Link;
use super::reaction::{Reaction, code};
use super::settings;
use crate::Error;

/// What is asked of the server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    /// A verb phrase that the resource follows: "append to".
    act: &'static str,
    on: Resource<'a>,
    /// The right to the topic that a cluster with ACLs asks for.
    right: &'static str,
}

/// What a request is about.
#[derive(Debug, Clone, Copy)]
enum Resource<'a> {
    Topic(&'a str),
    Group(&'a str),
    /// A group, and a topic that it reads.
    GroupOf(&'a str, &'a str),
    Transaction(&'a str),
    Cluster,
}

impl<'a> Request<'a> {
    /// About a topic.
    pub(super) const fn topic(act: &'static str, topic: &'a str, right: &'static str) -> Self {
        let on = Resource::Topic(topic);
        Self { act, on, right }
    }

    /// About a group.
    pub(super) const fn group(act: &'static str, group: &'a str, right: &'static str) -> Self {
        let on = Resource::Group(group);
        Self { act, on, right }
    }

    /// About where a group is in a topic.
    pub(super) const fn offsets(act: &'static str, group: &'a str, topic: &'a str) -> Self {
        let (on, right) = (Resource::GroupOf(group, topic), "Read");
        Self { act, on, right }
    }

    /// About a transactional id.
    pub(super) const fn transaction(act: &'static str, id: &'a str) -> Self {
        let (on, right) = (Resource::Transaction(id), "Write");
        Self { act, on, right }
    }

    /// About no topic or group.
    pub(super) const fn cluster(act: &'static str) -> Self {
        let (on, right) = (Resource::Cluster, "Describe");
        Self { act, on, right }
    }

    /// The topic that it is about.
    pub(super) const fn topic_name(&self) -> Option<&'a str> {
        match self.on {
            Resource::Topic(topic) | Resource::GroupOf(_, topic) => Some(topic),
            _ => None,
        }
    }

    /// The resource that an error of authorization is about, and the right that is missing, as Kafka's own tool for
    /// ACLs names them.
    fn missing(&self, code: Code) -> Missing<'a> {
        match (code, self.on) {
            (
                Code::TopicAuthorizationFailed,
                Resource::Topic(name) | Resource::GroupOf(_, name),
            ) => {
                // Read includes it. Whoever may not see a topic may not read it either, and would be told so next.
                let right = match self.right {
                    "Describe" => "Read",
                    right => right,
                };
                Missing::new(right, "topic", name)
            }
            (Code::GroupAuthorizationFailed, Resource::Group(name)) => {
                Missing::new(self.right, "group", name)
            }
            (_, Resource::Group(name) | Resource::GroupOf(name, _)) => {
                Missing::new("Read", "group", name)
            }
            (_, Resource::Transaction(id)) => Missing::new("Write", "transactional-id", id),
            (Code::TransactionalIdAuthorizationFailed, _) => {
                Missing::new("Write", "transactional-id", "bekk-ingest/")
            }
            (_, Resource::Topic(name)) if self.right == "Create" => {
                Missing::new(self.right, "topic", name)
            }
            _ => Missing::new(self.right, "cluster", ""),
        }
    }
}

impl fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let act = self.act;
        match self.on {
            Resource::Topic(topic) => write!(f, "{act} topic `{topic}`"),
            Resource::Group(group) => write!(f, "{act} group `{group}`"),
            Resource::GroupOf(group, topic) => {
                write!(f, "{act} group `{group}` in topic `{topic}`")
            }
            Resource::Transaction(id) => write!(f, "{act} transactional id `{id}`"),
            Resource::Cluster => f.write_str(act),
        }
    }
}

struct Missing<'a> {
    right: &'static str,
    /// The kind of resource, as an option of `kafka-acls.sh`.
    kind: &'static str,
    name: &'a str,
}

impl<'a> Missing<'a> {
    const fn new(right: &'static str, kind: &'static str, name: &'a str) -> Self {
        Self { right, kind, name }
    }
}

impl Link {
    /// The error that a request ended with for good.
    pub(super) fn failed(&self, request: Request<'_>, error: &KafkaError) -> Error {
        let reaction = Reaction::of(error);
        match (reaction, code(error)) {
            // On Bekk's server a missing right means that a later session has begun.
            (Reaction::Right, Some(code)) if !self.is_bekk => self.unauthorized(request, code),
            (Reaction::Login, _) => self.unauthenticated(&error.to_string()),
            _ if self.is_away(error) || reaction == Reaction::Session => {
                self.away(request, self.explained(error))
            }
            (_, Some(Code::InvalidTransactionTimeout)) => self.refused(
                request,
                format!(
                    "{error}; set \"transaction.timeout.ms\" under [log.kafka] in bekk.toml to at most the \
                     transaction.max.timeout.ms of the brokers"
                ),
            ),
            _ => self.refused(request, error),
        }
    }

    /// An error's text; of one that Bekk's server gives for a full disk, also what it means.
    pub(super) fn explained(&self, error: &KafkaError) -> String {
        match code(error) {
            Some(Code::KafkaStorageError) if self.is_bekk => {
                format!(
                    "{error}; the server's disk is full, or a write failed there: see its messages"
                )
            }
            _ => error.to_string(),
        }
    }

    fn unauthorized(&self, request: Request<'_>, code: Code) -> Error {
        let Missing { right, kind, name } = request.missing(code);
        let user = self.config.properties.get("sasl.username");
        let user = user.map_or("…", String::as_str);
        let (resource, option) = match kind {
            "cluster" => ("the cluster".to_owned(), "--cluster".to_owned()),
            // The id's end is an ingest's own, and each state directory makes another.
            "transactional-id" => (
                format!("transactional id `{name}`"),
                "--transactional-id bekk-ingest/ --resource-pattern-type prefixed".to_owned(),
            ),
            kind => (format!("{kind} `{name}`"), format!("--{kind} '{name}'")),
        };
        let hosts = &self.config.hosts;
        Error::NotAuthorized {
            right,
            resource,
            address: hosts.clone(),
            remedy: format!(
                "kafka-acls.sh --bootstrap-server {hosts} --add --allow-principal 'User:{user}' --operation {right} \
                 {option}"
            ),
        }
    }

    /// The error of a login that was refused, or of a server that did not prove who it is.
    pub(super) fn unauthenticated(&self, detail: &str) -> Error {
        let authority = self.config.properties.get("ssl.ca.location");
        Error::NotAuthenticated {
            address: self.config.hosts.clone(),
            detail: detail.to_owned(),
            remedy: settings::login_remedy(detail, authority.map(String::as_str)),
        }
    }

    /// The error of a server that did not answer, or cannot do at this moment what was asked for.
    pub(super) fn away(&self, request: Request<'_>, detail: impl fmt::Display) -> Error {
        Error::Away {
            address: self.config.hosts.clone(),
            detail: format!("{request}: {detail}"),
        }
    }

    pub(super) fn refused(&self, request: Request<'_>, detail: impl fmt::Display) -> Error {
        Error::Remote {
            request: request.to_string(),
            address: self.config.hosts.clone(),
            detail: detail.to_string(),
        }
    }
}
