//! Who remembers idempotency keys: what the store in memory forgets, and what becomes of requests
//! whose store fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use downhaul_context::Context;
use downhaul_http::idempotency::{
    Claim, Idempotency, IdempotencyStore, MemoryStore, StoredAnswer, Ticket,
};
use downhaul_http::{BoxError, Request, Router};
use http::{HeaderMap, HeaderName, StatusCode};

use crate::support::Fixture;

/// The store in memory, which can be made to fail.
struct Spy {
    store: MemoryStore,
    fails: AtomicBool,
    fails_to_keep: AtomicBool,
}

/// What tests share with the store that the rules own.
#[derive(Clone)]
struct Spied(Arc<Spy>);

#[async_trait]
impl IdempotencyStore for Spied {
    async fn claim(&self, ctx: &Context, ticket: &Ticket) -> Result<Claim, BoxError> {
        assert_eq!((ticket.key().len(), ticket.fingerprint().len()), (64, 64));
        if self.0.fails.load(Ordering::Relaxed) {
            return Err("the store is away at swordfish".into());
        }
        self.0.store.claim(ctx, ticket).await
    }

    async fn keep(
        &self,
        ctx: &Context,
        ticket: &Ticket,
        answer: StoredAnswer,
    ) -> Result<(), BoxError> {
        let names: Vec<_> = answer.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["content-type"], "the others belong to the first answer alone");
        if self.0.fails_to_keep.load(Ordering::Relaxed) {
            return Err("the store is full".into());
        }
        // As one does that writes it somewhere and reads it from there.
        let (status, headers) = (answer.status(), answer.headers().clone());
        let read = StoredAnswer::new(status, headers, answer.body().clone());
        self.0.store.keep(ctx, ticket, read).await
    }

    async fn release(&self, ticket: &Ticket) -> Result<(), BoxError> {
        self.0.store.release(ticket).await
    }
}

struct Paying {
    server: Fixture,
    spy: Arc<Spy>,
    runs: Arc<AtomicUsize>,
}

async fn paying(store: MemoryStore) -> Paying {
    let spy = Spy { store, fails: false.into(), fails_to_keep: false.into() };
    let (spy, runs) = (Arc::new(spy), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&runs);
    let router = Router::new().post("/pay", move |_: Context, _: Request| {
        let run = counted.fetch_add(1, Ordering::Relaxed) + 1;
        let passing = [("connection", "close"), ("x-request-id", "mine"), ("date", "today")];
        async move { (passing, format!("run {run}")) }
    });
    let rules = Idempotency::new(Spied(Arc::clone(&spy)));
    Paying { server: Fixture::start(router.idempotency(rules)).await, spy, runs }
}

impl Paying {
    async fn pay(&self, key: &str) -> (u16, String) {
        let head = format!("POST /pay HTTP/1.1\r\nhost: t\r\nidempotency-key: {key}\r\n");
        let response = self.server.request(&format!("{head}content-length: 0\r\n\r\n")).await;
        (response.status, response.body)
    }

    /// What requests with these keys are told, by the number of the run.
    async fn pay_all<const N: usize>(&self, keys: [&str; N]) -> [usize; N] {
        let mut told = [0; N];
        for (told, key) in told.iter_mut().zip(keys) {
            let (status, body) = self.pay(key).await;
            assert_eq!(status, 200, "{body}");
            *told = body.trim_start_matches("run ").parse().unwrap();
        }
        told
    }
}

#[tokio::test]
async fn the_oldest_answers_are_forgotten_beyond_the_number() {
    let paying = paying(MemoryStore::new().max_answers(2)).await;
    assert_eq!(paying.pay_all(["a", "b", "a", "b"]).await, [1, 2, 1, 2]);
    // The third takes the place of the first.
    assert_eq!(paying.pay_all(["c", "b", "c", "a"]).await, [3, 2, 3, 4]);
    assert_eq!(paying.pay_all(["b"]).await, [5]);
}

#[tokio::test]
async fn the_oldest_answers_are_forgotten_beyond_the_bytes() {
    // Each costs half a kibibyte and some bytes.
    let paying = paying(MemoryStore::new().max_bytes(1_500)).await;
    assert_eq!(paying.pay_all(["a", "b", "a"]).await, [1, 2, 1]);
    assert_eq!(paying.pay_all(["c", "c", "b", "a"]).await, [3, 3, 2, 4]);
    assert_eq!(paying.pay_all(["c"]).await, [3], "what was forgotten counts no more");
    assert!(format!("{:?}", paying.spy.store).contains("answers: 2, bytes: 11"));
}

#[tokio::test]
async fn one_that_is_larger_than_the_store_is_not_kept() {
    let paying = paying(MemoryStore::new().max_bytes(100)).await;
    assert_eq!(paying.pay_all(["a", "a"]).await, [1, 2]);
}

#[tokio::test]
async fn answers_are_forgotten_when_they_are_old() {
    let clock = crate::support::StillClock::stop();
    let hour = Duration::from_secs(3600);
    let paying = paying(MemoryStore::new()).await;
    assert_eq!(paying.pay_all(["a"]).await, [1]);
    clock.advance(23 * hour).await;
    assert_eq!(paying.pay_all(["a", "b"]).await, [1, 2]);
    clock.advance(hour).await;
    assert_eq!(paying.pay_all(["a", "b"]).await, [3, 2]);
}

