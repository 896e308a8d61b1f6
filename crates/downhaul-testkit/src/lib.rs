//! What Downhaul's tests share.

#[cfg(feature = "suite")]
pub mod suite;
