//! Scripts of lists and answers, and what comes of them.

use proptest::prelude::*;

use super::*;
use crate::pool::endpoint::Labels;

fn seed(host: &str, discovered: bool) -> Seed {
    let endpoint = Endpoint::plain("", host, 8998);
    Seed { upstream: Upstream { endpoint, capacity: 1, labels: Labels::default() }, discovered }
}

fn one(host: &str) -> Seed {
    seed(host, false)
}

fn named(host: &str) -> Seed {
    seed(host, true)
}

/// A directory and who is in it, as the roster would know it.
#[derive(Default)]
struct Desk {
    directory: Directory,
    /// Id, name, address, and whether it is leaving.
    members: Vec<(UpstreamId, String, String, bool)>,
    twice: Vec<String>,
}

impl Desk {
    fn of(seeds: Vec<Seed>) -> Desk {
        let mut desk = Desk::default();
        desk.configure(seeds);
        desk
    }

    fn configure(&mut self, seeds: Vec<Seed>) -> Configured {
        let configured = self.directory.configure(seeds);
        self.apply(configured.changes.clone());
        configured
    }

    /// The answer for the first name of the list.
    fn resolve(&mut self, addresses: &[&str]) -> &mut Desk {
        let source = self.directory.names()[0].0;
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let changes = self.directory.resolved(source, &addresses);
        self.apply(changes);
        self
    }

    fn gone(&mut self, name: &str) {
        let at = self.members.iter().position(|member| member.1 == name && member.3).expect("it is not leaving");
        let id = self.members.remove(at).0;
        let changes = self.directory.gone(id);
        self.apply(changes);
    }

    fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Join(id, upstream) => match self.members.iter_mut().find(|member| member.0 == id) {
                    Some(member) => {
                        assert!(std::mem::replace(&mut member.3, false), "only who leaves can be asked to stay");
                    }
                    None => {
                        let address = upstream.endpoint.address();
                        self.members.push((id, upstream.endpoint.name, address, false));
                    }
                },
                Change::Part(id) => {
                    let member = self.members.iter_mut().find(|member| member.0 == id).unwrap();
                    assert!(!std::mem::replace(&mut member.3, true), "nobody leaves twice");
                }
                Change::Twice(address) => self.twice.push(address),
            }
        }
    }

    /// `name=address`, with a `-` behind those that are leaving.
    fn list(&self) -> Vec<String> {
        let line = |(_, name, address, leaving): &(UpstreamId, String, String, bool)| {
            let host = address.trim_end_matches(":8998");
            format!("{name}={host}{}", if *leaving { "-" } else { "" })
        };
        self.members.iter().map(line).collect()
    }
}

#[test]
fn every_address_of_a_name_is_a_server_of_its_own_with_a_name_that_stays() {
    let mut desk = Desk::of(vec![one("h"), named("voice.internal")]);
    assert_eq!(desk.list(), ["1=h"], "nothing is known of the name yet");
    desk.resolve(&["10.0.0.2", "10.0.0.1", "10.0.0.2"]);
    assert_eq!(desk.list(), ["1=h", "2.1=10.0.0.1", "2.2=10.0.0.2"]);
    desk.resolve(&["10.0.0.3", "10.0.0.2", "10.0.0.1"]);
    assert_eq!(desk.list(), ["1=h", "2.1=10.0.0.1", "2.2=10.0.0.2", "2.3=10.0.0.3"]);
}

#[test]
fn an_address_leaves_when_it_was_missing_twice_in_a_row() {
    let mut desk = Desk::of(vec![named("n")]);
    let both = ["10.0.0.1", "10.0.0.2"];
    desk.resolve(&both).resolve(&both[1..]);
    assert_eq!(desk.list(), ["1.1=10.0.0.1", "1.2=10.0.0.2"], "one answer may be a partial one");
    desk.resolve(&both).resolve(&both[1..]);
    assert_eq!(desk.list(), ["1.1=10.0.0.1", "1.2=10.0.0.2"], "it was there in between");
    desk.resolve(&both[1..]);
    assert_eq!(desk.list(), ["1.1=10.0.0.1-", "1.2=10.0.0.2"]);
    desk.gone("1.1");
    desk.resolve(&["10.0.0.2", "10.0.0.3"]);
    assert_eq!(desk.list(), ["1.2=10.0.0.2", "1.1=10.0.0.3"], "names of those who are gone are given again");
}

