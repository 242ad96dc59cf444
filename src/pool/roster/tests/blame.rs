//! Scripts of blame: what is held against a server, and what only against a call.

use super::*;

const READY: Verdict = Verdict::Ready { step: Duration::from_millis(40) };

/// A desk whose servers are probed.
fn probed_desk(servers: u32) -> Desk {
    let mut desk = Desk::new(0);
    desk.roster = Roster::new(RosterSettings { probes: true, ..RosterSettings::default() });
    for n in 1..=servers {
        desk.tell(Input::Join(UpstreamId(n), upstream(n, 1, None)));
    }
    desk
}

impl Desk {
    /// A call of `user` on a lone server comes to these verdicts and ends.
    fn comes_to(&mut self, user: &str, verdicts: &[Verdict]) {
        let id = self.call(user);
        let grant = self.grant(id).expect("a server is free");
        for verdict in verdicts {
            self.tell(Input::Judge(grant, *verdict));
        }
        self.release(id);
    }
}

#[test]
fn calls_that_are_lost_count_though_each_handshake_went_well() {
    let mut desk = Desk::new(1);
    for user in ["a", "b"] {
        desk.comes_to(user, &[READY, Verdict::Lost]);
    }
    desk.comes_to("c", &[READY]);
    for user in ["a", "b"] {
        desk.comes_to(user, &[READY, Verdict::Lost]);
    }
    assert_eq!(desk.labels(), ["free"], "one call was served between them");
    desk.comes_to("c", &[READY, Verdict::Lost]);
    assert_eq!(desk.labels(), ["unhealthy"]);
}

#[test]
fn a_handshake_that_is_told_after_the_loss_is_no_recovery() {
    let mut desk = Desk::new(1);
    for user in ["a", "b", "c"] {
        let id = desk.call(user);
        let grant = desk.grant(id).unwrap();
        desk.tell(Input::Judge(grant, Verdict::Lost));
        desk.release(id);
        desk.tell(Input::Judge(grant, READY));
    }
    assert_eq!(desk.labels(), ["unhealthy"]);
}

#[test]
fn one_caller_alone_cannot_take_a_server_out_by_being_late_or_lost() {
    for verdict in [Verdict::Late, Verdict::Lost] {
        let mut desk = Desk::new(1);
        for _ in 0..100 {
            desk.comes_to("mallory", &[verdict]);
        }
        assert_eq!(desk.labels(), ["free"], "{verdict:?}");
        desk.comes_to("bob", &[verdict]);
        assert_eq!(desk.labels(), ["free"], "{verdict:?}: two in a row");
        desk.comes_to("cid", &[verdict]);
        assert_eq!(desk.labels(), ["unhealthy"], "{verdict:?}: three in a row");
    }
}

#[test]
fn a_trial_that_proves_nothing_leaves_the_next_one_free() {
    let mut desk = Desk::new(1);
    for user in ["a", "b", "mallory"] {
        desk.comes_to(user, &[Verdict::Late]);
    }
    for _ in 0..3 {
        desk.pass(SECOND * 30);
        desk.comes_to("mallory", &[Verdict::Late]);
    }
    let contested = desk.call("dan");
    let (grant, waiter, _) = desk.granted.remove(&contested).unwrap();
    desk.tell(Input::Contested(grant, Some(waiter)));
    desk.tell(Input::Leave(contested));
    desk.tell(Input::HeldElsewhere(UpstreamId(1), 0, false));
    desk.comes_to("eve", &[READY]);
    assert_eq!(desk.labels(), ["free"], "neither of them stands in the way");
}

#[test]
fn one_trial_at_a_time_though_calls_from_before_end_meanwhile() {
    let mut desk = Desk::new(0);
    desk.tell(Input::Join(UpstreamId(1), upstream(1, 8, None)));
    desk.tell(Input::Join(UpstreamId(2), upstream(2, 1, None)));
    desk.tell(Input::Join(UpstreamId(3), upstream(3, 1, None)));
    let calls: Vec<WaiterId> = (0..10).map(|n| desk.call(&format!("u{n}"))).collect();
    let on_first: Vec<WaiterId> = calls.iter().copied().filter(|id| desk.server(*id) == Some(1)).collect();
    assert_eq!(on_first.len(), 8);
    for id in &on_first[..3] {
        desk.fail(*id);
    }
    let waiting: Vec<WaiterId> = (0..5).map(|n| desk.call(&format!("w{n}"))).collect();
    let through = |desk: &Desk| waiting.iter().filter(|id| desk.grant(**id).is_some()).count();
    assert_eq!(through(&desk), 0);
    desk.pass(SECOND * 7);
    assert_eq!(through(&desk), 1, "the trial");
    for id in &on_first[3..] {
        desk.release(*id);
    }
    assert_eq!(through(&desk), 1, "the ends of calls from before are not the trial's");
    let trial = waiting.iter().find(|id| desk.grant(**id).is_some()).copied().unwrap();
    desk.tell(Input::Judge(desk.grant(trial).unwrap(), READY));
    desk.pass(SECOND);
    assert_eq!(through(&desk), 5);
}

#[test]
fn who_was_found_gone_is_tried_again_only_when_a_probe_has_seen_it() {
    let mut desk = probed_desk(2);
    for n in 0..6 {
        let [x, y] = [0, 1].map(|side| desk.call(&format!("u{n}.{side}")));
        for id in [x, y] {
            match desk.grant(id) {
                Some(grant) if grant.upstream == UpstreamId(1) => {
                    desk.tell(Input::Judge(grant, Verdict::Unreachable));
                    desk.release(id);
                }
                Some(_) => desk.release(id),
                None => desk.tell(Input::Leave(id)),
            }
        }
    }
    desk.pass(SECOND * 600);
    let [a, b] = ["a", "b"].map(|user| desk.call(user));
    assert_eq!((desk.server(a), desk.server(b)), (Some(2), None), "no caller has to find out");
    desk.tell(Input::Probed(UpstreamId(1), Probed::Answered));
    assert_eq!(desk.server(b), Some(1), "the trial");
}

#[test]
fn a_server_whose_calls_succeed_may_leave_out_probes_for_a_minute_but_not_refuse_them() {
    for (probed, label) in [(Probed::Silent, "free"), (Probed::Refused, "unhealthy")] {
        let mut desk = probed_desk(1);
        desk.comes_to("a", &[READY]);
        for _ in 0..5 {
            desk.tell(Input::Probed(UpstreamId(1), probed));
        }
        assert_eq!(desk.labels(), [label], "{probed:?}");
    }
    let mut desk = probed_desk(1);
    desk.comes_to("a", &[READY]);
    desk.pass(SECOND * 61);
    for _ in 0..3 {
        desk.tell(Input::Probed(UpstreamId(1), Probed::Silent));
    }
    assert_eq!(desk.labels(), ["unhealthy"]);
}

#[test]
fn a_server_that_was_late_gets_all_the_time_there_is() {
    let mut desk = Desk::new(1);
    desk.comes_to("a", &[READY]);
    assert!(desk.roster.offer(UpstreamId(1)).step.is_some());
    desk.comes_to("a", &[READY, Verdict::Lost]);
    assert!(desk.roster.offer(UpstreamId(1)).step.is_some(), "it was fast enough when it began");
    desk.comes_to("b", &[Verdict::Late]);
    assert_eq!(desk.roster.offer(UpstreamId(1)).step, None);
}
