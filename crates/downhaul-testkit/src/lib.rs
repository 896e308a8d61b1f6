#![doc = include_str!("../README.md")]

#[cfg(feature = "suite")]
pub mod capture;
#[cfg(feature = "suite")]
pub mod certificates;
mod error;
#[cfg(feature = "suite")]
pub mod faults;
pub mod kafka;
mod ledger;
#[cfg(feature = "suite")]
pub mod oracle;
mod poll;
mod ports;
mod process;
#[cfg(feature = "suite")]
pub mod proxy;
pub mod rabbitmq;
#[cfg(feature = "suite")]
pub mod suite;
pub mod telemetry;
mod tools;
mod unique;

pub use crate::unique::unique;
