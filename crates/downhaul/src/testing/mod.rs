//! What tests of a whole service need.
//!
//! [`TestApp`] runs an app with signals of the test's own, says what happened to its components and
//! in which order, and hands out the report, which has asserts of its own here. [`Client`] sends
//! requests to a server in memory, and [`SpanRecorder`] keeps the spans of a test.
//!
//! # Examples
//!
//! ```
//! use downhaul::testing::TestApp;
//! use downhaul::{App, Resource, Task};
//!
//! fn service() -> App {
//!     let mut app = App::new("shop");
//!     let pool = app.add("pool", Resource::new(|_ctx| async { std::io::Result::Ok(7) }), []);
//!     let sweep = Task::new(|ctx| async move {
//!         ctx.draining().await;
//!         std::io::Result::Ok(())
//!     });
//!     app.add("sweep", sweep, [pool]);
//!     app
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let app = TestApp::start(service()).await;
//! let report = app.stop().await;
//! report.assert_clean();
//! assert_eq!(app.order(), ["pool started", "sweep started", "sweep stopped", "pool stopped"]);
//! # }
//! ```

mod app;
mod event;
mod report;
mod spans;

pub use self::app::TestApp;
pub use self::event::Event;
pub use self::spans::{RecordedSpan, SpanRecorder};

pub use downhaul_http::testing::Client;
