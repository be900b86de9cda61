//! Kafka's error table: what each code asks of a client.
//!
//! The codes and which of them are worth a retry are those of Kafka's protocol guide
//! (<https://kafka.apache.org/protocol#protocol_error_codes>); the negative ones are librdkafka's own.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// What an error asks of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Repeat the request.
    Retry,
    /// Ask where the topic's partitions are, then repeat the request.
    Metadata,
    /// Repeat the request; librdkafka asks for the coordinator again.
    Coordinator,
    /// The client's state is of no use any more: make another client and look at the log.
    Session,
    /// A newer producer has taken over.
    Fenced,
    /// The cluster does not know us, or does not prove to be itself.
    Login,
    Right,
    /// The record, or the batch that it is in, is refused.
    Record,
    /// The partition has no such offset.
    Place,
    /// The request is refused: repeating it does not help.
    Request,
}

/// The reaction to each code, in the codes' order.
const TABLE: &[(Code, Reaction)] = {
    use Code::*;
    use Reaction::{Coordinator, Login, Metadata, Place, Record, Request, Retry, Right, Session};
    &[
        (BadMessage, Request),
        (BadCompression, Request),
        (BrokerDestroy, Retry),
        (Fail, Retry),
        (BrokerTransportFailure, Retry),
        (CriticalSystemResource, Request),
        (Resolve, Retry),
        (MessageTimedOut, Retry),
        (PartitionEOF, Retry),
        (UnknownPartition, Metadata),
        (FileSystem, Request),
        (UnknownTopic, Metadata),
        (AllBrokersDown, Retry),
        (InvalidArgument, Request),
        (OperationTimedOut, Retry),
        (QueueFull, Retry),
        (ISRInsufficient, Retry),
        (NodeUpdate, Retry),
        (SSL, Login),
        (WaitingForCoordinator, Coordinator),
        (UnknownGroup, Coordinator),
        (InProgress, Retry),
        (PreviousInProgress, Retry),
        (ExistingSubscription, Request),
        (AssignPartitions, Request),
        (RevokePartitions, Request),
        (Conflict, Retry),
        (State, Session),
        (UnknownProtocol, Request),
        (NotImplemented, Request),
        (Authentication, Login),
        (NoOffset, Place),
        (Outdated, Retry),
        (TimedOutQueue, Retry),
        (UnsupportedFeature, Request),
        (WaitCache, Retry),
        (Interrupted, Retry),
        (KeySerialization, Request),
        (ValueSerialization, Request),
        (KeyDeserialization, Request),
        (ValueDeserialization, Request),
        (Partial, Retry),
        (ReadOnly, Request),
        (NoEnt, Request),
        (Underflow, Retry),
        (InvalidType, Request),
        (Code::Retry, Retry),
        (PurgeQueue, Session),
        (PurgeInflight, Session),
        (Fatal, Session),
        (Inconsistent, Session),
        (GaplessGuarantee, Session),
        (PollExceeded, Session),
        (UnknownBroker, Metadata),
        (NotConfigured, Request),
        (Code::Fenced, Reaction::Fenced),
        (Application, Request),
        (AssignmentLost, Session),
        (Noop, Retry),
        (AutoOffsetReset, Place),
        (LogTruncation, Place),
        (InvalidDifferentRecord, Record),
        (DestroyBroker, Metadata),
        // The broker failed in a way that it has no name for: it may be on its way down.
        (Unknown, Retry),
        (OffsetOutOfRange, Place),
        (InvalidMessage, Retry),
        (UnknownTopicOrPartition, Metadata),
        (InvalidMessageSize, Request),
        (LeaderNotAvailable, Metadata),
        (NotLeaderForPartition, Metadata),
        (RequestTimedOut, Retry),
        (BrokerNotAvailable, Metadata),
        (ReplicaNotAvailable, Metadata),
        (MessageSizeTooLarge, Record),
        (StaleControllerEpoch, Retry),
        (OffsetMetadataTooLarge, Request),
        (NetworkException, Retry),
        (CoordinatorLoadInProgress, Coordinator),
        (CoordinatorNotAvailable, Coordinator),
        (NotCoordinator, Coordinator),
        (InvalidTopic, Request),
        (MessageBatchTooLarge, Record),
        (NotEnoughReplicas, Retry),
        (NotEnoughReplicasAfterAppend, Retry),
        (InvalidRequiredAcks, Request),
        (IllegalGeneration, Session),
        (InconsistentGroupProtocol, Request),
        (InvalidGroupId, Request),
        (UnknownMemberId, Session),
        (InvalidSessionTimeout, Request),
        (RebalanceInProgress, Retry),
        (InvalidCommitOffsetSize, Request),
        (TopicAuthorizationFailed, Right),
        (GroupAuthorizationFailed, Right),
        (ClusterAuthorizationFailed, Right),
        (InvalidTimestamp, Record),
        (UnsupportedSASLMechanism, Login),
        (IllegalSASLState, Login),
        (UnsupportedVersion, Request),
        (TopicAlreadyExists, Request),
        (InvalidPartitions, Request),
        (InvalidReplicationFactor, Request),
        (InvalidReplicaAssignment, Request),
        (InvalidConfig, Request),
        (NotController, Metadata),
        (InvalidRequest, Request),
        (UnsupportedForMessageFormat, Request),
        (PolicyViolation, Request),
        (OutOfOrderSequenceNumber, Session),
        (DuplicateSequenceNumber, Session),
        // Not a fence: a cluster gives up a transaction that takes long, and says the same.
        (InvalidProducerEpoch, Session),
        (InvalidTransactionalState, Session),
        (InvalidProducerIdMapping, Session),
        (InvalidTransactionTimeout, Request),
        (ConcurrentTransactions, Retry),
        (TransactionCoordinatorFenced, Session),
        (TransactionalIdAuthorizationFailed, Right),
        (SecurityDisabled, Request),
        (OperationNotAttempted, Retry),
        (KafkaStorageError, Metadata),
        (LogDirNotFound, Request),
        (SaslAuthenticationFailed, Login),
        (UnknownProducerId, Session),
        (ReassignmentInProgress, Request),
        (DelegationTokenAuthDisabled, Login),
        (DelegationTokenNotFound, Login),
        (DelegationTokenOwnerMismatch, Login),
        (DelegationTokenRequestNotAllowed, Login),
        (DelegationTokenAuthorizationFailed, Right),
        (DelegationTokenExpired, Login),
        (InvalidPrincipalType, Login),
        (NonEmptyGroup, Request),
        (GroupIdNotFound, Request),
        (FetchSessionIdNotFound, Retry),
        (InvalidFetchSessionEpoch, Retry),
        (ListenerNotFound, Metadata),
        (TopicDeletionDisabled, Request),
        (FencedLeaderEpoch, Metadata),
        (UnknownLeaderEpoch, Metadata),
        (UnsupportedCompressionType, Request),
        (StaleBrokerEpoch, Retry),
        (OffsetNotAvailable, Retry),
        (MemberIdRequired, Session),
        (PreferredLeaderNotAvailable, Metadata),
        (GroupMaxSizeReached, Request),
        (FencedInstanceId, Reaction::Fenced),
        (EligibleLeadersNotAvailable, Metadata),
        (ElectionNotNeeded, Metadata),
        (NoReassignmentInProgress, Request),
        (GroupSubscribedToTopic, Request),
        (InvalidRecord, Record),
        (UnstableOffsetCommit, Retry),
        (ThrottlingQuotaExceeded, Retry),
        (ProducerFenced, Reaction::Fenced),
        (ResourceNotFound, Request),
        (DuplicateResource, Request),
        (UnacceptableCredential, Login),
        (InconsistentVoterSet, Request),
        (InvalidUpdateVersion, Request),
        (FeatureUpdateFailed, Request),
        (PrincipalDeserializationFailure, Login),
        (UnknownTopicId, Metadata),
        (FencedMemberEpoch, Session),
        (UnreleasedInstanceId, Session),
        (UnsupportedAssignor, Request),
        (StaleMemberEpoch, Session),
        (UnknownSubscriptionId, Request),
        (TelemetryTooLarge, Request),
        (RebootstrapRequired, Metadata),
    ]
};

