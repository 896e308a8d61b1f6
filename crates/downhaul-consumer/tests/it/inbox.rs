//! The contract of an inbox, run against each store, and what one store alone promises.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::inbox::{Claim, Commit, Inbox, MemoryInbox, Ticket};
use futures_util::future::join_all;
use tokio::time::advance;

const HOUR: Duration = Duration::from_secs(3600);
const LEASE: Duration = Duration::from_secs(60);
const AGE: Duration = Duration::from_secs(3600);

/// Runs each scenario against each store. The clock is tokio's, and paused, in both.
macro_rules! contract {
    ($($scenario:ident,)*) => {
        mod memory {
            $(#[tokio::test(start_paused = true)]
            async fn $scenario() {
                let inbox = super::MemoryInbox::new().max_age(super::AGE);
                super::$scenario(super::Arc::new(inbox)).await;
            })*
        }

        #[cfg(feature = "sqlite")]
        mod sqlite {
            $(#[tokio::test(start_paused = true)]
            async fn $scenario() {
                let file = crate::database::File::new();
                super::$scenario(super::Arc::new(super::on_disk::open(&file).await)).await;
            })*
        }
    };
}

contract! {
    a_duplicate_of_what_is_done_is_done,
    a_released_claim_is_free_at_once,
    what_is_claimed_is_held_and_says_for_how_long,
    of_many_claims_at_once_one_is_granted,
    a_claim_that_ran_out_is_taken_over_and_its_owner_is_refused,
    a_late_commit_is_kept_if_nobody_took_over,
    a_commit_can_be_repeated,
    a_release_after_the_commit_changes_nothing,
    a_late_release_does_not_free_the_claim_of_another,
    a_ticket_is_worth_nothing_after_a_release_and_a_new_claim,
    fences_of_an_id_only_grow,
    scopes_and_ids_are_independent,
    what_is_done_is_forgotten_when_it_is_too_old,
    any_text_is_an_id,
}

async fn fresh(inbox: &Arc<dyn Inbox>) -> Ticket {
    granted(inbox.claim("scope", "id", LEASE).await.unwrap())
}

fn granted(claim: Claim) -> Ticket {
    let Claim::Fresh(ticket) = claim else { panic!("not granted: {claim:?}") };
    ticket
}

async fn is_done(inbox: &Arc<dyn Inbox>) -> bool {
    inbox.claim("scope", "id", LEASE).await.unwrap() == Claim::Done
}

async fn a_duplicate_of_what_is_done_is_done(inbox: Arc<dyn Inbox>) {
    let ticket = fresh(&inbox).await;
    assert_eq!((ticket.scope(), ticket.id()), ("scope", "id"));
    assert_eq!(inbox.commit(&ticket).await.unwrap(), Commit::Kept);
    assert!(is_done(&inbox).await);
    advance(AGE - LEASE).await;
    assert!(is_done(&inbox).await, "the end of its lease means nothing any more");
}

/// The opposite loses messages: a first attempt that fails must be run again.
async fn a_released_claim_is_free_at_once(inbox: Arc<dyn Inbox>) {
    let failed = fresh(&inbox).await;
    inbox.release(&failed).await.unwrap();
    let again = fresh(&inbox).await;
    assert_eq!(inbox.commit(&again).await.unwrap(), Commit::Kept);
}

async fn what_is_claimed_is_held_and_says_for_how_long(inbox: Arc<dyn Inbox>) {
    let _ticket = fresh(&inbox).await;
    advance(LEASE / 3).await;
    let left = LEASE - LEASE / 3;
    for _ in 0..2 {
        // To ask does not prolong it.
        assert_eq!(inbox.claim("scope", "id", LEASE).await.unwrap(), Claim::Held { left });
    }
}

async fn of_many_claims_at_once_one_is_granted(inbox: Arc<dyn Inbox>) {
    let claims = (0..32).map(|_| {
        let inbox = Arc::clone(&inbox);
        tokio::spawn(async move { inbox.claim("scope", "id", LEASE).await.unwrap() })
    });
    let claims = join_all(claims).await;
    let granted = claims.iter().filter(|one| matches!(one.as_ref().unwrap(), Claim::Fresh(_)));
    assert_eq!(granted.count(), 1);
}

