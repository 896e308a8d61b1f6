//! The engine: one task that owns a source, begins handlers, and settles what they return.
//!
//! [`step`] says where it goes; [`Engine`] does what each phase is for. It keeps a source open from
//! start to stop and opens a new one when the link is lost: what was delivered by a lost source can
//! no longer be settled, its verdict is counted as lost, and the message comes again. Two stages
//! lead to a stop: the session drains, which handlers see and which cancels nothing; when the
//! budget is over it ends.

mod away;
mod batcher;
mod crew;
mod flow;
mod handles;
mod job;
mod lanes;
mod limits;
mod opening;
mod ordering;
mod pace;
mod processor;
mod schedule;
mod session;
mod throttle;
mod waiting;

use std::future::pending;
use std::sync::Arc;

use downhaul_context::Context;
use tokio::sync::watch;
use tokio::task::yield_now;

use crate::broker::Broker;
pub(crate) use crate::engine::handles::Handles;
pub(crate) use crate::engine::limits::Budgets;
pub(crate) use crate::engine::ordering::Ordered;
pub(crate) use crate::engine::processor::Processor;
use crate::engine::session::{News, Session};
use crate::error::BrokerError;
use crate::kill_switch::KillSwitch;
use crate::lifecycle::{Facts, Link, Phase, State, Wish, step};
use crate::shared::Shared;
use crate::subscription::Subscription;

pub(crate) struct Engine {
    pub(crate) ctx: Context,
    pub(crate) parts: Parts,
    /// What was asked, to be told of changes.
    pub(crate) wishes: watch::Receiver<Wish>,
}

/// What each session of a consumer is made of.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) subscription: Subscription,
    pub(crate) processor: Arc<Processor>,
    pub(crate) ordered: Option<Ordered>,
    pub(crate) kill_switch: Option<KillSwitch>,
    pub(crate) budgets: Budgets,
    pub(crate) shared: Arc<Shared>,
}

impl Engine {
    /// Runs until the context drains or ends.
    pub(crate) async fn run(mut self) {
        let _over = Over(Arc::clone(&self.parts.shared));
        let (mut phase, mut session) = (Phase::Stopped, None);
        // What a failed consumer has tried already.
        let mut tried = None;
        loop {
            let wish = *self.wishes.borrow_and_update();
            let facts = self.facts(&wish, session.as_ref(), tried);
            let next = step(phase, &facts);
            if next != phase {
                phase = next;
                self.enter(phase, &wish, &mut session).await;
                tried = (phase == Phase::Failed).then_some(wish.version);
                continue;
            }
            if let Some(session) = &mut session {
                let (wishes, ctx) = (&self.wishes, &self.ctx);
                // Looked at before each message that begins: after the word to stop, none does.
                let is_news =
                    || wishes.has_changed().unwrap_or(false) || ctx.is_draining() != facts.leaving;
                session.work(phase, &wish, is_news).await;
                if step(phase, &self.facts(&wish, Some(session), tried)) != phase {
                    continue;
                }
            }
            self.say(phase, &wish, session.as_ref());
            if phase == Phase::Stopped && facts.leaving {
                return;
            }
            if session.as_mut().is_some_and(Session::take_turn) {
                yield_now().await;
            } else {
                self.wait(phase, facts.leaving, session.as_mut()).await;
            }
        }
    }

    fn facts(&self, wish: &Wish, session: Option<&Session>, tried: Option<u64>) -> Facts {
        Facts {
            wanted: wish.wanted,
            restart: session.is_some_and(|session| session.restarts != wish.restarts),
            new_wish: tried.is_some_and(|tried| tried != wish.version),
            leaving: self.ctx.is_draining(),
            opened: session.is_some_and(|session| session.opened),
            hopeless: session.is_some_and(|session| session.failure.is_some()),
            busy: session.is_some_and(Session::is_busy),
            ended: session.is_some_and(|session| session.ctx.is_done()),
            grace_over: session.is_some_and(Session::is_grace_over),
            closed: session.is_none_or(|session| session.closed),
        }
    }

    /// Does what the beginning of a phase asks for.
    async fn enter(&self, phase: Phase, wish: &Wish, session: &mut Option<Session>) {
        match (phase, session.as_mut()) {
            (Phase::Starting, _) => *session = Some(Session::begin(&self.ctx, &self.parts, wish)),
            (Phase::Draining, Some(session)) => session.drain(),
            (Phase::Cancelling, Some(session)) => session.give_grace(),
            (Phase::Closing, Some(open)) => {
                self.say(phase, wish, Some(open));
                open.close(&self.ctx).await;
            }
            (Phase::Stopped | Phase::Failed, _) => {
                let failure = session.take().and_then(Session::end);
                if phase == Phase::Failed {
                    self.fail(wish, failure.as_ref());
                }
            }
            _ => {}
        }
    }

    /// Waits until something happens that may change what is so. Whether it is leaving is what was
    /// known when the phase was found: what has changed since then is news.
    async fn wait(&mut self, phase: Phase, leaving: bool, mut session: Option<&mut Session>) {
        let next = async {
            match session.as_deref_mut() {
                Some(session) => session.next(phase).await,
                None => pending().await,
            }
        };
        let news = tokio::select! {
            biased;
            () = self.ctx.draining(), if !leaving => News::Look,
            // Its sender is in `shared`, which the engine holds: it never closes.
            _ = self.wishes.changed() => News::Look,
            news = next => news,
        };
        if let Some(session) = session {
            session.take(news);
        }
    }

    fn say(&self, phase: Phase, wish: &Wish, session: Option<&Session>) {
        let link = session.map_or(Link::Closed, Session::link);
        let suspended_until = session.and_then(Session::suspended_until);
        let (shared, state) = (&self.parts.shared, phase.state());
        if state == State::Failed {
            return;
        }
        shared.status.send_if_modified(|status| {
            let news = status.state != state
                || status.answers != wish.version
                || status.suspended_until != suspended_until
                || !status.link.is_same(&link);
            if status.state != state {
                tracing::info!(consumer = &*shared.name, "{} -> {state}", status.state);
            }
            if news {
                (status.state, status.link, status.answers) = (state, link, wish.version);
                (status.wanted, status.suspended_until) = (wish.wanted, suspended_until);
                status.failure = None;
            }
            news
        });
    }

    fn fail(&self, wish: &Wish, error: Option<&BrokerError>) {
        let chain = error.map_or_else(String::new, BrokerError::chain);
        let shared = &self.parts.shared;
        tracing::error!(consumer = &*shared.name, error = chain, "consumer failed");
        shared.status.send_modify(|status| {
            (status.state, status.link) = (State::Failed, Link::Closed);
            (status.answers, status.wanted) = (wish.version, wish.wanted);
            status.failure = Some(Arc::from(chain));
        });
    }
}

/// Says that the engine is gone, also when the runtime drops its task: nobody shall wait for it.
struct Over(Arc<Shared>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.status.send_modify(|status| {
            (status.state, status.link) = (State::Stopped, Link::Closed);
            status.answers = u64::MAX;
        });
        self.0.over.send_replace(true);
    }
}