#[test]
fn a_failed_look_up_keeps_what_is_known_and_is_news_once() {
    let mut desk = Desk::of(vec![named("n")]);
    desk.resolve(&["10.0.0.1"]);
    let source = desk.directory.names()[0].0;
    assert_eq!(desk.directory.unresolved(source).as_deref(), Some("n:8998"));
    for _ in 0..5 {
        assert_eq!(desk.directory.unresolved(source), None);
        desk.resolve(&[]).resolve(&["0.0.0.0", "224.0.0.1"]);
    }
    assert_eq!(desk.list(), ["1.1=10.0.0.1"]);
    desk.resolve(&["10.0.0.1"]);
    assert!(desk.directory.unresolved(source).is_some(), "it had recovered");
}

#[test]
fn a_server_that_comes_back_while_its_call_goes_on_is_the_same_member() {
    let mut desk = Desk::of(vec![named("n")]);
    let (both, other) = (["10.0.0.1", "10.0.0.2"], ["10.0.0.2"]);
    desk.resolve(&both).resolve(&other).resolve(&other);
    assert_eq!(desk.list(), ["1.1=10.0.0.1-", "1.2=10.0.0.2"]);
    desk.resolve(&both);
    assert_eq!(desk.list(), ["1.1=10.0.0.1", "1.2=10.0.0.2"], "a second member would open a second socket");
    desk.configure(vec![]);
    assert_eq!(desk.list(), ["1.1=10.0.0.1-", "1.2=10.0.0.2-"]);
    desk.configure(vec![one("10.0.0.1"), named("n")]);
    assert_eq!(desk.list(), ["1.1=10.0.0.1", "1.2=10.0.0.2-"], "however it is written now");
    desk.resolve(&both);
    assert_eq!(desk.list(), ["1.1=10.0.0.1", "1.2=10.0.0.2"]);
    assert_eq!(desk.twice, ["10.0.0.1:8998"], "it is on the list under its own address");
}

#[test]
fn one_server_with_two_kinds_of_addresses_is_not_taken_for_two() {
    let mut desk = Desk::of(vec![named("n")]);
    desk.resolve(&["fd00::1", "10.0.0.1", "::ffff:10.0.0.1"]);
    assert_eq!(desk.list(), ["1.1=10.0.0.1"]);
    let mut desk = Desk::of(vec![named("n")]);
    desk.resolve(&["fd00::1"]).resolve(&["10.0.0.1", "fd00::1"]);
    assert_eq!(desk.list(), ["1.1=[fd00::1]"], "it may be the same machine");
    desk.resolve(&["10.0.0.1"]).resolve(&["10.0.0.1"]);
    assert_eq!(desk.list(), ["1.1=[fd00::1]-"]);
    desk.configure(vec![]);
    desk.configure(vec![named("n")]);
    desk.resolve(&["10.0.0.1"]);
    assert_eq!(desk.list(), ["1.1=[fd00::1]-"], "it is the same name, put back during the call");
    desk.gone("1.1");
    desk.resolve(&["10.0.0.1"]);
    assert_eq!(desk.list(), ["2.1=10.0.0.1"]);
}

