//! Kafka's error codes.

use crate::Error;
use crate::produced::Unfit;
use crate::producers::Refusal;

/// An error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code(pub(super) i16);

impl Code {
    pub(super) const NONE: Self = Self(0);
    pub(super) const OFFSET_OUT_OF_RANGE: Self = Self(1);
    pub(super) const CORRUPT_MESSAGE: Self = Self(2);
    pub(super) const UNKNOWN_TOPIC_OR_PARTITION: Self = Self(3);
    pub(super) const MESSAGE_TOO_LARGE: Self = Self(10);
    pub(super) const OFFSET_METADATA_TOO_LARGE: Self = Self(12);
    pub(super) const INVALID_TOPIC: Self = Self(17);
    pub(super) const INVALID_REQUIRED_ACKS: Self = Self(21);
    pub(super) const INVALID_GROUP_ID: Self = Self(24);
    pub(super) const UNKNOWN_MEMBER_ID: Self = Self(25);
    pub(super) const TOPIC_AUTHORIZATION_FAILED: Self = Self(29);
    pub(super) const GROUP_AUTHORIZATION_FAILED: Self = Self(30);
    pub(super) const CLUSTER_AUTHORIZATION_FAILED: Self = Self(31);
    pub(super) const INVALID_TIMESTAMP: Self = Self(32);
    pub(super) const UNSUPPORTED_SASL_MECHANISM: Self = Self(33);
    pub(super) const ILLEGAL_SASL_STATE: Self = Self(34);
    pub(super) const UNSUPPORTED_VERSION: Self = Self(35);
    pub(super) const TOPIC_ALREADY_EXISTS: Self = Self(36);
    pub(super) const INVALID_PARTITIONS: Self = Self(37);
    pub(super) const INVALID_REPLICATION_FACTOR: Self = Self(38);
    pub(super) const INVALID_REPLICA_ASSIGNMENT: Self = Self(39);
    pub(super) const INVALID_CONFIG: Self = Self(40);
    pub(super) const INVALID_REQUEST: Self = Self(42);
    pub(super) const POLICY_VIOLATION: Self = Self(44);
    pub(super) const OUT_OF_ORDER_SEQUENCE_NUMBER: Self = Self(45);
    pub(super) const DUPLICATE_SEQUENCE_NUMBER: Self = Self(46);
    pub(super) const INVALID_PRODUCER_EPOCH: Self = Self(47);
    pub(super) const KAFKA_STORAGE_ERROR: Self = Self(56);
    pub(super) const SASL_AUTHENTICATION_FAILED: Self = Self(58);
    pub(super) const UNKNOWN_PRODUCER_ID: Self = Self(59);
    pub(super) const GROUP_ID_NOT_FOUND: Self = Self(69);
    pub(super) const FETCH_SESSION_ID_NOT_FOUND: Self = Self(70);
    pub(super) const FENCED_LEADER_EPOCH: Self = Self(74);
    pub(super) const UNKNOWN_LEADER_EPOCH: Self = Self(75);
    pub(super) const UNSUPPORTED_COMPRESSION_TYPE: Self = Self(76);
    pub(super) const FENCED_INSTANCE_ID: Self = Self(82);
    pub(super) const INVALID_RECORD: Self = Self(87);

    pub(super) const fn is_error(self) -> bool {
        self.0 != 0
    }
}

/// Why something is not done.
pub(super) type Refused = (Code, String);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        (Code::from(&error), error.to_string())
    }
}

impl From<&Error> for Code {
    fn from(error: &Error) -> Self {
        match error {
            Error::UnknownTopic(_) | Error::UnknownPartition { .. } => {
                Self::UNKNOWN_TOPIC_OR_PARTITION
            }
            Error::OffsetOutOfRange { .. } => Self::OFFSET_OUT_OF_RANGE,
            Error::Invalid { what: "topic", .. } => Self::INVALID_TOPIC,
            Error::Invalid { what: "group", .. } => Self::INVALID_GROUP_ID,
            Error::Invalid {
                what: "partition count",
                ..
            } => Self::INVALID_PARTITIONS,
            Error::Invalid { .. } => Self::INVALID_REQUEST,
            // Clients take it for permanent, as it is.
            Error::Fenced { .. } => Self::TOPIC_AUTHORIZATION_FAILED,
            Error::BatchTooLarge { .. } => Self::MESSAGE_TOO_LARGE,
            // Clients try again after it, as they should: a full disk gets space, and a log whose write failed is opened
            // again.
            _ => Self::KAFKA_STORAGE_ERROR,
        }
    }
}

impl From<Refusal> for Code {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownProducer => Self::UNKNOWN_PRODUCER_ID,
            Refusal::OldEpoch => Self::INVALID_PRODUCER_EPOCH,
            Refusal::OutOfOrder => Self::OUT_OF_ORDER_SEQUENCE_NUMBER,
            Refusal::Duplicate => Self::DUPLICATE_SEQUENCE_NUMBER,
        }
    }
}

impl From<&Unfit> for Code {
    fn from(unfit: &Unfit) -> Self {
        match unfit {
            Unfit::Damaged(_) => Self::CORRUPT_MESSAGE,
            Unfit::Invalid(_) => Self::INVALID_RECORD,
            Unfit::Timestamp(_) => Self::INVALID_TIMESTAMP,
            Unfit::TooLarge { .. } => Self::MESSAGE_TOO_LARGE,
        }
    }
}
