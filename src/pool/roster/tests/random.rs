//! Random sequences against a small reference model.

use std::collections::BTreeSet;

use super::*;
use crate::pool::{endpoint::PersonalContext, trust::Trust as Certificates};

/// What the reference model knows of each slot and each waiter; everything else follows from the rules.
#[derive(Default)]
struct Reference {
    /// Grants that are out, by slot.
    held: HashMap<(UpstreamId, u16), Grant>,
    /// Slots that may not be used, whoever asks, and the grant that can free them: ours, or a rehearsal's.
    barred: HashMap<(UpstreamId, u16), Option<Grant>>,
    rehearsing: HashMap<(UpstreamId, u16), Grant>,
    members: HashMap<UpstreamId, (Option<&'static str>, u16, bool)>,
    waiting: Vec<(WaiterId, Ask, Instant)>,
    /// Servers whose machines take no calls.
    asleep: Vec<UpstreamId>,
    /// Grants whose servers are elsewhere by now.
    left: Vec<Grant>,
    /// Servers that an operator keeps calls away from.
    withheld: BTreeSet<UpstreamId>,
    /// Servers that may be told of callers.
    told: Vec<UpstreamId>,
    /// Servers that failed lately: whether one of them may be tried is the breaker's own script.
    distrusted: Vec<UpstreamId>,
}

impl Reference {
    fn fits(&self, id: UpstreamId, ask: &Ask) -> bool {
        let Some((model, _, leaving)) = self.members.get(&id) else { return false };
        let model = model.is_none_or(|model| ask.needs.model.as_deref().is_none_or(|needed| needed == model));
        let told = !ask.needs.told || self.told.contains(&id);
        model && told && !leaving && !self.withheld.contains(&id) && !ask.avoid.contains(&id)
    }

    fn free_for(&self, ask: &Ask) -> bool {
        self.members.iter().any(|(id, (_, capacity, _))| {
            if self.distrusted.contains(id) || self.asleep.contains(id) {
                return false;
            }
            let free = |slot| !self.held.contains_key(&(*id, slot)) && !self.barred.contains_key(&(*id, slot));
            self.fits(*id, ask) && (0..*capacity).any(free)
        })
    }
}

fn user_hash(user: u64) -> UserHash {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&user.to_be_bytes());
    hash
}

/// Every user calls once: what a user's other calls cost is a script of its own.
fn random_ask(rng: &mut SmallRng, user: u64, servers: u32) -> Ask {
    let model = [None, None, Some("m1"), Some("m2")][rng.random_range(0..4)].map(str::to_owned);
    Ask {
        user: user_hash(user),
        class: if rng.random_ratio(1, 6) { Class::Failover } else { Class::New },
        needs: Needs { model, told: rng.random_ratio(1, 5), ..Needs::default() },
        avoid: if rng.random_ratio(1, 8) { vec![UpstreamId(rng.random_range(1..=servers))] } else { Vec::new() },
        waits: rng.random_ratio(9, 10),
        retry: false,
        ongoing: None,
    }
}

/// One random step: the input, and what the reference makes of it by itself.
fn random_step(rng: &mut SmallRng, desk: &mut Desk, model: &mut Reference, joined: &mut u32) {
    match rng.random_range(0..100) {
        0..40 => {
            let ask = random_ask(rng, desk.asked, *joined);
            let mut expected = ask.clone();
            if ask.class == Class::Failover && !model.members.keys().any(|id| model.fits(*id, &ask)) {
                // A live call goes back to a server that failed rather than nowhere.
                expected.avoid.clear();
            }
            model.waiting.push((WaiterId(desk.asked + 1), expected, desk.now));
            desk.ask(ask);
        }
        40..70 => end_one(rng, desk, model, false),
        70..76 => end_one(rng, desk, model, true),
        76..82 => free_one(rng, desk, model),
        82..84 => bar_one(rng, desk, model, *joined),
        84..88 => {
            if !model.waiting.is_empty() {
                let (id, ..) = model.waiting.remove(rng.random_range(0..model.waiting.len()));
                desk.tell(Input::Leave(id));
            }
        }
        88 => crash_one(rng, desk, model, *joined),
        89 => fail_one(rng, desk, model),
        90..92 => join_one(rng, desk, model, joined),
        92..94 => part_one(rng, desk, model),
        94 => power_one(rng, desk, model, *joined),
        95 => {
            // A stale answer of any generation changes nothing.
            let upstream = UpstreamId(rng.random_range(1..=*joined));
            desk.tell(Input::Release(Grant { upstream, slot: 0, generation: u64::MAX }));
            desk.tell(Input::Quarantine(Grant { upstream, slot: 0, generation: 0 }, QuarantineReason::Vanished));
        }
        96 => move_one(rng, desk, model, *joined),
        97 => withhold_one(rng, desk, model, *joined),
        _ => {
            desk.now += Duration::from_millis(rng.random_range(0..3_000));
            desk.tell(Input::Tick);
        }
    }
}