#[test]
fn a_server_that_two_entries_lead_to_is_one_member_and_told_once() {
    let mut desk = Desk::of(vec![one("10.0.0.1"), named("n")]);
    desk.resolve(&["10.0.0.1", "10.0.0.2"]).resolve(&["10.0.0.1", "10.0.0.2"]);
    assert_eq!(desk.list(), ["1=10.0.0.1", "2.1=10.0.0.2"]);
    assert_eq!(desk.twice, ["10.0.0.1:8998"]);
    desk.configure(vec![named("n")]);
    assert_eq!(desk.list(), ["1=10.0.0.1-", "2.1=10.0.0.2"]);
    desk.resolve(&["10.0.0.1", "10.0.0.2"]);
    assert_eq!(desk.list(), ["1=10.0.0.1", "2.1=10.0.0.2"]);
    let mut desk = Desk::of(vec![one("localhost"), named("n")]);
    desk.resolve(&["127.0.0.1", "127.0.0.2"]);
    assert_eq!(desk.list(), ["1=localhost"], "this machine has many addresses");
}

#[test]
fn an_entry_that_must_wait_for_anothers_end_comes_then() {
    let mut desk = Desk::of(vec![named("n")]);
    desk.resolve(&["10.0.0.1"]);
    desk.configure(vec![named("n"), one("10.0.0.1")]);
    assert_eq!((desk.list().len(), desk.twice.len()), (1, 1));
    desk.resolve(&["10.0.0.9"]).resolve(&["10.0.0.9"]);
    desk.gone("1.1");
    assert_eq!(desk.list(), ["1.2=10.0.0.9", "2=10.0.0.1"]);
}

#[test]
fn a_new_list_moves_nobody_who_stays() {
    let mut desk = Desk::of(vec![one("a"), one("b"), one("c")]);
    let told = desk.configure(vec![one("c"), one("d"), one("b")]);
    assert_eq!(desk.list(), ["1=a-", "2=b", "3=c", "4=d"], "the place of d is b's name, and a still has calls");
    assert_eq!((told.joined, told.parted), (vec!["d:8998".to_owned()], vec!["a:8998".to_owned()]));
    desk.gone("1");
    desk.configure(vec![one("e"), one("c"), one("d"), one("b")]);
    assert_eq!(desk.list(), ["2=b", "3=c", "4=d", "1=e"]);
    let mut bigger = one("b");
    bigger.upstream.capacity = 4;
    let told = desk.configure(vec![bigger, one("c"), one("d"), one("e")]);
    assert_eq!((told.changed, told.changes.len()), (vec!["b:8998".to_owned()], 0));
}

#[test]
fn who_comes_back_before_it_is_gone_is_known_by_what_was_said_first_until_a_restart() {
    let mut desk = Desk::of(vec![one("a"), one("b")]);
    desk.configure(vec![one("b")]);
    let mut otherwise = one("a");
    otherwise.upstream.labels.region = Some("us".into());
    for list in [vec![otherwise.clone(), one("b")], vec![one("b"), otherwise.clone()]] {
        let told = desk.configure(list);
        assert_eq!((desk.list().len(), told.changed), (2, vec!["a:8998".to_owned()]), "each time until it is in force");
    }
    assert_eq!(desk.configure(vec![one("a"), one("b")]).changed, [""; 0], "what is in force is said again");
    desk.configure(vec![one("b")]);
    desk.gone("1");
    assert_eq!(desk.configure(vec![otherwise, one("b")]).changed, [""; 0], "it was gone, and is a new one");

    let mut desk = Desk::of(vec![named("n")]);
    desk.resolve(&["10.0.0.1"]);
    desk.configure(vec![]);
    let mut otherwise = named("n");
    otherwise.upstream.capacity = 2;
    assert_eq!(desk.configure(vec![otherwise.clone()]).changed, [""; 0], "nobody knows yet who is behind the name");
    desk.resolve(&["10.0.0.1"]);
    assert_eq!(desk.configure(vec![otherwise]).changed, ["n:8998"]);
}

#[test]
fn an_answer_for_an_entry_that_is_gone_changes_nothing() {
    let mut desk = Desk::of(vec![named("n")]);
    let source = desk.directory.names()[0].0;
    desk.configure(vec![named("m")]);
    assert_eq!(desk.directory.resolved(source, &["10.0.0.1".parse().unwrap()]), []);
    assert_eq!(desk.directory.unresolved(source), None);
}

