//! [`Cluster`]: several private nodes that are one broker.

use super::NodeError;
use super::node::Node;

/// Nodes of one cluster, all on this machine. Dropping it kills them and removes their data.
///
/// A node that is cut off from most of the others pauses, as `pause_minority` has it: it ends its
/// connections and takes no new ones until it is back.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
}

impl Cluster {
    /// Starts so many nodes, the first alone and the others one by one, which join it.
    ///
    /// # Errors
    ///
    /// As [`Node::start`].
    pub fn start(size: usize) -> Result<Self, NodeError> {
        let mut nodes = vec![Node::start_with(MINORITIES)?];
        while nodes.len() < size {
            nodes.push(nodes[0].start_next(MINORITIES)?);
        }
        Ok(Self { nodes })
    }

    /// Its nodes, the first first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node, to kill and to start again.
    ///
    /// # Panics
    ///
    /// If there are not so many.
    pub fn node(&mut self, index: usize) -> &mut Node {
        &mut self.nodes[index]
    }

    /// Cuts all links between a node and the others, at once. Its clients and `rabbitmqctl` reach
    /// it as before.
    ///
    /// # Errors
    ///
    /// As [`Node::ctl`].
    ///
    /// # Panics
    ///
    /// If there are not so many nodes.
    pub fn cut_off(&self, index: usize) -> Result<(), NodeError> {
        // Nodes talk if each has the same cookie for the other: that is looked at when they meet.
        self.tell_each_other(index, |name| format!("erlang:set_cookie('{name}', 'not {name}')"))?;
        // All in the same moment: of a node that some still see, the others believe nothing.
        let hang_up = "[erlang:disconnect_node(Name) || Name <- nodes()].";
        self.nodes[index].ctl(&["eval", hang_up]).map(drop)
    }

    /// Lets a node that was cut off find the others again, which takes it some seconds.
    ///
    /// # Errors
    ///
    /// As [`Node::ctl`].
    ///
    /// # Panics
    ///
    /// If there are not so many nodes.
    pub fn heal(&self, index: usize) -> Result<(), NodeError> {
        let friend = |name: &str| format!("erlang:set_cookie('{name}', erlang:get_cookie())");
        self.tell_each_other(index, friend)
    }

    /// Tells the others something about a node, and then the node about all others.
    fn tell_each_other(
        &self,
        index: usize,
        what: impl Fn(&str) -> String,
    ) -> Result<(), NodeError> {
        let one = &self.nodes[index];
        let others: Vec<_> = self.nodes.iter().filter(|node| node.name() != one.name()).collect();
        for other in &others {
            other.ctl(&["eval", &format!("{}.", what(&one.name()))])?;
        }
        let all: Vec<_> = others.iter().map(|other| what(&other.name())).collect();
        one.ctl(&["eval", &format!("{}.", all.join(", "))]).map(drop)
    }
}

const MINORITIES: &str = "cluster_partition_handling = pause_minority";
