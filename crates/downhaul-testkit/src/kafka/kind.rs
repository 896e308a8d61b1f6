//! `Kind`: which program stands in for Apache Kafka, and how it is started.

use std::fmt;
use std::path::PathBuf;

use super::apache;
use super::gap::Gap;
use super::installation;
use super::site::Site;

/// A program that speaks Kafka's protocol. What each does wrongly is in [`lacks`](Self::lacks).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// tansu 0.6.0 with its data in memory: a static binary that is there in a second, and groups
    /// that have never been seen to stick while they have members, eager or cooperative.
    ///
    /// Its groups are slow: a member waits 5 seconds for its first record, and two cooperative ones
    /// need 12 to 18 to share their partitions. If three of them leave at once, the last one may
    /// stay the leader of the group, and who comes later waits for it in vain. It counts batches
    /// where it should count records, so that lag, `latest` and offsets by time are wrong; it hides
    /// open transactions but shows aborted ones; it never answers a fetch beyond the end of a log;
    /// `DeleteRecords` ends the connection. SASL and TLS cannot be had. A kill loses everything.
    #[default]
    Tansu,

    /// noida-db 0.2.3, which has Kafka's protocol among others: right about offsets, watermarks,
    /// fetches out of range, `DeleteRecords` and transactions, and a member has its first record
    /// after 0.4 seconds, if its session is at least 6.
    ///
    /// Its cooperative groups stick: about every second time that a member joins, both have asked
    /// to join and neither is answered until `max.poll.interval.ms` has passed. Eager groups do
    /// not, with one exception: it looks every 20 ms whether those who wait to join can be
    /// answered, and if one is and leaves before the next look, it forgets that the others have
    /// joined. Neither they nor those who come later are answered then. It tells those who begin to
    /// read behind an aborted transaction of that transaction all the same, upon which clients pass
    /// over what its producer commits later. It answers each fetch at once, so that idle clients
    /// are busy. It takes any password, has no TLS, cannot advertise the address of a proxy, and a
    /// kill loses what is younger than about a second.
    Noida,

    /// nisshi 0.8.1, which is tansu by its new name, with its data in SQLite: it loses nothing
    /// when it is killed, and has SASL and TLS. It lets nobody begin a transaction. It is built
    /// from source, which takes a quarter of an hour once.
    Nisshi,

    /// Apache Kafka itself, 3.5 or newer, one node by KRaft, where a distribution is unpacked that
    /// `DOWNHAUL_APACHE_KAFKA` names.
    Apache,
}

impl Kind {
    /// What is chosen where nothing else is said: `DOWNHAUL_KAFKA_KIND` by its name, else
    /// [`Tansu`](Self::Tansu).
    ///
    /// # Panics
    ///
    /// If the variable names no kind.
    #[track_caller]
    pub fn chosen() -> Self {
        let Ok(name) = std::env::var("DOWNHAUL_KAFKA_KIND") else { return Self::default() };
        Self::named(&name).unwrap_or_else(|| panic!("DOWNHAUL_KAFKA_KIND: no kind is `{name}`"))
    }

    /// The kind of that [`name`](Self::name).
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Tansu, Self::Noida, Self::Nisshi, Self::Apache];
        all.into_iter().find(|kind| kind.name() == name)
    }

    /// `tansu`, `noida`, `nisshi` or `apache`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tansu => "tansu",
            Self::Noida => "noida",
            Self::Nisshi => "nisshi",
            Self::Apache => "apache",
        }
    }

    /// The version of the package that brings the program.
    pub fn version(self) -> &'static str {
        match self {
            Self::Tansu => "0.1.2",
            Self::Noida => "0.2.3",
            Self::Nisshi => "0.8.1",
            Self::Apache => "as it is unpacked",
        }
    }

    /// Where the program is looked for: below [`home`](super::home), but for
    /// [`Apache`](Self::Apache).
    pub fn program(self) -> PathBuf {
        if self == Self::Apache {
            return apache::program();
        }
        let folder = format!("{}-{}", self.name(), self.version());
        let program = match self {
            Self::Noida => "noida-db",
            kind => kind.name(),
        };
        installation::home().join(folder).join("bin").join(program)
    }

    /// Whether the program is where it is looked for.
    pub fn is_installed(self) -> bool {
        self.program().is_file()
    }

    /// Whether this kind cannot do a thing, or does it wrongly.
    pub fn lacks(self, gap: Gap) -> bool {
        let gaps: &[Gap] = match self {
            Self::Tansu => &[
                Gap::Aborted,
                Gap::Authentication,
                Gap::Encryption,
                Gap::Fencing,
                Gap::Leaving,
                Gap::Positions,
                Gap::Range,
                Gap::Survival,
            ],
            Self::Noida => &[
                Gap::AbortedBefore,
                Gap::Authentication,
                Gap::Cooperation,
                Gap::Encryption,
                Gap::Joining,
                Gap::Proxy,
                Gap::Survival,
            ],
            Self::Nisshi => &[Gap::Transactions],
            Self::Apache => &[],
        };
        gaps.contains(&gap)
    }

    /// The command line behind the program's name.
    pub(super) fn arguments(self, site: &Site) -> Vec<String> {
        let port = site.port.to_string();
        match self {
            Self::Noida => {
                let words = "start --only kafka --host 127.0.0.1 --data-dir data --kafka-port";
                words.split(' ').chain([port.as_str()]).map(str::to_owned).collect()
            }
            Self::Tansu => tansu(site, "memory://tansu/"),
            // Relative to the folder that the server is started in, whatever the number of strokes.
            Self::Nisshi => {
                // Groups begin at once, as brokers for tests are set up; the default is 3 seconds.
                let quick = "--group-initial-rebalance-delay 0s --group-poll-interval 50ms";
                let mut words = tansu(site, "sqlite://broker.db");
                words.extend(quick.split(' ').map(str::to_owned));
                words
            }
            Self::Apache => vec![apache::properties(&site.dir).display().to_string()],
        }
    }
}

fn tansu(site: &Site, storage: &str) -> Vec<String> {
    let (listener, advertised) = (address(site.port), address(site.advertised));
    let words = [
        "broker",
        "--listener-url",
        &listener,
        "--advertised-listener-url",
        &advertised,
        "--storage-engine",
        storage,
    ];
    words.map(str::to_owned).to_vec()
}

/// An address as the tansu family takes it.
pub(super) fn address(port: u16) -> String {
    format!("tcp://127.0.0.1:{port}")
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
