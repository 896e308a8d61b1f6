//! The behaviour of a context, seen from outside.

mod callbacks;
mod causes;
mod deadlines;
mod ids;
mod levels;
mod merging;
mod model;
mod parsers;
mod scope;
mod snapshots;
mod stress;
#[cfg(feature = "tokio-util")]
mod token;
mod traced;
mod tree;
mod value_model;
mod values;
mod waiting;
mod waking;
mod wire;
