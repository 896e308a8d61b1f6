//! [`Lanes`]: the parts of the source, the context of each, and what is begun of them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use downhaul_context::{Canceller, Context, Reason};

use tokio::time::Instant;

use crate::broker::{Lane, Revoking, Token};
use crate::engine::job::{Tenure, Ticket};

pub(crate) struct Lanes {
    session: Context,
    /// Few, and nearly always one.
    held: Vec<Held>,
    tenures: u64,
}

/// A lane that is this consumer's.
pub(crate) struct Held {
    lane: Lane,
    tenure: Tenure,
    /// What handlers of its messages live under.
    pub(crate) ctx: Context,
    canceller: Canceller,
    begun: usize,
    /// The last that was begun of it, and the last that is finished for good.
    reach: Option<Token>,
    finished: Option<Token>,
    /// Gone with the lane.
    standing: Arc<()>,
    /// Dropped when nothing more of the lane is to be finished.
    revoking: Option<Arc<Revoking>>,
}

impl Held {
    /// What a task of one of its messages needs: what to live under, and what tells whether that
    /// can still be settled.
    pub(crate) fn for_a_task(&self) -> (Context, Standing) {
        (self.ctx.clone(), Standing(Arc::downgrade(&self.standing)))
    }
}

/// Whether a lane is still held, seen from a task.
#[derive(Clone)]
pub(crate) struct Standing(Weak<()>);

impl Standing {
    pub(crate) fn holds(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl Lanes {
    pub(crate) fn new(session: Context) -> Self {
        Self { session, held: Vec::new(), tenures: 0 }
    }

    /// The tenure of a lane, which begins with its first delivery.
    pub(crate) fn tenure(&mut self, lane: Lane) -> Tenure {
        if let Some(held) = self.held.iter().find(|held| held.lane == lane) {
            return held.tenure;
        }
        self.tenures += 1;
        let tenure = Tenure(self.tenures);
        // The label of all handlers' contexts below it: one each would cost each an allocation.
        let (ctx, canceller) = self.session.derive().label("handler").build();
        let standing = Arc::default();
        self.held.push(Held {
            lane,
            tenure,
            ctx,
            canceller,
            begun: 0,
            reach: None,
            finished: None,
            standing,
            revoking: None,
        });
        tenure
    }

    /// Counts a message as begun, and returns its lane. `None` if that is gone.
    pub(crate) fn begin(&mut self, ticket: &Ticket) -> Option<&Held> {
        let held = self.find(ticket)?;
        held.begun += 1;
        held.reach = held.reach.max(Some(ticket.token));
        Some(held)
    }

    /// Counts it as over, for now or finished for good. Returns whether it can still be settled.
    pub(crate) fn end(&mut self, ticket: &Ticket, is_finished: bool) -> bool {
        let Some(held) = self.find(ticket) else { return false };
        held.begun -= 1;
        if is_finished {
            held.finished = held.finished.max(Some(ticket.token));
        }
        true
    }

    /// How far each lane is finished, or will be once what is begun of it is: what is finished
    /// behind an unfinished message comes again with it.
    pub(crate) fn horizons(&self) -> HashMap<Tenure, Token> {
        let horizon = |held: &Held| if held.begun > 0 { held.reach } else { held.finished };
        self.held.iter().filter_map(|held| Some((held.tenure, horizon(held)?))).collect()
    }

    /// Lets go of lanes when nothing more of them is to be finished; see [`Self::let_go`].
    pub(crate) fn revoke(&mut self, revoking: Revoking) {
        let revoking = Arc::new(revoking);
        for held in self.held.iter_mut().filter(|held| revoking.lanes().contains(&held.lane)) {
            held.revoking = Some(Arc::clone(&revoking));
        }
    }

    pub(crate) fn is_revoking(&self, lane: Lane) -> bool {
        self.held.iter().any(|held| held.lane == lane && held.revoking.is_some())
    }

    /// What is revoked, each with until when to wait for what is not due yet.
    pub(crate) fn revoked(&self) -> Vec<(Lane, Instant)> {
        let revoked =
            self.held.iter().filter_map(|held| Some((held.lane, held.revoking.as_ref()?)));
        revoked.map(|(lane, revoking)| (lane, revoking.patience())).collect()
    }

    /// Forgets lanes that are revoked and of which nothing is begun, nor `is_in_hand`. To be called
    /// when all that is finished is settled.
    pub(crate) fn let_go(&mut self, is_in_hand: impl Fn(Lane) -> bool) {
        self.held.retain(|held| held.revoking.is_none() || held.begun > 0 || is_in_hand(held.lane));
    }

    /// Ends what is begun of lanes that are gone, and returns how many that are. Their verdicts
    /// come too late.
    pub(crate) fn lose(&mut self, lanes: &[Lane], why: &'static str) -> usize {
        let lost = self.held.extract_if(.., |held| lanes.contains(&held.lane));
        let end = |held: Held| {
            held.canceller.cancel_with(Reason::cancelled(why));
            held.begun
        };
        lost.map(end).sum()
    }

    /// Forgets all lanes with their source. What is begun goes on, under the session, and its
    /// verdicts come too late.
    pub(crate) fn forget_all(&mut self) {
        self.held.drain(..).for_each(|held| held.canceller.disarm());
    }

    fn find(&mut self, ticket: &Ticket) -> Option<&mut Held> {
        self.held.iter_mut().find(|held| held.tenure == ticket.tenure)
    }
}
