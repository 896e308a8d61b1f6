//! Transactions, as readers of committed messages see them.

#![allow(clippy::unwrap_used, reason = "what the tests share is test code as well")]

mod crash;
mod engine;
mod fencing;
mod groups;
mod mock;
mod outcomes;
mod support;
