//! Orders that were given before: an order that is repeated after a lost answer is not carried out twice.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::operator::Operator;

/// For so long an order is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);
/// So many at most; the oldest are forgotten first.
const MEMORY: usize = 1024;

/// What makes two orders one: who gave it, for which machine, and the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderKey {
    /// Who gave it.
    pub operator: Operator,
    /// For which machine; none: for some.
    pub machine: Option<String>,
    /// The key, of at most 128 bytes.
    pub key: String,
}

/// The orders of the last minutes, and the machines that they were for.
#[derive(Debug, Default)]
pub struct Orders(Mutex<VecDeque<(OrderKey, Instant, Vec<String>)>>);

impl Orders {
    /// The machines of this order, if it was given before.
    pub fn repeated(&self, order: &OrderKey, now: Instant) -> Option<Vec<String>> {
        let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while orders.front().is_some_and(|(_, at, _)| now >= *at + REMEMBERED) {
            orders.pop_front();
        }
        orders.iter().find(|(known, ..)| known == order).map(|(.., machines)| machines.clone())
    }

    /// Remembers an order that was carried out.
    pub fn remember(&self, order: OrderKey, machines: Vec<String>, now: Instant) {
        let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if orders.len() == MEMORY {
            orders.pop_front();
        }
        orders.push_back((order, now, machines));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(key: &str, machine: Option<&str>) -> OrderKey {
        OrderKey { operator: Operator::Key, machine: machine.map(str::to_owned), key: key.to_owned() }
    }

    #[test]
    fn an_order_is_known_for_a_while_and_for_its_own_machine_only() {
        let (orders, now) = (Orders::default(), Instant::now());
        assert_eq!(orders.repeated(&order("a", None), now), None);
        orders.remember(order("a", None), vec!["1".into()], now);
        assert_eq!(orders.repeated(&order("a", None), now), Some(vec!["1".into()]));
        assert_eq!(orders.repeated(&order("a", Some("1")), now), None);
        assert_eq!(orders.repeated(&order("b", None), now), None);
        assert_eq!(orders.repeated(&order("a", None), now + REMEMBERED), None);
    }

    #[test]
    fn the_oldest_orders_are_forgotten_first() {
        let (orders, now) = (Orders::default(), Instant::now());
        for number in 0..=MEMORY {
            orders.remember(order(&number.to_string(), None), Vec::new(), now);
        }
        assert_eq!(orders.repeated(&order("0", None), now), None);
        assert!(orders.repeated(&order("1", None), now).is_some());
        assert!(orders.repeated(&order(&MEMORY.to_string(), None), now).is_some());
    }
}
