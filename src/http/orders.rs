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
/// Longer than that no order is under way: whoever gave it has hung up.
const UNDER_WAY: Duration = Duration::from_secs(10);
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

/// What an order is, where it comes with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A new one: it is to be carried out, and [`Orders::done`] to be told.
    New,
    /// The same is being carried out.
    UnderWay,
    /// The same was carried out, for these machines.
    Done(Vec<String>),
}

/// An order, when it was given, and the machines that it was for; none yet while it is under way.
#[derive(Debug)]
struct Given {
    order: OrderKey,
    at: Instant,
    machines: Option<Vec<String>>,
}

/// The orders of the last minutes.
#[derive(Debug, Default)]
pub struct Orders(Mutex<VecDeque<Given>>);

impl Orders {
    /// Takes an order, in one step with the look whether it was given before.
    pub fn take(&self, order: &OrderKey, now: Instant) -> Taken {
        let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while orders.front().is_some_and(|given| now >= given.at + REMEMBERED) {
            orders.pop_front();
        }
        if let Some(given) = orders.iter_mut().find(|given| given.order == *order) {
            match &given.machines {
                Some(machines) => return Taken::Done(machines.clone()),
                None if now < given.at + UNDER_WAY => return Taken::UnderWay,
                None => {
                    given.at = now;
                    return Taken::New;
                }
            }
        }
        if orders.len() == MEMORY {
            orders.pop_front();
        }
        orders.push_back(Given { order: order.clone(), at: now, machines: None });
        Taken::New
    }

    /// A new order was carried out for these machines, or came to nothing and may be given again.
    pub fn done(&self, order: &OrderKey, machines: Option<Vec<String>>) {
        let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match machines {
            Some(_) => {
                orders
                    .iter_mut()
                    .filter(|given| given.order == *order)
                    .for_each(|given| given.machines = machines.clone());
            }
            None => orders.retain(|given| given.order != *order),
        }
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
        assert_eq!(orders.take(&order("a", None), now), Taken::New);
        assert_eq!(orders.take(&order("a", None), now), Taken::UnderWay);
        assert_eq!(orders.take(&order("a", None), now + UNDER_WAY), Taken::New, "whoever gave it has hung up");
        orders.done(&order("a", None), Some(vec!["1".into()]));
        assert_eq!(orders.take(&order("a", None), now), Taken::Done(vec!["1".into()]));
        assert_eq!(orders.take(&order("a", Some("1")), now), Taken::New);
        assert_eq!(orders.take(&order("b", None), now), Taken::New);
        assert_eq!(orders.take(&order("a", None), now + UNDER_WAY + REMEMBERED), Taken::New);
    }

    #[test]
    fn an_order_that_came_to_nothing_may_be_given_again() {
        let (orders, now) = (Orders::default(), Instant::now());
        assert_eq!(orders.take(&order("a", None), now), Taken::New);
        orders.done(&order("a", None), None);
        assert_eq!(orders.take(&order("a", None), now), Taken::New);
    }

    #[test]
    fn the_oldest_orders_are_forgotten_first() {
        let (orders, now) = (Orders::default(), Instant::now());
        for number in 0..=MEMORY {
            assert_eq!(orders.take(&order(&number.to_string(), None), now), Taken::New);
        }
        assert_eq!(orders.take(&order("1", None), now), Taken::UnderWay);
        assert_eq!(orders.take(&order(&MEMORY.to_string(), None), now), Taken::UnderWay);
        assert_eq!(orders.take(&order("0", None), now), Taken::New);
    }
}
