//! [`Trace`]: all that an error carries besides itself.

use std::iter;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};

use super::layer::{Layer, Shown};
use super::situation::Situation;
use crate::context::Context;

/// The layers that an error came through, and how things stood at the first.
pub(super) struct Trace {
    /// The innermost, for which there is room without an allocation.
    first: Layer,
    /// The others, on the way out.
    further: Vec<Layer>,
    pub(super) situation: Situation,
    is_logged: AtomicBool,
}

impl Trace {
    pub(super) fn begin(
        ctx: &Context,
        name: &'static str,
        location: &'static Location<'static>,
    ) -> Self {
        Self {
            first: Layer::new(name, location),
            further: Vec::new(),
            situation: Situation::of(ctx),
            is_logged: AtomicBool::new(false),
        }
    }

    pub(super) fn push(&mut self, name: &'static str, location: &'static Location<'static>) {
        self.further.push(Layer::new(name, location));
    }

    /// Adds to the outermost layer.
    pub(super) fn set(&mut self, key: &'static str, value: Shown) {
        self.further.last_mut().unwrap_or(&mut self.first).set(key, value);
    }

    /// From the outermost to the innermost.
    pub(super) fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.further.iter().rev().chain(iter::once(&self.first))
    }

    /// Whether nobody has asked before.
    pub(super) fn is_first_to_log(&self) -> bool {
        !self.is_logged.swap(true, Ordering::Relaxed)
    }

    pub(super) fn is_logged(&self) -> bool {
        self.is_logged.load(Ordering::Relaxed)
    }
}
