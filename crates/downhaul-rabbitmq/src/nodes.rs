//! [`Nodes`]: all the places where the broker may be.

use std::fmt;

use downhaul_consumer::{BrokerError, BrokerErrorKind};

use crate::address::Address;

/// At least one address, in a sequence that this client has to itself.
#[derive(Clone)]
pub(crate) struct Nodes(Vec<Address>);

impl Nodes {
    /// Shuffles, so that the clients of a cluster spread over it.
    ///
    /// # Errors
    ///
    /// There is none, one is not valid, or they name different vhosts.
    pub(crate) fn parse<U: AsRef<str>>(
        urls: impl IntoIterator<Item = U>,
    ) -> Result<Self, BrokerError> {
        let parsed = urls.into_iter().map(|url| Address::parse(url.as_ref().trim()));
        let mut nodes = parsed.collect::<Result<Vec<_>, _>>()?;
        let Some(first) = nodes.first() else { return Err(wrong("there is no URL of RabbitMQ")) };
        if let Some(other) = nodes.iter().find(|node| node.vhost() != first.vhost()) {
            let (one, two) = (first.vhost(), other.vhost());
            return Err(wrong(format!(
                "the URLs of RabbitMQ name different vhosts, `{one}` and `{two}`: a client that \
                 fails over would find other queues"
            )));
        }
        fastrand::shuffle(&mut nodes);
        Ok(Self(nodes))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The node whose turn it is, counting on and on.
    pub(crate) fn at(&self, turn: usize) -> (usize, &Address) {
        let index = turn % self.0.len();
        (index, &self.0[index])
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Address> {
        self.0.iter_mut()
    }
}

/// All that went wrong, one fault a node, as one error. It is permanent if all are: what one node
/// says may be its own trouble, as long as another has not been heard.
pub(crate) fn none_of(mut faults: Vec<BrokerError>) -> BrokerError {
    if faults.len() == 1
        && let Some(only) = faults.pop()
    {
        return only;
    }
    let same = |kind| faults.iter().all(|fault| fault.kind() == kind);
    let kind = [BrokerErrorKind::Configuration, BrokerErrorKind::Closed];
    let kind = kind.into_iter().find(|kind| same(*kind)).unwrap_or(BrokerErrorKind::Unreachable);
    let chains: Vec<_> = faults.iter().map(BrokerError::chain).collect();
    let words = format!("none of {} nodes of RabbitMQ can be used", faults.len());
    BrokerError::new(kind, words).with_source(chains.join("; "))
}

fn wrong(words: impl Into<String>) -> BrokerError {
    BrokerError::new(BrokerErrorKind::Configuration, words)
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_a_cluster_begin_at_different_nodes() {
        let urls = ["amqp://a", "amqp://b", "amqp://c"];
        let first = || Nodes::parse(urls).unwrap().at(0).1.to_string();
        let firsts: std::collections::BTreeSet<_> = (0..100).map(|_| first()).collect();
        assert_eq!(firsts.len(), 3, "{firsts:?}");
    }

    #[test]
    fn a_cluster_is_one_vhost_and_at_least_one_node() {
        for (urls, words) in [
            (&["amqp://a/x", "amqp://u:s3cret@b/y"][..], "`x` and `y`"),
            (&[], "no URL"),
            (&["amqp://a", "http://u:s3cret@b"], "amqp://"),
        ] {
            let error = Nodes::parse(urls).unwrap_err();
            assert_eq!(error.kind(), BrokerErrorKind::Configuration);
            let chain = error.chain();
            assert!(chain.contains(words) && !chain.contains("s3cret"), "{chain}");
        }
    }

    #[test]
    fn faults_of_several_nodes_are_permanent_if_each_is() {
        let fault = |kind| BrokerError::new(kind, format!("{kind:?}"));
        let (wrong, away) = (BrokerErrorKind::Configuration, BrokerErrorKind::Unreachable);
        assert_eq!(none_of(vec![fault(wrong), fault(wrong)]).kind(), wrong);
        let mixed = none_of(vec![fault(wrong), fault(away)]);
        assert_eq!(mixed.kind(), away);
        assert!(mixed.chain().ends_with("Configuration; Unreachable"), "{}", mixed.chain());
    }
}
