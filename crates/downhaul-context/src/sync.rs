//! What the tree shares between threads: the standard library's or, under `--cfg downhaul_loom`,
//! loom's, which runs a test in every order that the threads can take.

#[cfg(not(downhaul_loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
#[cfg(not(downhaul_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(downhaul_loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
#[cfg(downhaul_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