/// A call ends: well, or with its slot in doubt.
fn end_one(rng: &mut SmallRng, desk: &mut Desk, model: &mut Reference, in_doubt: bool) {
    let mut grants: Vec<Grant> = model.held.values().copied().collect();
    grants.sort_by_key(|grant| (grant.upstream, grant.slot));
    if grants.is_empty() {
        return;
    }
    let grant = grants[rng.random_range(0..grants.len())];
    model.held.remove(&(grant.upstream, grant.slot));
    let elsewhere = model.left.contains(&grant);
    if in_doubt && elsewhere {
        // What became of the old process is nothing to the new one.
        desk.tell(Input::Quarantine(grant, QuarantineReason::NoCloseReply));
    } else if in_doubt {
        model.barred.insert((grant.upstream, grant.slot), Some(grant));
        desk.tell(Input::Quarantine(grant, QuarantineReason::NoCloseReply));
    } else {
        desk.tell(Input::Release(grant));
    }
}

/// A slot in doubt is free after all: a late answer, a rehearsal, or another process that ended.
fn free_one(rng: &mut SmallRng, desk: &mut Desk, model: &mut Reference) {
    // What a dead process left is freed by a test alone.
    let freed = |grant: &Option<Grant>| grant.is_none_or(|grant| grant.generation > 0);
    let mut barred: Vec<_> =
        model.barred.iter().filter(|(_, grant)| freed(grant)).map(|(slot, grant)| (*slot, *grant)).collect();
    barred.sort_by_key(|(slot, _)| *slot);
    if barred.is_empty() {
        return;
    }
    let (slot, grant) = barred[rng.random_range(0..barred.len())];
    model.barred.remove(&slot);
    match grant {
        Some(grant) => {
            if model.rehearsing.remove(&slot).is_some() {
                desk.tell(Input::Passed(grant));
            }
            desk.tell(Input::Release(grant));
        }
        None => desk.tell(Input::HeldElsewhere(slot.0, slot.1, false)),
    }
}

/// Another process takes a slot.
fn bar_one(rng: &mut SmallRng, desk: &mut Desk, model: &mut Reference, joined: u32) {
    let slot = (UpstreamId(rng.random_range(1..=joined)), 0);
    if model.members.contains_key(&slot.0) && !model.held.contains_key(&slot) && !model.barred.contains_key(&slot) {
        model.barred.insert(slot, None);
        desk.tell(Input::HeldElsewhere(slot.0, slot.1, true));
    }
}

/// Another process died with a slot of its own: it is in doubt until a test went well.
fn crash_one(rng: &mut SmallRng, desk: &mut Desk, model: &mut Reference, joined: u32) {
    let slot = (UpstreamId(rng.random_range(1..=joined)), 0);
    let theirs = model.barred.get(&slot).is_some_and(Option::is_none);
    if theirs && model.members.contains_key(&slot.0) {
        model.barred.insert(slot, Some(Grant { upstream: slot.0, slot: 0, generation: 0 }));
        desk.tell(Input::Orphaned(slot.0, slot.1));
    }
}