impl Reaction {
    /// The reaction to a code; a request with a code that is not in the table is not repeated.
    pub(super) fn of_code(code: Code) -> Self {
        let found = TABLE.iter().find(|(known, _)| *known == code);
        found.map_or(Self::Request, |(_, reaction)| *reaction)
    }

    pub(super) fn of(error: &KafkaError) -> Self {
        match error {
            // librdkafka knows more of a transaction than the code says.
            KafkaError::Transaction(error) => match Self::of_code(error.code()) {
                reaction @ (Self::Fenced | Self::Right | Self::Record) => reaction,
                // Another producer would get the same answer.
                reaction @ (Self::Request | Self::Login) if error.is_fatal() => reaction,
                _ if error.is_fatal() || error.txn_requires_abort() => Self::Session,
                _ if error.is_retriable() => Self::Retry,
                reaction => reaction,
            },
            KafkaError::MessageConsumptionFatal(_) | KafkaError::Canceled => Self::Session,
            // Calls that come before the consumer has begun to fetch; the binding does not pass the code on.
            KafkaError::Seek(_) | KafkaError::PauseResume(_) => Self::Retry,
            other => code(other).map_or(Self::Request, Self::of_code),
        }
    }

    /// Whether the same request may succeed later.
    pub(super) const fn is_retriable(self) -> bool {
        matches!(self, Self::Retry | Self::Metadata | Self::Coordinator)
    }
}

