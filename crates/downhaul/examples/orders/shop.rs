//! The state of the shop: stock and orders, changed under one lock.
//!
//! Messages are delivered at least once and a process may end at any moment, so every change is
//! idempotent by the order's id, and an order's first outcome is final. An outcome of an order that
//! this process has not seen, because another one took it, is applied in full. So, once nothing is
//! pending, `stock at the start = stock left + quantity confirmed` for each product.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::messages::Order;

/// Stock and orders.
pub(crate) struct Shop {
    initial: i64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What is left of each product that was ever ordered. Below zero only when another process
    /// confirmed more than this one had.
    stock: BTreeMap<String, i64>,
    orders: HashMap<String, Entry>,
}

struct Entry {
    order: Order,
    status: Status,
    /// Whether its quantity is taken out of the stock.
    holds_stock: bool,
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Pending,
    Confirmed,
    Rejected,
}

/// What came of trying to reserve.
pub(crate) enum Decision {
    /// The stock is taken, and given back unless the reservation is kept.
    Reserved(Reservation),
    /// The order was confirmed before: say so again.
    Confirmed,
    /// There is not enough, or it was rejected before.
    Rejected,
}

/// Totals, for `GET /stats`.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Stats {
    pub(crate) pending: usize,
    pub(crate) confirmed: usize,
    pub(crate) rejected: usize,
    pub(crate) stock_left: BTreeMap<String, i64>,
}

impl Shop {
    pub(crate) fn new(stock: u32) -> Self {
        Self { initial: i64::from(stock), state: Mutex::default() }
    }

    /// Takes an order in.
    pub(crate) fn place(&self, order: &Order) {
        self.lock().entry(self.initial, order);
    }

    /// Forgets an order that was not placed after all.
    pub(crate) fn forget(&self, id: &str) {
        self.lock().orders.remove(id);
    }

    /// Where an order stands, and the request that placed it.
    pub(crate) fn find(&self, id: &str) -> Option<(Status, String)> {
        let state = self.lock();
        state.orders.get(id).map(|entry| (entry.status, entry.order.request_id.clone()))
    }

    pub(crate) fn stats(&self) -> Stats {
        let state = self.lock();
        let count = |status| state.orders.values().filter(|entry| entry.status == status).count();
        Stats {
            pending: count(Status::Pending),
            confirmed: count(Status::Confirmed),
            rejected: count(Status::Rejected),
            stock_left: state.stock.clone(),
        }
    }

    /// Takes the order's quantity out of the stock, if there is enough.
    pub(crate) fn reserve(self: &Arc<Self>, order: &Order) -> Decision {
        let mut state = self.lock();
        let (entry, stock) = state.entry(self.initial, order);
        let enough = *stock >= i64::from(order.quantity);
        match (entry.status, entry.holds_stock) {
            (Status::Confirmed, _) => Decision::Confirmed,
            (Status::Rejected, _) => Decision::Rejected,
            (Status::Pending, false) if !enough => Decision::Rejected,
            (Status::Pending, _) => {
                entry.take(stock);
                Decision::Reserved(Reservation {
                    shop: Arc::clone(self),
                    id: Some(order.id.clone()),
                })
            }
        }
    }

    /// Applies the outcome of an order, unless it has one.
    pub(crate) fn settle(&self, order: &Order, outcome: Status) {
        let mut state = self.lock();
        let (entry, stock) = state.entry(self.initial, order);
        if entry.status == Status::Pending {
            entry.status = outcome;
        }
        match entry.status {
            Status::Confirmed => entry.take(stock),
            Status::Pending | Status::Rejected => entry.give_back(stock),
        }
    }

