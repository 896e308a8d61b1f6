//! Nothing: this package is its tests. See `main.rs`.
