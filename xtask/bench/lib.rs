//! The measurements behind `cargo xtask bench`. One folder per area.
//!
//! Two programs run the same cases: one takes the time, the other, whose allocator counts, takes
//! the memory. So counting costs the timed runs nothing.
#![cfg(feature = "bench")]

mod areas;
mod bare;
mod case;
mod commands;
mod consumer;
mod context;
mod glue;
mod http;
mod kafka;
mod lap;
mod memory;
mod peers;
mod probe;
mod rabbitmq;
mod report;
mod rounds;
mod row;
mod samples;
mod tally;

pub use crate::commands::{count, time};
pub use crate::http::serve;
pub use crate::tally::{Counter, Tally};
