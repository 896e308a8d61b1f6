//! `Gap`: what a stand-in cannot do.

use std::fmt;

/// What a stand-in for Apache Kafka cannot do, or does wrongly. Its text is the reason of a skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gap {
    /// Readers of committed records alone see aborted ones.
    Aborted,
    /// Who begins to read behind an aborted transaction misses what its producer commits later.
    AbortedBefore,
    /// No login that can fail: SASL is missing, or takes any password.
    Authentication,
    /// Cooperative groups stick while members come and go.
    Cooperation,
    /// No TLS.
    Encryption,
    /// Offsets are committed by whoever asks, also by members whose session is over: what others
    /// have handled since then comes again, and nobody hears why.
    Fencing,
    /// Who joins a group together with a member that leaves at once may never be answered, nor may
    /// who comes later.
    Joining,
    /// A group whose members have all left, one soon after the other, may wait for one of them for
    /// ever and let nobody in.
    Leaving,
    /// Watermarks, `latest` and offsets by time do not count records.
    Positions,
    /// Only its own address is advertised, so that no proxy can stand in front of it.
    Proxy,
    /// A fetch from beyond the end of a log is not answered with an error.
    Range,
    /// A kill loses records that were acknowledged.
    Survival,
    /// Nobody may begin a transaction.
    Transactions,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aborted => "shows aborted records to readers of committed ones",
            Self::AbortedBefore => "tells readers of aborted transactions from before they begin",
            Self::Authentication => "has no login that can fail",
            Self::Cooperation => "has cooperative groups that stick",
            Self::Encryption => "has no TLS",
            Self::Fencing => "takes commits of members whose session is over",
            Self::Joining => "may never answer who joins a group with a member that leaves at once",
            Self::Leaving => "lets nobody into a group that all members have left",
            Self::Positions => "does not count records in watermarks and offsets by time",
            Self::Proxy => "cannot advertise the address of a proxy",
            Self::Range => "does not answer a fetch from beyond the end of a log",
            Self::Survival => "loses acknowledged records when it is killed",
            Self::Transactions => "lets nobody begin a transaction",
        })
    }
}
