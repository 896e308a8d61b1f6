//! The behaviour of a context, seen from outside.

mod causes;
mod deadlines;
mod ids;
mod levels;
mod model;
mod tree;
mod values;
mod waiting;
