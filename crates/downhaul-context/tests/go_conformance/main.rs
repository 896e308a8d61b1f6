//! What other context libraries promise and test, tested here: all of Go's package `context`, and
//! what tokio-util, grpc-java, Trio and swansong add. `LIST.md` is the list of it, by number, and
//! `list.rs` holds the list and the tests together.

mod after_func;
mod background;
mod canceled_parent;
mod causes;
mod common;
mod deadlines;
mod examples;
mod family;
mod foreign;
mod grpc;
mod hooks;
mod layers;
mod list;
mod printing;
mod races;
mod swansong;
mod tokio_util;
mod trio;
mod values;
mod without_cancel;
