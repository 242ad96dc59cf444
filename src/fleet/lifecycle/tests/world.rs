//! A machine, its provider, its model server and the pool around one life, in virtual time.

use super::*;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn policy() -> Policy {
    Policy {
        idle: MINUTE * 10,
        min_awake: MINUTE * 5,
        wake_deadline: MINUTE * 8,
        pause: SECOND * 2,
        longest_pause: MINUTE,
        reconcile: MINUTE,
        probe: SECOND,
        look: SECOND * 5,
        warm_up: false,
        prior: Prior { median: MINUTE, p90: MINUTE * 3 },
    }
}

/// A provider's machine, its model server and the pool.
pub(super) struct World {
    pub(super) life: Lifecycle,
    pub(super) now: Instant,
    pub(super) start: Instant,
    /// What the provider's machine does.
    pub(super) power: PowerState,
    /// From a start until the provider says that it runs, and from then until its server answers.
    pub(super) boots: Duration,
    pub(super) loads: Duration,
    pub(super) on_at: Option<Instant>,
    pub(super) answers_at: Option<Instant>,
    /// What the provider says instead of doing what it is asked.
    pub(super) trouble: Option<Trouble>,
    /// How long each answer takes, and what is not answered yet.
    pub(super) answers_in: Duration,
    pub(super) asked: Vec<(Instant, Effect)>,
    /// Calls and those who wait, and whether the pool has let go of the machine.
    pub(super) used: bool,
    pub(super) retired: bool,
    pub(super) serves: bool,
    pub(super) seen: Vec<(u64, Effect)>,
    pub(super) starts: u32,
    pub(super) stops: u32,
    /// When it was last used or wanted.
    pub(super) wanted_at: Instant,
    /// Calls to its server hang: it is stuck.
    /// Its provider never says what it does.
    pub(super) silent: bool,
    /// Its provider accepts stops and forgets them.
    pub(super) stubborn: bool,
    /// The pool does not let go of it, though no call is there.
    pub(super) keeps: bool,
    pub(super) stuck: bool,
    pub(super) restarts: u32,
    pub(super) rehearsals: u32,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "an origin for the test's own time line")]
    pub(super) fn new(power: PowerState, policy: Policy) -> World {
        let now = Instant::now();
        let mut world = World {
            life: Lifecycle::new(policy, now),
            now,
            start: now,
            power,
            boots: SECOND * 30,
            loads: SECOND * 20,
            on_at: None,
            answers_at: (power == PowerState::Running).then_some(now),
            trouble: None,
            answers_in: Duration::ZERO,
            asked: Vec::new(),
            used: false,
            retired: false,
            serves: false,
            seen: Vec::new(),
            starts: 0,
            stops: 0,
            wanted_at: now,
            stuck: false,
            silent: false,
            stubborn: false,
            keeps: false,
            restarts: 0,
            rehearsals: 0,
        };
        world.settle();
        world
    }

    /// A machine that sleeps.
    pub(super) fn asleep() -> World {
        let world = World::new(PowerState::Stopped, policy());
        assert_eq!(world.life.state(), State::Asleep);
        world
    }

    /// One that has just woken.
    pub(super) fn awake() -> World {
        let mut world = World::asleep();
        world.tell(Input::Wake(Duration::ZERO));
        world.tell(Input::Wake(MINUTE));
        world.pass(MINUTE);
        assert!(matches!(world.life.state(), State::Ready { .. }), "{:?} {:#?}", world.life.state(), world.seen);
        world
    }

    pub(super) fn tell(&mut self, input: Input) {
        match input {
            Input::Used(used) => self.used = used,
            Input::Wake(hold) => self.wanted_at = self.wanted_at.max(self.now + hold),
            _ => {}
        }
        if self.used {
            self.wanted_at = self.wanted_at.max(self.now);
        }
        self.life.handle(input, self.now);
        self.settle();
    }

    pub(super) fn settle(&mut self) {
        while let Some(effect) = self.life.poll_effect() {
            let at = (self.now - self.start).as_secs();
            self.seen.push((at, effect));
            match effect {
                Effect::Serves | Effect::ServesAnew => (self.serves, self.retired) = (true, false),
                Effect::Off | Effect::Away | Effect::Fails(..) | Effect::RestartFails(..) | Effect::Wakes(_) => {
                    assert!(
                        !self.used || !self.serves || self.power() != PowerState::Running,
                        "taken from a call: {:?}",
                        &self.seen[self.seen.len().saturating_sub(14)..]
                    );
                    self.serves = false;
                }
                Effect::Delayed => assert!(!self.serves, "it was not started"),
                Effect::Woke(_) | Effect::Restarts(_) | Effect::Restarted(_) => {}
                question => self.is_asked(question),
            }
        }
    }

    /// Something is asked, which is answered at once or later.
    pub(super) fn is_asked(&mut self, effect: Effect) {
        let of_provider =
            |effect: &Effect| matches!(effect, Effect::Start | Effect::Stop | Effect::Look | Effect::Restart);
        let under_way = self.asked.iter().find(|(_, other)| of_provider(other) && of_provider(&effect));
        assert!(under_way.is_none(), "{effect:?} while the provider has not answered {under_way:?}");
        if self.answers_in.is_zero() || matches!(effect, Effect::Retire | Effect::Vacate { .. }) {
            let answer = self.answer(effect);
            self.life.handle(answer, self.now);
        } else {
            self.asked.push((self.now + self.answers_in, effect));
        }
    }

    /// What is asked is done, and answered.
    pub(super) fn answer(&mut self, effect: Effect) -> Input {
        match effect {
            Effect::Start => Input::Started(self.start_machine()),
            Effect::Stop => Input::Stopped(self.stop_machine()),
            Effect::Look if self.silent && self.trouble.is_none() => Input::Seen(Ok(PowerState::Unknown)),
            Effect::Look => Input::Seen(self.trouble.map_or(Ok(self.power()), Err)),
            Effect::Probe => Input::Probed(self.answers_at.is_some_and(|at| self.now >= at)),
            Effect::Retire => {
                // In one step, as the pool does it.
                let stays = self.used || self.keeps;
                self.retired = !stays;
                self.serves &= stays;
                Input::Retired(!stays)
            }
            Effect::Vacate { stuck } => {
                let may = !self.used && (!stuck || self.stuck);
                self.serves &= !may;
                Input::Retired(may)
            }
            Effect::Restart => Input::Restarted(self.restart_machine()),
            Effect::Rehearse => {
                self.rehearsals += 1;
                assert!(!self.serves, "no caller gets between");
                Input::Rehearsed(!self.stuck && self.answers_at.is_some_and(|at| self.now >= at))
            }
            told => panic!("{told:?} is no question"),
        }
    }

    pub(super) fn power(&mut self) -> PowerState {
        if self.power == PowerState::Starting && self.on_at.is_some_and(|at| self.now >= at) {
            self.power = PowerState::Running;
        }
        self.power
    }

    pub(super) fn start_machine(&mut self) -> Result<(), Trouble> {
        self.starts += 1;
        if let Some(trouble) = self.trouble {
            return Err(trouble);
        }
        if matches!(self.power(), PowerState::Stopped | PowerState::Failed) {
            self.power = PowerState::Starting;
            self.on_at = Some(self.now + self.boots);
            self.answers_at = Some(self.now + self.boots + self.loads);
        }
        Ok(())
    }

    pub(super) fn stop_machine(&mut self) -> Result<(), Trouble> {
        self.stops += 1;
        assert!(!self.used || !self.serves, "stopped under a call");
        if let Some(trouble) = self.trouble {
            return Err(trouble);
        }
        if !self.stubborn {
            (self.power, self.on_at, self.answers_at, self.stuck) = (PowerState::Stopped, None, None, false);
        }
        Ok(())
    }

    pub(super) fn restart_machine(&mut self) -> Result<(), Trouble> {
        self.restarts += 1;
        assert!(!self.used || !self.serves, "restarted under a call");
        if let Some(trouble) = self.trouble {
            return Err(trouble);
        }
        (self.power, self.stuck) = (PowerState::Starting, false);
        self.on_at = Some(self.now + self.boots);
        self.answers_at = Some(self.now + self.boots + self.loads);
        Ok(())
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0;
        loop {
            let answered = self.asked.iter().map(|(at, _)| *at).min();
            let Some(at) = [self.life.deadline(), answered].into_iter().flatten().min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            match self.asked.iter().position(|(at, _)| *at <= self.now) {
                Some(first) => {
                    let (_, effect) = self.asked.remove(first);
                    let answer = self.answer(effect);
                    self.tell(answer);
                }
                None => self.tell(Input::Tick),
            }
            steps += 1;
            assert!(steps < 20_000, "a deadline that does nothing: {:?}", self.life);
        }
        self.now = end;
    }

    pub(super) fn count(&self, wanted: fn(&Effect) -> bool) -> usize {
        self.seen.iter().filter(|(_, effect)| wanted(effect)).count()
    }
}
