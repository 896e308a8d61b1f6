//! A chain of contexts, each the child of the one before.

use downhaul_context::{Canceller, Context};
use tokio_util::sync::CancellationToken;

use crate::case::Case;
use crate::peers::TOKEN;
use crate::probe::Probe;
use crate::samples::Samples;

const NODES: u32 = 10_000;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::ratio("chain of 10k, create, per node", TOKEN, 0.7, create),
        Case::ratio("chain of 10k, cancel, per node", TOKEN, 0.4, cancel),
        Case::ratio("chain of 10k, drop, per node", TOKEN, 0.7, drop_all),
    ]
}

type Ours = Vec<(Context, Canceller)>;
type Tokens = Vec<CancellationToken>;

fn our_root() -> Ours {
    let mut chain = Vec::with_capacity(NODES as usize + 1);
    chain.push(Context::root());
    chain
}

fn root_token() -> Tokens {
    let mut chain = Vec::with_capacity(NODES as usize + 1);
    chain.push(CancellationToken::new());
    chain
}

fn lengthen(chain: &mut Ours) {
    for last in 0..NODES as usize {
        chain.push(chain[last].0.child());
    }
}

fn lengthen_token(chain: &mut Tokens) {
    for last in 0..NODES as usize {
        chain.push(chain[last].child_token());
    }
}

fn ours() -> Ours {
    let mut chain = our_root();
    lengthen(&mut chain);
    chain
}

fn tokens() -> Tokens {
    let mut chain = root_token();
    lengthen_token(&mut chain);
    chain
}

fn create(probe: &Probe) -> Samples {
    probe.compare(
        |lap| lap.batch(NODES, our_root, lengthen),
        |lap| lap.batch(NODES, root_token, lengthen_token),
    )
}

/// The one at the end is asked, so that it does not count to have put the work off.
fn cancel(probe: &Probe) -> Samples {
    let end_ours = |chain: &mut Ours| {
        chain[0].1.cancel();
        assert!(chain[NODES as usize].0.is_done());
    };
    let end_tokens = |chain: &mut Tokens| {
        chain[0].cancel();
        assert!(chain[NODES as usize].is_cancelled());
    };
    probe
        .compare(|lap| lap.batch(NODES, ours, end_ours), |lap| lap.batch(NODES, tokens, end_tokens))
}

/// From the root down, after it was cancelled.
fn drop_all(probe: &Probe) -> Samples {
    let ended_ours = || {
        let chain = ours();
        chain[0].1.cancel();
        chain
    };
    let ended_tokens = || {
        let chain = tokens();
        chain[0].cancel();
        chain
    };
    probe.compare(
        |lap| lap.batch(NODES, ended_ours, Vec::clear),
        |lap| lap.batch(NODES, ended_tokens, Vec::clear),
    )
}