#[tokio::test]
async fn what_cannot_be_known_is_not_carried_out() {
    let paying = paying(MemoryStore::new()).await;
    paying.spy.fails.store(true, Ordering::Relaxed);
    let (status, body) = paying.pay("k").await;
    assert_eq!((status, paying.runs.load(Ordering::Relaxed)), (503, 0));
    assert!(!body.contains("swordfish"), "{body}");
    paying.spy.fails.store(false, Ordering::Relaxed);
    assert_eq!(paying.pay_all(["k"]).await, [1]);
}

#[tokio::test]
async fn an_answer_that_cannot_be_kept_reaches_its_client_and_its_request_is_not_repeated() {
    let paying = paying(MemoryStore::new()).await;
    paying.spy.fails_to_keep.store(true, Ordering::Relaxed);
    assert_eq!(paying.pay("k").await, (200, "run 1".to_owned()));
    assert_eq!(paying.pay("k").await.0, 409);
}

/// Keeps the tickets of claims, and grants all.
struct Tickets(std::sync::Mutex<Vec<Ticket>>);

#[async_trait]
impl IdempotencyStore for &'static Tickets {
    async fn claim(&self, _ctx: &Context, ticket: &Ticket) -> Result<Claim, BoxError> {
        self.0.lock().unwrap().push(ticket.clone());
        Ok(Claim::Granted)
    }

    async fn keep(&self, _: &Context, _: &Ticket, _: StoredAnswer) -> Result<(), BoxError> {
        Ok(())
    }

    async fn release(&self, _: &Ticket) -> Result<(), BoxError> {
        Ok(())
    }
}

#[tokio::test]
async fn who_comes_late_changes_nothing_of_what_another_has_claimed() {
    static TICKETS: Tickets = Tickets(std::sync::Mutex::new(Vec::new()));
    let router = Router::new().post("/", async |_: Context, _: Request| "paid");
    let server = Fixture::start(router.idempotency(Idempotency::new(&TICKETS))).await;
    let request = "POST / HTTP/1.1\r\nhost: t\r\nidempotency-key: k\r\ncontent-length: 0\r\n\r\n";
    for _ in 0..2 {
        assert_eq!(server.request(request).await.body, "paid");
    }
    let tickets = TICKETS.0.lock().unwrap().clone();
    let [first, second] = &tickets[..] else { panic!("{tickets:?}") };
    assert_eq!((first.key(), first.fingerprint()), (second.key(), second.fingerprint()));

    let (ctx, store) = (Context::background(), MemoryStore::new());
    let answer = |body: &'static str| {
        StoredAnswer::new(StatusCode::OK, HeaderMap::new(), body.as_bytes().into())
    };
    assert!(matches!(store.claim(&ctx, second).await, Ok(Claim::Granted)));
    store.release(first).await.unwrap();
    store.keep(&ctx, first, answer("late")).await.unwrap();
    assert!(matches!(store.claim(&ctx, first).await, Ok(Claim::InFlight)));
    store.keep(&ctx, second, answer("right")).await.unwrap();
    store.release(second).await.unwrap();
    let Ok(Claim::Answered(kept)) = store.claim(&ctx, first).await else { panic!("forgotten") };
    assert_eq!(kept, answer("right"));
}

#[tokio::test]
async fn one_that_is_larger_than_the_store_drives_out_no_other() {
    static TICKETS: Tickets = Tickets(std::sync::Mutex::new(Vec::new()));
    let router = Router::new().post("/", async |_: Context, _: Request| "paid");
    let server = Fixture::start(router.idempotency(Idempotency::new(&TICKETS))).await;
    for key in ["small", "large"] {
        let head = format!("POST / HTTP/1.1\r\nhost: t\r\nidempotency-key: {key}\r\n");
        server.request(&format!("{head}content-length: 0\r\n\r\n")).await;
    }
    let tickets = TICKETS.0.lock().unwrap().clone();
    let [small, large] = &tickets[..] else { panic!("{tickets:?}") };

    let (ctx, store) = (Context::background(), MemoryStore::new().max_bytes(1_000));
    for (ticket, bytes) in [(small, 10), (large, 1_000)] {
        assert!(matches!(store.claim(&ctx, ticket).await, Ok(Claim::Granted)));
        let answer = StoredAnswer::new(StatusCode::OK, HeaderMap::new(), vec![0; bytes].into());
        store.keep(&ctx, ticket, answer).await.unwrap();
    }
    assert!(matches!(store.claim(&ctx, small).await, Ok(Claim::Answered(_))));
    assert!(matches!(store.claim(&ctx, large).await, Ok(Claim::Granted)));
}

#[tokio::test]
async fn one_that_is_as_large_as_the_store_is_kept() {
    static TICKETS: Tickets = Tickets(std::sync::Mutex::new(Vec::new()));
    let router = Router::new().post("/", async |_: Context, _: Request| "paid");
    let server = Fixture::start(router.idempotency(Idempotency::new(&TICKETS))).await;
    let request = "POST / HTTP/1.1\r\nhost: t\r\nidempotency-key: k\r\ncontent-length: 0\r\n\r\n";
    server.request(request).await;
    let ticket = TICKETS.0.lock().unwrap().remove(0);

    let (ctx, store) = (Context::background(), MemoryStore::new().max_bytes(512 + 1_000));
    assert!(matches!(store.claim(&ctx, &ticket).await, Ok(Claim::Granted)));
    let answer = StoredAnswer::new(StatusCode::OK, HeaderMap::new(), vec![0; 1_000].into());
    store.keep(&ctx, &ticket, answer).await.unwrap();
    assert!(matches!(store.claim(&ctx, &ticket).await, Ok(Claim::Answered(_))));
}