async fn a_claim_that_ran_out_is_taken_over_and_its_owner_is_refused(inbox: Arc<dyn Inbox>) {
    let slow = fresh(&inbox).await;
    advance(LEASE).await;
    let other = fresh(&inbox).await;
    assert_eq!(inbox.commit(&slow).await.unwrap(), Commit::Lost);
    assert!(!is_done(&inbox).await, "the other works on it still");
    assert_eq!(inbox.commit(&other).await.unwrap(), Commit::Kept);
    assert_eq!(inbox.commit(&slow).await.unwrap(), Commit::Lost);
}

async fn a_late_commit_is_kept_if_nobody_took_over(inbox: Arc<dyn Inbox>) {
    let slow = fresh(&inbox).await;
    advance(2 * LEASE).await;
    assert_eq!(inbox.commit(&slow).await.unwrap(), Commit::Kept);
    assert!(is_done(&inbox).await);
}

async fn a_commit_can_be_repeated(inbox: Arc<dyn Inbox>) {
    let ticket = fresh(&inbox).await;
    for _ in 0..3 {
        assert_eq!(inbox.commit(&ticket).await.unwrap(), Commit::Kept);
        assert!(is_done(&inbox).await);
        advance(AGE / 3).await;
    }
    // It is as old as its first commit.
    fresh(&inbox).await;
}

async fn a_release_after_the_commit_changes_nothing(inbox: Arc<dyn Inbox>) {
    let ticket = fresh(&inbox).await;
    assert_eq!(inbox.commit(&ticket).await.unwrap(), Commit::Kept);
    inbox.release(&ticket).await.unwrap();
    assert!(is_done(&inbox).await);
}

async fn a_late_release_does_not_free_the_claim_of_another(inbox: Arc<dyn Inbox>) {
    let slow = fresh(&inbox).await;
    advance(LEASE).await;
    let _other = fresh(&inbox).await;
    inbox.release(&slow).await.unwrap();
    let held = inbox.claim("scope", "id", LEASE).await.unwrap();
    assert_eq!(held, Claim::Held { left: LEASE });
}

async fn a_ticket_is_worth_nothing_after_a_release_and_a_new_claim(inbox: Arc<dyn Inbox>) {
    let slow = fresh(&inbox).await;
    advance(LEASE).await;
    let second = fresh(&inbox).await;
    inbox.release(&second).await.unwrap();
    let third = fresh(&inbox).await;
    assert_eq!(inbox.commit(&slow).await.unwrap(), Commit::Lost);
    assert_eq!(inbox.commit(&second).await.unwrap(), Commit::Lost);
    assert!(!is_done(&inbox).await);
    assert_eq!(inbox.commit(&third).await.unwrap(), Commit::Kept);
}

async fn fences_of_an_id_only_grow(inbox: Arc<dyn Inbox>) {
    let mut last = 0;
    for round in 0..6 {
        let ticket = fresh(&inbox).await;
        assert!(ticket.fence() > last);
        last = ticket.fence();
        match round % 2 {
            0 => inbox.release(&ticket).await.unwrap(),
            _ => advance(LEASE).await,
        }
    }
}

async fn scopes_and_ids_are_independent(inbox: Arc<dyn Inbox>) {
    for (scope, id) in [("scope", "id"), ("scope", "other"), ("other", "id"), ("scopei", "d")] {
        let ticket = granted(inbox.claim(scope, id, LEASE).await.unwrap());
        if scope == "scope" {
            assert_eq!(inbox.commit(&ticket).await.unwrap(), Commit::Kept);
        }
    }
    for (scope, done) in [("scope", true), ("other", false)] {
        let claim = inbox.claim(scope, "id", LEASE).await.unwrap();
        assert_eq!(claim == Claim::Done, done, "{scope}");
    }
}

