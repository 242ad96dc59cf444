//! A desk for scripts: a roster, a clock, and everything that was said.

use std::collections::HashMap;

use super::*;

/// A roster on a time line of its own, and everything it said.
pub(super) struct Desk {
    pub(super) roster: Roster,
    pub(super) now: Instant,
    pub(super) asked: u64,
    pub(super) granted: HashMap<WaiterId, (Grant, Waiter, Waited)>,
    pub(super) refused: HashMap<WaiterId, NoSlot>,
    pub(super) places: HashMap<WaiterId, Vec<Place>>,
    pub(super) rehearsals: Vec<Grant>,
    pub(super) gone: Vec<UpstreamId>,
    pub(super) ended: Vec<(Class, WaitEnd, Waited)>,
    pub(super) retried: Vec<bool>,
    pub(super) rehearsed: Vec<bool>,
    pub(super) trusts: Vec<(u32, Trust)>,
    pub(super) woken: Vec<u32>,
    pub(super) used: Vec<(u32, bool)>,
    pub(super) leased: Vec<(u32, bool)>,
    pub(super) retired: Vec<(u32, bool)>,
    pub(super) warm_ups: Vec<Grant>,
    pub(super) warmed_up: Vec<(u32, bool)>,
    pub(super) stuck: Vec<u32>,
    pub(super) cleared: Vec<Duration>,
}

impl Desk {
    pub(super) fn new(servers: u32) -> Self {
        let mut desk = Self {
            roster: Roster::new(RosterSettings { queue_limit: 20, play_throughs: 10, ..RosterSettings::default() }),
            now: origin(),
            asked: 0,
            granted: HashMap::new(),
            refused: HashMap::new(),
            places: HashMap::new(),
            rehearsals: Vec::new(),
            gone: Vec::new(),
            ended: Vec::new(),
            retried: Vec::new(),
            rehearsed: Vec::new(),
            trusts: Vec::new(),
            woken: Vec::new(),
            used: Vec::new(),
            leased: Vec::new(),
            retired: Vec::new(),
            warm_ups: Vec::new(),
            warmed_up: Vec::new(),
            stuck: Vec::new(),
            cleared: Vec::new(),
        };
        for n in 1..=servers {
            desk.tell(Input::Join(UpstreamId(n), upstream(n, 1, None)));
        }
        desk
    }

    pub(super) fn tell(&mut self, input: Input) {
        self.roster.handle(input, self.now);
        while let Some(effect) = self.roster.poll_effect() {
            match effect {
                Effect::Grant(waiter, grant, waited) => {
                    let twice = self.granted.insert(waiter.id, (grant, waiter, waited));
                    assert!(twice.is_none(), "granted twice");
                }
                Effect::Place(id, place) => self.places.entry(id).or_default().push(place),
                Effect::Refuse(id, why, _) => assert!(self.refused.insert(id, why).is_none(), "refused twice"),
                Effect::Rehearse(grant) => self.rehearsals.push(grant),
                Effect::Gone(id, _) => self.gone.push(id),
                Effect::Waited(class, end, waited) => self.ended.push((class, end, waited)),
                Effect::Retried(allowed) => self.retried.push(allowed),
                Effect::Rehearsed(_, passed) => self.rehearsed.push(passed),
                Effect::Trust(id, trust) => self.trusts.push((id.0, trust)),
                Effect::Wake(id) => self.woken.push(id.0),
                Effect::Used(id, used) => self.used.push((id.0, used)),
                Effect::Leased(id, leased) => self.leased.push((id.0, leased)),
                Effect::Retired(id, gone) => self.retired.push((id.0, gone)),
                Effect::WarmUp(grant) => self.warm_ups.push(grant),
                Effect::WarmedUp(id, passed) => self.warmed_up.push((id.0, passed)),
                Effect::Stuck(id) => self.stuck.push(id.0),
                Effect::Cleared(after) => self.cleared.push(after),
                Effect::Pace(..) | Effect::Orphaned(_) => {}
            }
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.roster.deadline(self.now).filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.tell(Input::Tick);
            assert!(self.roster.deadline(self.now).is_none_or(|next| next > self.now), "a deadline that does nothing");
        }
        self.now = end;
    }

    pub(super) fn ask(&mut self, ask: Ask) -> WaiterId {
        self.asked += 1;
        let id = WaiterId(self.asked);
        self.tell(Input::Ask(id, ask));
        id
    }

    pub(super) fn call(&mut self, user: &str) -> WaiterId {
        self.ask(ask_of(user))
    }

    pub(super) fn grant(&self, id: WaiterId) -> Option<Grant> {
        self.granted.get(&id).map(|(grant, ..)| *grant)
    }

    pub(super) fn release(&mut self, id: WaiterId) {
        let grant = self.grant(id).expect("it has a slot");
        self.tell(Input::Release(grant));
    }

    pub(super) fn server(&self, id: WaiterId) -> Option<u32> {
        self.grant(id).map(|grant| grant.upstream.0)
    }

    pub(super) fn fail(&mut self, id: WaiterId) {
        let grant = self.grant(id).expect("it has a slot");
        self.tell(Input::Judge(grant, Verdict::Failed));
        self.tell(Input::Release(grant));
    }

    pub(super) fn labels(&self) -> Vec<&'static str> {
        self.roster.snapshot(self.now).iter().map(|slot| slot.label.code()).collect()
    }
}
