//! What our own errors are as [`Kind`]s: to go through layers as those of the application do.
//!
//! A setting that is wrong is not the message's fault: only what is wrong with the message itself
//! is permanent.

use downhaul_context::{Class, Kind};

use crate::error::{BrokerError, BrokerErrorKind, PublishError, PublishErrorKind};
use crate::store::{StoreError, StoreErrorKind};

impl Kind for BrokerError {
    fn class(&self) -> Class {
        match self.kind() {
            BrokerErrorKind::Closed | BrokerErrorKind::QueueGone | BrokerErrorKind::Unreachable => {
                Class::Unavailable
            }
            BrokerErrorKind::Configuration | BrokerErrorKind::Message => Class::Internal,
        }
    }

    fn error_type(&self) -> &'static str {
        match self.kind() {
            BrokerErrorKind::Closed => "broker.closed",
            BrokerErrorKind::Configuration => "broker.configuration",
            BrokerErrorKind::Message => "broker.message",
            BrokerErrorKind::QueueGone => "broker.queue_gone",
            BrokerErrorKind::Unreachable => "broker.unreachable",
        }
    }

    fn is_permanent(&self) -> bool {
        self.kind() == BrokerErrorKind::Message
    }
}

impl Kind for PublishError {
    fn class(&self) -> Class {
        match self.kind() {
            PublishErrorKind::Nacked | PublishErrorKind::NotSent | PublishErrorKind::Unknown => {
                Class::Unavailable
            }
            PublishErrorKind::Refused | PublishErrorKind::Returned => Class::Internal,
        }
    }

    fn error_type(&self) -> &'static str {
        match self.kind() {
            PublishErrorKind::Nacked => "publish.nacked",
            PublishErrorKind::NotSent => "publish.not_sent",
            PublishErrorKind::Refused => "publish.refused",
            PublishErrorKind::Returned => "publish.returned",
            PublishErrorKind::Unknown => "publish.unknown",
        }
    }

    fn is_permanent(&self) -> bool {
        self.kind() == PublishErrorKind::Refused
    }
}

impl Kind for StoreError {
    fn class(&self) -> Class {
        match self.kind() {
            StoreErrorKind::Busy | StoreErrorKind::Closed => Class::Unavailable,
            StoreErrorKind::Configuration | StoreErrorKind::Failed => Class::Internal,
        }
    }

    fn error_type(&self) -> &'static str {
        match self.kind() {
            StoreErrorKind::Busy => "store.busy",
            StoreErrorKind::Closed => "store.closed",
            StoreErrorKind::Configuration => "store.configuration",
            StoreErrorKind::Failed => "store.failed",
        }
    }
}
