//! The kit for tests: brokers that fail on purpose, and trials of consumers.

mod faulty;
mod trial;