/// An error's code. The binding does not pass on that of an administrative request.
pub(super) fn code(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::ResponseError;
    use rdkafka::types::RDKafkaRespErr;

    use super::*;

    /// The codes that librdkafka knows, with their numbers.
    fn known() -> impl Iterator<Item = (i16, Code)> {
        (-200..1000).filter_map(|number| {
            let response = RDKafkaRespErr::try_from(i32::from(number)).ok()?;
            Some((number, Code::from(response)))
        })
    }

    #[test]
    fn every_code_is_in_the_table_once() {
        let mut count = 0;
        for (number, code) in known() {
            // Bounds of the ranges, and success.
            if matches!(number, -200 | -100 | 0) || code == Code::EndAll {
                continue;
            }
            let found = TABLE.iter().filter(|(known, _)| *known == code).count();
            assert_eq!(found, 1, "{code:?} ({number})");
            count += 1;
        }
        assert_eq!(count, TABLE.len());
    }

    /// Codes that the protocol guide calls retriable are retried, and of the others only those named here.
    #[test]
    fn the_table_agrees_with_the_protocol_guide() {
        let retried_anyway = [
            Code::Unknown,
            Code::BrokerNotAvailable,
            Code::StaleControllerEpoch,
            Code::RebalanceInProgress,
            Code::ConcurrentTransactions,
            Code::OperationNotAttempted,
            Code::StaleBrokerEpoch,
            Code::RebootstrapRequired,
        ];
        let mut count = 0;
        for (number, code) in known().filter(|(number, _)| *number == -1 || *number > 0) {
            let Some(told) = ResponseError::try_from_code(number) else {
                continue;
            };
            let is_retriable = told.is_retriable() || retried_anyway.contains(&code);
            assert_eq!(
                Reaction::of_code(code).is_retriable(),
                is_retriable,
                "{code:?} ({number})"
            );
            count += 1;
        }
        assert!(count > 90, "{count} codes");
    }

    #[test]
    fn the_code_of_an_administrative_request_counts() {
        let error = KafkaError::AdminOp(Code::NotController);
        assert_eq!(Reaction::of(&error), Reaction::Metadata);
    }
}
