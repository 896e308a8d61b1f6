//! [`Lanes`]: the parts of the source, the context of each, and what is begun of them.

use std::sync::{Arc, Weak};

use downhaul_context::{Canceller, Context, Reason};

use crate::broker::{Lane, Revoking};
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
    /// Gone with the lane.
    standing: Arc<()>,
    /// Dropped when nothing of the lane is begun any more.
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
        self.held.push(Held { lane, tenure, ctx, canceller, begun: 0, standing, revoking: None });
        tenure
    }

    /// Counts a message as begun, and returns its lane. `None` if that is gone.
    pub(crate) fn begin(&mut self, ticket: &Ticket) -> Option<&Held> {
        let held = self.find(ticket)?;
        held.begun += 1;
        Some(held)
    }

    /// Counts it as over. Returns whether it can still be settled.
    pub(crate) fn end(&mut self, ticket: &Ticket) -> bool {
        let held = self.find(ticket);
        held.map(|held| held.begun -= 1).is_some()
    }

    /// Lets go of lanes when nothing of them is begun any more; see [`Self::let_go`].
    pub(crate) fn revoke(&mut self, revoking: Revoking) {
        let revoking = Arc::new(revoking);
        for held in self.held.iter_mut().filter(|held| revoking.lanes().contains(&held.lane)) {
            held.revoking = Some(Arc::clone(&revoking));
        }
    }

    pub(crate) fn is_revoking(&self, lane: Lane) -> bool {
        self.held.iter().any(|held| held.lane == lane && held.revoking.is_some())
    }

    /// Forgets lanes that are revoked and of which nothing is begun. To be called when all that is
    /// finished is settled.
    pub(crate) fn let_go(&mut self) {
        self.held.retain(|held| held.revoking.is_none() || held.begun > 0);
    }

    /// Ends what is begun of lanes that are gone. Its verdicts come too late.
    pub(crate) fn lose(&mut self, lanes: &[Lane], why: &'static str) {
        for held in self.held.extract_if(.., |held| lanes.contains(&held.lane)) {
            held.canceller.cancel_with(Reason::cancelled(why));
        }
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