/// The fleet says something of a machine, or wants something of it.
fn power_one(rng: &mut SmallRng, desk: &mut Desk, model: &mut Reference, joined: u32) {
    let id = UpstreamId(rng.random_range(1..=joined));
    if !model.members.contains_key(&id) {
        return;
    }
    let eta = Eta { median: SECOND * 10, p90: SECOND * 20 };
    let asleep = model.asleep.contains(&id);
    let news = match rng.random_range(0..8) {
        0 if !asleep => PowerNews::Away,
        1 if !asleep => PowerNews::Off,
        2 if !asleep => PowerNews::Waking(eta),
        3 if asleep => PowerNews::Anew,
        // A machine that wakes is tried out.
        4 | 5 if asleep => return desk.tell(Input::WarmUp(id)),
        6 => {
            let used = model.held.keys().any(|(upstream, _)| *upstream == id);
            let tested = model.rehearsing.keys().any(|(upstream, _)| *upstream == id);
            let elsewhere = model.barred.iter().any(|((upstream, _), grant)| *upstream == id && grant.is_none());
            desk.tell(Input::Vacate(id, false));
            assert_eq!(desk.retired.pop(), Some((id.0, !used && !tested && !elsewhere)), "no call is cut");
            if !used && !tested && !elsewhere {
                model.asleep.retain(|other| *other != id);
                model.asleep.push(id);
            }
            return;
        }
        _ => PowerNews::Awake,
    };
    if matches!(news, PowerNews::Off | PowerNews::Anew) {
        forget_doubts(model, id);
    }
    model.asleep.retain(|other| *other != id);
    if !matches!(news, PowerNews::Awake | PowerNews::Anew) {
        model.asleep.push(id);
    }
    desk.tell(Input::Power(id, news));
}

/// What is in doubt at a server is not any more: its process is gone.
fn forget_doubts(model: &mut Reference, id: UpstreamId) {
    model.barred.retain(|(upstream, _), grant| *upstream != id || grant.is_none());
    model.rehearsing.retain(|(upstream, _), _| *upstream != id);
}

/// A server is elsewhere.
fn move_one(rng: &mut SmallRng, desk: &mut Desk, model: &mut Reference, joined: u32) {
    let id = UpstreamId(rng.random_range(1..=joined));
    if model.members.contains_key(&id) {
        forget_doubts(model, id);
        model.left.extend(model.held.values().filter(|grant| grant.upstream == id));
        let (port, tls) = (rng.random_range(1..=u16::MAX), rng.random::<bool>().then_some(Certificates::System));
        model.told.retain(|told| *told != id || tls.is_some());
        // What is marked for TLS and moves to where there is none is told nothing any more.
        let personal = model.told.contains(&id).then_some(PersonalContext::Protected);
        let endpoint = Endpoint::plain(id.0.to_string(), "moved", port);
        desk.tell(Input::Moved(id, Endpoint { tls, personal, ..endpoint }));
    }
}

/// An operator keeps calls away from a server, or lets them come again.
fn withhold_one(rng: &mut SmallRng, desk: &mut Desk, model: &mut Reference, joined: u32) {
    let id = UpstreamId(rng.random_range(1..=joined));
    let withheld = rng.random::<bool>();
    if withheld && model.members.contains_key(&id) {
        model.withheld.insert(id);
    } else {
        model.withheld.remove(&id);
    }
    desk.tell(Input::Withhold(id, withheld));
}

/// A call's server got ready, or failed in one of the ways there are.
fn fail_one(rng: &mut SmallRng, desk: &mut Desk, model: &Reference) {
    let mut grants: Vec<Grant> = model.held.values().copied().collect();
    grants.sort_by_key(|grant| (grant.upstream, grant.slot));
    if let Some(grant) = grants.get(rng.random_range(0..grants.len().max(1))) {
        let ready = Verdict::Ready { step: Duration::from_millis(50) };
        let verdicts = [ready, Verdict::Failed, Verdict::Failed, Verdict::Unreachable, Verdict::Late, Verdict::Lost];
        desk.tell(Input::Judge(*grant, verdicts[rng.random_range(0..verdicts.len())]));
    }
}

fn join_one(rng: &mut SmallRng, desk: &mut Desk, model: &mut Reference, joined: &mut u32) {
    if model.members.len() < 6 {
        *joined += 1;
        let name = [None, Some("m1"), Some("m2")][rng.random_range(0..3)];
        let capacity = rng.random_range(1..=3);
        model.members.insert(UpstreamId(*joined), (name, capacity, false));
        let mut upstream = upstream(*joined, capacity, name);
        if rng.random::<bool>() {
            upstream.endpoint.personal = Some(PersonalContext::Plaintext);
            model.told.push(UpstreamId(*joined));
        }
        desk.tell(Input::Join(UpstreamId(*joined), upstream));
    }
}