async fn what_is_done_is_forgotten_when_it_is_too_old(inbox: Arc<dyn Inbox>) {
    let ticket = fresh(&inbox).await;
    assert_eq!(inbox.commit(&ticket).await.unwrap(), Commit::Kept);
    advance(AGE - Duration::from_millis(1)).await;
    assert!(is_done(&inbox).await);
    advance(Duration::from_millis(1)).await;
    let again = fresh(&inbox).await;
    assert!(again.fence() > ticket.fence());
}

async fn any_text_is_an_id(inbox: Arc<dyn Inbox>) {
    for id in ["", "'; DROP TABLE downhaul_inbox", "é\u{0}\n", &"x".repeat(10_000)] {
        let ticket = granted(inbox.claim("", id, LEASE).await.unwrap());
        assert_eq!(inbox.commit(&ticket).await.unwrap(), Commit::Kept);
        assert_eq!(inbox.claim("", id, LEASE).await.unwrap(), Claim::Done);
    }
}

/// Claims `id` and commits it.
async fn process(inbox: &impl Inbox, id: &str) {
    let ticket = granted(inbox.claim("scope", id, LEASE).await.unwrap());
    assert_eq!(inbox.commit(&ticket).await.unwrap(), Commit::Kept);
}

#[tokio::test(start_paused = true)]
async fn memory_forgets_the_oldest_that_is_done_and_none_that_is_held() {
    let inbox = MemoryInbox::new().max_ids(2);
    for held in ["h1", "h2", "h3"] {
        granted(inbox.claim("scope", held, LEASE).await.unwrap());
    }
    for done in ["d1", "d2", "d3"] {
        process(&inbox, done).await;
    }
    for known in ["d2", "d3"] {
        assert_eq!(inbox.claim("scope", known, LEASE).await.unwrap(), Claim::Done);
    }
    for held in ["h1", "h2", "h3"] {
        let claim = inbox.claim("scope", held, LEASE).await.unwrap();
        assert!(matches!(claim, Claim::Held { .. }), "{held}: {claim:?}");
    }
    granted(inbox.claim("scope", "d1", LEASE).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_also_by_claims_that_nobody_ended() {
    let inbox = MemoryInbox::new().max_ids(3).max_age(AGE);
    let mut tickets = Vec::new();
    for number in 0..10 {
        let claim = inbox.claim("scope", &number.to_string(), LEASE).await.unwrap();
        tickets.push(granted(claim));
    }
    advance(LEASE).await;
    process(&inbox, "another").await;
    assert!(format!("{inbox:?}").contains("claimed: 3, done: 1"), "{inbox:?}");
    assert_eq!(inbox.commit(&tickets[0]).await.unwrap(), Commit::Lost);
    assert_eq!(inbox.commit(&tickets[9]).await.unwrap(), Commit::Kept);
    advance(AGE).await;
    process(&inbox, "yet another").await;
    assert!(format!("{inbox:?}").contains("claimed: 0, done: 1"), "{inbox:?}");
}

#[tokio::test(start_paused = true)]
async fn memory_does_not_forget_what_ran_out_for_claims_whose_lease_lasts() {
    let inbox = MemoryInbox::new().max_ids(1);
    let late = granted(inbox.claim("scope", "late", LEASE).await.unwrap());
    for held in ["h1", "h2", "h3"] {
        granted(inbox.claim("scope", held, HOUR).await.unwrap());
    }
    advance(LEASE).await;
    process(&inbox, "another").await;
    assert_eq!(inbox.commit(&late).await.unwrap(), Commit::Kept);
}

/// Whether `inbox` remembers what it was told for this long, and no longer.
async fn remembers_for(inbox: impl Inbox, age: Duration) {
    process(&inbox, "id").await;
    advance(age - Duration::from_millis(1)).await;
    assert_eq!(inbox.claim("scope", "id", LEASE).await.unwrap(), Claim::Done);
    advance(Duration::from_millis(1)).await;
    granted(inbox.claim("scope", "id", LEASE).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn memory_remembers_for_a_day_and_as_many_as_its_page_says() {
    remembers_for(MemoryInbox::new(), 24 * HOUR).await;
    let inbox = MemoryInbox::new();
    for number in 0..=100_000 {
        process(&inbox, &number.to_string()).await;
    }
    assert_eq!(inbox.claim("scope", "1", LEASE).await.unwrap(), Claim::Done);
    granted(inbox.claim("scope", "0", LEASE).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_lease_without_end_is_one() {
    let inbox = MemoryInbox::new();
    granted(inbox.claim("scope", "id", Duration::MAX).await.unwrap());
    let claim = inbox.claim("scope", "id", LEASE).await.unwrap();
    assert!(matches!(claim, Claim::Held { left } if left > AGE));
}

/// What only the one on disk promises.
#[cfg(feature = "sqlite")]
mod on_disk {
    use downhaul_consumer::StoreErrorKind;
    use downhaul_consumer::inbox::SqliteInbox;
    use downhaul_consumer::rusqlite::{Connection, TransactionBehavior};

    use super::*;
    use crate::database::{File, wall_clock};

    pub(super) async fn open(file: &File) -> SqliteInbox {
        SqliteInbox::open(file.path()).await.unwrap().max_age(AGE).clock(wall_clock())
    }

    /// Has an effect together with the id, unless the id is known.
    fn effect(db: &mut Connection, inbox: &SqliteInbox, id: &str, commit: bool) -> bool {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let is_new = inbox.record(&tx, "scope", id).unwrap();
        if is_new {
            tx.execute("INSERT INTO effects VALUES (?1)", [id]).unwrap();
        }
        if commit {
            tx.commit().unwrap();
        }
        is_new
    }

    fn effects(db: &Connection) -> i64 {
        db.query_row("SELECT count(*) FROM effects", (), |row| row.get(0)).unwrap()
    }

    async fn with_effects(file: &File) -> (SqliteInbox, Connection) {
        let (inbox, db) = (open(file).await, file.connect());
        db.execute_batch("CREATE TABLE effects (id TEXT)").unwrap();
        (inbox, db)
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_recorded_with_its_effect_is_recorded_once() {
        let file = File::new();
        let (inbox, mut db) = with_effects(&file).await;
        assert!(effect(&mut db, &inbox, "id", true));
        assert!(!effect(&mut db, &inbox, "id", true));
        assert_eq!(inbox.claim("scope", "id", LEASE).await.unwrap(), Claim::Done);
        assert_eq!(effects(&db), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_goes_with_the_transaction_that_rolls_back() {
        let file = File::new();
        let (inbox, mut db) = with_effects(&file).await;
        assert!(effect(&mut db, &inbox, "id", false));
        assert!(effect(&mut db, &inbox, "id", true));
        assert_eq!(effects(&db), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_that_is_claimed_and_recorded_is_committed_once() {
        let file = File::new();
        let (inbox, mut db) = with_effects(&file).await;
        let slow = granted(inbox.claim("scope", "id", LEASE).await.unwrap());
        advance(LEASE).await;
        let other = granted(inbox.claim("scope", "id", LEASE).await.unwrap());
        // Both go on, and one of them has the effect.
        assert!(effect(&mut db, &inbox, "id", true));
        assert!(!effect(&mut db, &inbox, "id", true));
        assert_eq!(inbox.commit(&other).await.unwrap(), Commit::Kept);
        assert_eq!(inbox.commit(&slow).await.unwrap(), Commit::Lost);
        inbox.release(&other).await.unwrap();
        assert_eq!((effects(&db), is_done(&(Arc::new(inbox) as Arc<dyn Inbox>)).await), (1, true));
    }

    #[tokio::test(start_paused = true)]
    async fn ids_and_claims_outlive_the_process() {
        let (file, clock) = (File::new(), wall_clock());
        let opened =
            || async { SqliteInbox::open(file.path()).await.unwrap().clock(clock.clone()) };
        let inbox = opened().await;
        process(&inbox, "done").await;
        let ticket = granted(inbox.claim("scope", "held", LEASE).await.unwrap());
        drop(inbox);

        let inbox = opened().await;
        assert_eq!(inbox.claim("scope", "done", LEASE).await.unwrap(), Claim::Done);
        let held = inbox.claim("scope", "held", LEASE).await.unwrap();
        assert_eq!(held, Claim::Held { left: LEASE });
        assert_eq!(inbox.commit(&ticket).await.unwrap(), Commit::Kept);
    }

    #[tokio::test(start_paused = true)]
    async fn the_disk_remembers_for_a_week() {
        let file = File::new();
        let inbox = SqliteInbox::open(file.path()).await.unwrap().clock(wall_clock());
        remembers_for(inbox, 7 * 24 * HOUR).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_old_leaves_the_disk() {
        let file = File::new();
        let (inbox, mut db) = with_effects(&file).await;
        for number in 0..300 {
            assert!(effect(&mut db, &inbox, &number.to_string(), true));
        }
        granted(inbox.claim("scope", "forgotten", LEASE).await.unwrap());
        advance(AGE + LEASE).await;
        granted(inbox.claim("scope", "held", LEASE).await.unwrap());
        process(&inbox, "done").await;
        assert_eq!((rows(&db), inbox.cleanup().await.unwrap(), rows(&db)), (303, 301, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_disk_is_cleaned_up_by_the_way() {
        let file = File::new();
        let (inbox, mut db) = with_effects(&file).await;
        for number in 0..1200 {
            assert!(effect(&mut db, &inbox, &number.to_string(), true));
            advance(AGE / 100).await;
        }
        assert!(rows(&db) <= 100 + 256, "{} rows", rows(&db));
    }

    #[tokio::test(start_paused = true)]
    async fn to_record_what_is_claimed_cleans_up_no_more_often_than_others_do() {
        let file = File::new();
        let (inbox, mut db) = with_effects(&file).await;
        granted(inbox.claim("scope", "forgotten", LEASE).await.unwrap());
        advance(AGE + LEASE).await;
        granted(inbox.claim("scope", "claimed", LEASE).await.unwrap());
        // The connection has inserted nothing yet: its last row has the number 0.
        assert!(effect(&mut db, &inbox, "claimed", true));
        assert_eq!(rows(&db), 2);
    }

    fn rows(db: &Connection) -> i64 {
        db.query_row("SELECT count(*) FROM downhaul_inbox", (), |row| row.get(0)).unwrap()
    }

    #[tokio::test]
    async fn two_processes_share_a_file() {
        let file = File::new();
        let (one, two) = (open(&file).await, open(&file).await);
        let claims = (0..100).map(|number| {
            let inbox = if number % 2 == 0 { one.clone() } else { two.clone() };
            tokio::spawn(async move {
                inbox.claim("scope", &(number / 4).to_string(), LEASE).await.unwrap()
            })
        });
        let claims = join_all(claims).await;
        let granted = claims.iter().filter(|one| matches!(one.as_ref().unwrap(), Claim::Fresh(_)));
        assert_eq!(granted.count(), 25);
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_and_tables_that_are_newer_are_refused() {
        let file = File::new();
        let folder = SqliteInbox::open(file.path().parent().unwrap()).await.unwrap_err();
        assert!(folder.is_permanent(), "{}", folder.chain());

        drop(open(&file).await);
        file.connect().execute("UPDATE downhaul_schema SET version = 99", ()).unwrap();
        let newer = SqliteInbox::open(file.path()).await.unwrap_err();
        assert_eq!(newer.kind(), StoreErrorKind::Configuration);
        assert!(newer.to_string().contains("99"), "{newer}");

        std::fs::write(file.path(), "x".repeat(5000)).unwrap();
        let text = SqliteInbox::open(file.path()).await.unwrap_err();
        assert!(text.is_permanent(), "{}", text.chain());
    }
}
