//! `ruststream-lapin`, as its documentation has it: a handler in an app, and its publisher with
//! confirms.

use std::future::ready;
use std::num::{NonZeroU16, NonZeroUsize};
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use ruststream_lapin::prelude::*;

use super::cost::{Cost, Moment, Progress};
use super::site::{Place, Site};
use super::{MANY, PAYLOAD, PREFETCH, WINDOW};
use crate::bare::{Bare, Parcel};

/// How many of its workers take messages: more of them made it slower.
const WORKERS: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");
const PREFETCHED: NonZeroU16 = NonZeroU16::new(PREFETCH).expect("not zero");

struct Noting(Arc<Progress>);

impl<'p> Handle<Bare<'p>> for Noting {
    fn handle(
        &self,
        message: &Bare<'p>,
        _outs: &(),
        _ctx: &mut Context<'_>,
    ) -> impl Future<Output = Result<(), HandlerOutcome>> {
        self.0.note(message.0);
        ready(Ok(()))
    }
}

/// From the first message until the app has shut down.
pub(super) fn consume(site: &'static Site, place: &'static Place) -> Cost {
    let progress = Progress::of(MANY);
    let noting = Noting(Arc::clone(&progress));
    let broker = LapinBroker::new(site.url.as_str()).prefetch(PREFETCHED);
    let app = RustStream::new(AppInfo::new("bench", "0.1.0")).with_broker(broker, |broker| {
        let queue = RabbitQueue::new(place.queue.as_str());
        broker.include(subscriber(queue, noting).workers(WORKERS).build());
    });
    site.run(async move {
        app.run_until(progress.done()).await.expect("it runs");
        progress.cost(MANY)
    })
}

/// All under way as far as the window goes, until the last is confirmed.
pub(super) fn publish(site: &'static Site, place: &'static Place) -> Cost {
    site.run(async {
        let broker = LapinBroker::new(site.url.as_str());
        let connected = broker.connect().await.expect("the node answers");
        let publisher = connected.publisher(ConfirmsPublish::default().persistent(true));
        let publish_one = || async {
            let parcel = Parcel(PAYLOAD.to_vec());
            let sent = publisher.message(&parcel).to(place.queue.as_str()).publish();
            sent.await.expect("confirmed");
        };
        publish_one().await;
        let start = Moment::now();
        let mut under_way = FuturesUnordered::new();
        for _ in 0..MANY {
            if under_way.len() >= WINDOW {
                under_way.next().await;
            }
            under_way.push(publish_one());
        }
        while under_way.next().await.is_some() {}
        start.until_now(MANY)
    })
}
