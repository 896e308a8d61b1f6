//! What tests of handlers and of whole consumers need.
//!
//! [`Trial`] runs one consumer on a broker of its own and says what became of each message.
//! [`FaultyBroker`] stands in front of any broker and fails on purpose. Both keep to tokio's clock:
//! in a test that pauses it, minutes of backoff pass in no time.
//!
//! # Examples
//!
//! ```
//! use downhaul_consumer::testing::{Ending, Trial};
//! use downhaul_consumer::{Consumer, Failure, Incoming, Json, Message, Subscription};
//! use downhaul_context::Context;
//!
//! async fn reserve(_ctx: Context, order: Incoming<Json<u32>>) -> Result<(), Failure> {
//!     match (order.body.0, order.attempt()) {
//!         (0, _) => Err(Failure::permanent("an order of nothing")),
//!         (_, 1) => Err(std::io::Error::other("the stock is being counted").into()),
//!         _ => Ok(()),
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let trial = Trial::of(Consumer::new(Subscription::new("inventory"), reserve)).await;
//!
//! let order = trial.send(Message::json(&3)?).await?;
//! assert_eq!(order.ending, Ending::Acked);
//! assert_eq!(order.attempts.len(), 2);
//!
//! let nothing = trial.send(Message::json(&0)?).await?;
//! assert_eq!(nothing.ending, Ending::dead("an order of nothing"));
//!
//! // The verdict is lost with the link: the message comes again.
//! trial.faults().lose_next_settlement();
//! assert_eq!(trial.send(Message::json(&3)?).await?.attempts.len(), 4);
//! # Ok(())
//! # }
//! ```

mod faults;
mod faulty;
mod incident;
mod plan;
mod trial;

pub use crate::testing::faults::Faults;
pub use crate::testing::faulty::FaultyBroker;
pub use crate::testing::incident::{Fault, Incident};
pub use crate::testing::plan::Plan;
pub use crate::testing::trial::{Attempt, Ending, Fate, Trial, TrialError};