    fn give_back(&self, id: &str) {
        let mut state = self.lock();
        let State { stock, orders } = &mut *state;
        if let Some(entry) = orders.get_mut(id).filter(|entry| entry.status == Status::Pending)
            && let Some(stock) = stock.get_mut(&entry.order.product)
        {
            entry.give_back(stock);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The order's entry, pending if it is new here, and the stock of its product.
    fn entry(&mut self, initial: i64, order: &Order) -> (&mut Entry, &mut i64) {
        let entry = self.orders.entry(order.id.clone()).or_insert_with(|| Entry {
            order: order.clone(),
            status: Status::Pending,
            holds_stock: false,
        });
        let stock = self.stock.entry(order.product.clone()).or_insert(initial);
        (entry, stock)
    }
}

impl Entry {
    fn take(&mut self, stock: &mut i64) {
        if !self.holds_stock {
            *stock -= i64::from(self.order.quantity);
            self.holds_stock = true;
        }
    }

    fn give_back(&mut self, stock: &mut i64) {
        if self.holds_stock {
            *stock += i64::from(self.order.quantity);
            self.holds_stock = false;
        }
    }
}

/// Stock that is taken until it is kept. Dropping it, however that comes, gives the stock back:
/// that is the compensation.
pub(crate) struct Reservation {
    shop: Arc<Shop>,
    id: Option<String>,
}

impl Reservation {
    /// The outcome is with the broker: the stock stays taken.
    pub(crate) fn keep(mut self) {
        self.id = None;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.shop.give_back(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(id: &str, quantity: u32) -> Order {
        let (id, product) = (id.to_owned(), "p-1".to_owned());
        Order { id, product, quantity, request_id: "r".to_owned() }
    }

    fn left(shop: &Shop) -> i64 {
        shop.stats().stock_left["p-1"]
    }

    fn keep(decision: Decision) {
        match decision {
            Decision::Reserved(reservation) => reservation.keep(),
            Decision::Confirmed | Decision::Rejected => panic!("not reserved"),
        }
    }

    #[test]
    fn a_dropped_reservation_gives_the_stock_back() {
        let shop = Arc::new(Shop::new(10));
        let decision = shop.reserve(&order("a", 4));
        assert_eq!(left(&shop), 6);
        drop(decision);
        assert_eq!(left(&shop), 10);
    }

    #[test]
    fn delivering_twice_takes_the_stock_once() {
        let shop = Arc::new(Shop::new(10));
        keep(shop.reserve(&order("a", 4)));
        keep(shop.reserve(&order("a", 4)));
        shop.settle(&order("a", 4), Status::Confirmed);
        shop.settle(&order("a", 4), Status::Confirmed);
        assert_eq!(left(&shop), 6);
        assert!(matches!(shop.reserve(&order("a", 4)), Decision::Confirmed));
    }

    #[test]
    fn an_order_is_rejected_when_there_is_not_enough() {
        let shop = Arc::new(Shop::new(3));
        assert!(matches!(shop.reserve(&order("a", 4)), Decision::Rejected));
        shop.settle(&order("a", 4), Status::Rejected);
        assert_eq!((left(&shop), shop.stats().rejected), (3, 1));
    }

    #[test]
    fn the_first_outcome_is_final() {
        let shop = Arc::new(Shop::new(10));
        keep(shop.reserve(&order("a", 4)));
        shop.settle(&order("a", 4), Status::Rejected);
        shop.settle(&order("a", 4), Status::Confirmed);
        assert_eq!((left(&shop), shop.stats().confirmed), (10, 0));
    }

    #[test]
    fn an_outcome_of_an_earlier_process_is_applied_in_full() {
        let shop = Arc::new(Shop::new(10));
        shop.settle(&order("a", 4), Status::Confirmed);
        assert_eq!((left(&shop), shop.stats().confirmed), (6, 1));
    }

    #[test]
    fn giving_back_after_the_outcome_is_known_changes_nothing() {
        let shop = Arc::new(Shop::new(10));
        let decision = shop.reserve(&order("a", 4));
        shop.settle(&order("a", 4), Status::Confirmed);
        drop(decision);
        assert_eq!(left(&shop), 6);
    }
}
