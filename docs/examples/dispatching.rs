//! A queue with messages of several types, of which some ask for an answer.

use downhaul_consumer::testing::{Ending, Trial};
use downhaul_consumer::{Consumer, Decode, DecodeError, Failure, Incoming, Json, Message};
use downhaul_consumer::{Outcome, Settlement, Subscription};
use downhaul_context::Context;
use downhaul_rabbitmq::property;

// ANCHOR: dispatch
/// What lies in the queue, by the property `type`.
enum Job {
    Charge(u32),
    Quote(u32),
}

impl Decode for Job {
    fn decode(message: &Message) -> Result<Self, DecodeError> {
        let cents = || Json::decode(message).map(|Json(cents)| cents);
        match message.headers().get(property::TYPE) {
            Some("charge") => Ok(Self::Charge(cents()?)),
            Some("quote") => Ok(Self::Quote(cents()?)),
            // It is a dead letter at once, as one that is no JSON.
            other => Err(DecodeError::new(format!("no job of the type {other:?}"))),
        }
    }
}

async fn work(ctx: Context, job: Incoming<Job>) -> Result<Outcome, Failure> {
    let done = Outcome::new(Settlement::Ack);
    match job.body {
        Job::Charge(cents) => {
            charge(&ctx, cents).await?;
            Ok(done)
        }
        Job::Quote(cents) => {
            let answer = property::answer(job.message(), Message::json(&(cents / 5))?);
            Ok(answer.into_iter().fold(done, Outcome::emit))
        }
    }
}
// ANCHOR_END: dispatch

async fn charge(_ctx: &Context, _cents: u32) -> Result<(), std::io::Error> {
    Ok(())
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let trial = Trial::of(Consumer::new(Subscription::new("billing.jobs"), work)).await;
    let job = |kind: &str| Message::new("500").with_header(property::TYPE, kind.to_owned());
    assert_eq!(trial.send(job("charge")).await?.ending, Ending::Acked);

    let quote = job("quote").with_header(property::REPLY_TO, "answers");
    let quote = quote.with_header(property::CORRELATION_ID, "call-7");
    assert_eq!(trial.send(quote).await?.ending, Ending::Acked);
    let answer = &trial.published_to("answers")[0];
    assert_eq!(answer.payload(), "100");
    assert_eq!(property::correlation_id(answer), Some("call-7"));

    trial.send(job("refund")).await?;
    assert_eq!(trial.dead_letters().len(), 1);
    Ok(())
}