fn part_one(rng: &mut SmallRng, desk: &mut Desk, model: &mut Reference) {
    if model.members.len() > 1 {
        let mut ids: Vec<_> = model.members.keys().copied().collect();
        ids.sort_unstable();
        let id = ids[rng.random_range(0..ids.len())];
        if let Some(member) = model.members.get_mut(&id) {
            member.2 = true;
        }
        desk.tell(Input::Part(id));
    }
}

/// Takes over what the roster said, and holds it against the rules.
fn check(desk: &mut Desk, model: &mut Reference) {
    let members = desk.roster.members.iter();
    model.distrusted = members.filter(|(_, member)| !member.is_trusted(desk.now)).map(|(id, _)| *id).collect();
    for id in desk.gone.drain(..) {
        let member = model.members.remove(&id).expect("it was there");
        assert!(member.2 && !model.held.keys().any(|(upstream, _)| *upstream == id), "it left, and nobody used it");
        model.barred.retain(|(upstream, _), _| *upstream != id);
        model.rehearsing.retain(|(upstream, _), _| *upstream != id);
    }
    for (_, ask, since) in &mut model.waiting {
        if ask.class == Class::Failover && desk.now >= *since + Duration::from_secs(2) {
            // The server that failed may be back.
            ask.avoid.clear();
        }
    }
    let mut granted: Vec<_> = desk.granted.drain().collect();
    granted.sort_by_key(|(_, (_, waiter, _))| waiter.order);
    for (id, (grant, waiter, _)) in granted {
        let place = model.waiting.iter().position(|(waiting, ..)| *waiting == id).expect("who is granted had asked");
        let (_, ask, asked_at) = model.waiting.remove(place);
        assert!(model.fits(grant.upstream, &ask), "it fits");
        assert!(!model.asleep.contains(&grant.upstream), "it takes calls");
        assert!(!model.left.contains(&grant), "it is a new one");
        assert!(!model.barred.contains_key(&(grant.upstream, grant.slot)), "it may be used");
        assert_eq!(model.held.insert((grant.upstream, grant.slot), grant), None, "two leases on one slot");
        // Whoever waits still, came earlier and is of the same class, could not have used this slot.
        let passed = model.waiting.iter().find(|(other, theirs, since)| {
            (theirs.class, *since, other.0) < (ask.class, asked_at, id.0) && model.fits(grant.upstream, theirs)
        });
        assert!(passed.is_none(), "{waiter:?} passed {passed:?}");
    }
    for (id, why) in desk.refused.drain() {
        let place = model.waiting.iter().position(|(waiting, ..)| *waiting == id).expect("who is refused had asked");
        let (_, ask, _) = model.waiting.remove(place);
        assert!(!model.free_for(&ask), "{why:?} although a slot is free");
    }
    let idle = model.waiting.iter().find(|(_, ask, _)| model.free_for(ask));
    assert!(idle.is_none(), "{idle:?} waits while a slot that fits is free");
    for grant in desk.warm_ups.drain(..) {
        assert!(model.asleep.contains(&grant.upstream), "it takes no calls yet");
        assert!(!model.barred.contains_key(&(grant.upstream, grant.slot)), "it may be used");
        assert_eq!(model.held.insert((grant.upstream, grant.slot), grant), None, "two leases on one slot");
    }
    for grant in desk.rehearsals.drain(..) {
        let slot = (grant.upstream, grant.slot);
        let freed_by = model.barred.insert(slot, Some(grant));
        assert!(matches!(freed_by, Some(Some(_))), "only what is quarantined is rehearsed");
        model.rehearsing.insert(slot, grant);
    }
    desk.places.clear();
}

/// A million random steps: never two leases on one slot, nobody waits while a fitting slot is free, order within a
/// class, exactly one outcome for each.
#[test]
fn random_sequences_keep_the_rules() {
    for seed in 0..2_000 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (mut desk, mut model, mut joined) = (Desk::new(2), Reference::default(), 2);
        model.members.extend((1..=2).map(|n| (UpstreamId(n), (None, 1, false))));
        for step in 0..500 {
            random_step(&mut rng, &mut desk, &mut model, &mut joined);
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&mut desk, &mut model)));
            if checked.is_err() {
                panic!("seed {seed}, step {step}");
            }
        }
    }
}