#[test]
fn a_name_with_a_thousand_addresses_brings_256_servers() {
    let mut desk = Desk::of(vec![named("n")]);
    let addresses: Vec<String> = (0..1000).map(|at| format!("10.0.{}.{}", at / 250, 1 + at % 250)).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    desk.resolve(&addresses).resolve(&addresses);
    assert_eq!(desk.list().len(), MAX_ADDRESSES);
}

#[derive(Clone, Debug)]
enum Step {
    Configure(Vec<(u8, bool)>),
    Resolve(usize, Vec<u8>),
    Gone(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        proptest::collection::vec((0..4_u8, any::<bool>()), 0..5).prop_map(Step::Configure),
        (0..4_usize, proptest::collection::vec(0..6_u8, 0..5)).prop_map(|(at, found)| Step::Resolve(at, found)),
        (0..4_usize).prop_map(Step::Gone),
    ]
}

/// Four and two kinds of addresses, of which the first ones are also on lists.
fn address(which: u8) -> IpAddr {
    match which {
        0..4 => IpAddr::from([10, 0, 0, which]),
        _ => format!("fd00::{which}").parse().unwrap(),
    }
}

proptest! {
    #[test]
    fn whatever_lists_and_answers_come_no_server_is_two_members(steps in proptest::collection::vec(any_step(), 1..40)) {
        let mut desk = Desk::default();
        for step in steps {
            match step {
                Step::Configure(mut entries) => {
                    entries.sort_unstable();
                    entries.dedup_by_key(|entry| entry.0);
                    let entry = |(which, discovered): (u8, bool)| match discovered {
                        true => named(&format!("n{which}")),
                        false => one(&address(which).to_string()),
                    };
                    desk.configure(entries.into_iter().map(entry).collect());
                }
                Step::Resolve(at, found) => {
                    let names = desk.directory.names();
                    if let Some((source, ..)) = names.get(at) {
                        let found: Vec<IpAddr> = found.into_iter().map(address).collect();
                        let changes = desk.directory.resolved(*source, &found);
                        desk.apply(changes);
                    }
                }
                Step::Gone(at) => {
                    let leaving: Vec<String> =
                        desk.members.iter().filter(|member| member.3).map(|member| member.1.clone()).collect();
                    if let Some(name) = leaving.get(at) {
                        desk.gone(name);
                    }
                }
            }
            let count = desk.members.len();
            let addresses: BTreeSet<&String> = desk.members.iter().map(|member| &member.2).collect();
            let names: BTreeSet<&String> = desk.members.iter().map(|member| &member.1).collect();
            prop_assert_eq!((addresses.len(), names.len()), (count, count), "{:?}", desk.list());
        }
    }
}

#[test]
fn a_server_that_moved_is_where_it_is_and_its_entry_is_still_its_own() {
    let mut desk = Desk::of(vec![one("a"), one("10.0.0.9")]);
    let (a, b) = (desk.members[0].0, desk.members[1].0);
    let at = |host: &str| Endpoint::plain("", host, 8998);
    assert!(!desk.directory.moved(a, &at("10.0.0.9")), "another member is there");
    assert!(desk.directory.moved(a, &at("10.0.0.7")) && desk.directory.moved(a, &at("10.0.0.7")));
    assert!(!desk.directory.moved(b, &at("10.0.0.7")));
    assert_eq!(desk.configure(vec![one("a"), one("10.0.0.9")]), Configured::default(), "nothing is undone");
    desk.configure(vec![one("a"), one("10.0.0.9"), one("10.0.0.7")]);
    assert_eq!((desk.members.len(), desk.twice.clone()), (2, vec!["10.0.0.7:8998".to_owned()]), "it is one server");
    assert!(
        desk.directory.moved(a, &at("10.0.0.8")) && desk.directory.moved(b, &at("10.0.0.7")),
        "who left is not there"
    );
}
