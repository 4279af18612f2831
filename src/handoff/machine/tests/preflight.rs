//! Preflight, and the kinds that need no hold.

use super::*;

#[test]
fn a_target_without_a_keeper_overlaps_and_its_old_requests_are_cut_at_the_end_of_the_drain() {
    let mut led = Led::deploy(Handoff::Auto);
    led.on(Event::Broken(Side::New)).on(expired(Timer::Deadline));
    assert!(led.warned("no keeper"), "going back to an image without a keeper is said");
    assert!(led.on(good(Side::New)).is_live());
    assert!(led.does(&Action::Drain));
    led.on(expired(Timer::Deadline));
    assert!(led.does(&Action::Cut(Cut::All)));
    assert_eq!(*led.outcome(), Outcome::Done);
    assert!(!led.ever(&Action::Close(Shut::Handoff)));
}

#[test]
fn a_healthy_target_waits_a_second_for_its_keepers_greeting() {
    let mut led = Led::deploy(Handoff::Auto);
    assert_eq!(led.deadline(), Some(Duration::from_secs(1)));
    led.on(good(Side::New)).on(Event::Broken(Side::New)).on(expired(Timer::Again));
    assert!(led.does(&Action::Connect { side: Side::New, at: None }));
    led.on(expired(Timer::Deadline));
    assert!(led.is_live());
}

#[test]
fn an_app_that_answers_beside_a_port_that_refuses_after_that_has_no_keeper() {
    let mut led = Led::deploy(Handoff::Auto);
    led.on(Event::Absent(Side::New)).on(Event::Broken(Side::New)).on(good(Side::New));
    led.on(expired(Timer::Again)).on(Event::Absent(Side::New));
    assert!(led.is_live());
}

#[test]
fn a_port_that_refused_before_the_app_answered_proves_nothing() {
    let mut led = Led::deploy(Handoff::Auto);
    led.on(expired(Timer::Again)).on(good(Side::New)).on(Event::Absent(Side::New)).on(Event::Broken(Side::New));
    assert!(matches!(led.state, State::Preflight(Preflight::Greeting(_))));
    led.on(expired(Timer::Again))
        .on(greets(Side::New, Role::Holder, true))
        .on(Event::Broken(Side::Old))
        .on(good(Side::New));
    assert!(led.is_live());
}

#[test]
fn a_port_that_refuses_where_a_keeper_was_met_before_is_asked_on() {
    let mut led = Led::new(Plan { keeper_expected: true, ..plan(Aim::Deploy(Handoff::Auto)) });
    led.on(good(Side::New)).on(expired(Timer::Again)).on(Event::Absent(Side::New)).on(Event::Broken(Side::New));
    assert!(matches!(led.state, State::Preflight(Preflight::Greeting(_))));
    led.on(expired(Timer::Deadline));
    assert_eq!(*led.gave_up(), Reason::Slow(Side::New, "greet"));
}

#[test]
fn a_keeper_that_greets_late_is_heard_as_long_as_nobody_is_healthy() {
    let mut led = Led::deploy(Handoff::Auto);
    led.on(expired(Timer::Deadline)).on(expired(Timer::Again));
    assert!(led.does(&Action::Connect { side: Side::New, at: None }));
    led.on(greets(Side::New, Role::Standby, true));
    assert!(led.does(&Action::StopProbe));
    assert!(matches!(led.state, State::Preflight(Preflight::Meeting { held: true, .. })));
}

#[test]
fn an_app_that_answers_where_a_keeper_was_met_before_proves_nothing_by_itself() {
    let mut led = Led::new(Plan { keeper_expected: true, ..plan(Aim::Deploy(Handoff::Auto)) });
    led.on(good(Side::New)).on(expired(Timer::Deadline));
    assert_eq!(*led.gave_up(), Reason::Slow(Side::New, "greet"));
}

#[test]
fn an_exclusive_handoff_without_a_keeper_is_refused() {
    let mut led = Led::deploy(Handoff::Exclusive);
    led.on(expired(Timer::Deadline));
    assert!(led.gave_up().to_string().contains("needs a keeper"));
}

#[test]
fn a_keeper_of_another_service_is_an_error_that_says_so() {
    let mut status = status(Side::New, Role::Standby, true);
    status.service = Some("wiki".into());
    let mut led = Led::deploy(Handoff::Auto);
    led.on(Event::Said(Side::New, Saying::Status(Box::new(status))));
    assert_eq!(led.gave_up().to_string(), "the target's keeper serves wiki, not shop");
}

#[test]
fn a_keeper_without_a_name_on_a_loopback_host_does_not_count() {
    let mut status = status(Side::New, Role::Standby, true);
    status.service = None;
    let mut led = Led::new(Plan { must_name_service: true, ..plan(Aim::Deploy(Handoff::Auto)) });
    led.on(good(Side::New)).on(Event::Said(Side::New, Saying::Status(Box::new(status))));
    assert!(led.is_live());
}

#[test]
fn a_keeper_that_speaks_another_major_version_is_refused() {
    let mut status = status(Side::New, Role::Standby, true);
    status.wire.major += 1;
    let mut led = Led::deploy(Handoff::Auto);
    led.on(Event::Said(Side::New, Saying::Status(Box::new(status))));
    assert!(led.gave_up().to_string().contains("speaks version 2"));
}

#[test]
fn a_standby_may_be_only_the_sole_target() {
    let mut led = Led::new(Plan { sole_target: false, ..plan(Aim::Deploy(Handoff::Auto)) });
    led.on(greets(Side::New, Role::Standby, true));
    assert!(led.gave_up().to_string().contains("sole target"));
}

#[test]
fn a_standby_is_refused_for_overlap_and_for_drain() {
    for kind in [Handoff::Overlap, Handoff::Drain] {
        let mut led = Led::deploy(kind);
        led.on(greets(Side::New, Role::Standby, true));
        assert!(led.gave_up().to_string().contains("only an exclusive handoff"));
    }
}

#[test]
fn a_confirmed_holder_is_probed_and_flipped_to() {
    let mut led = Led::deploy(Handoff::Auto);
    led.on(good(Side::New)).on(greets(Side::New, Role::Holder, true)).on(good(Side::New));
    assert!(!led.is_live(), "only a probe after the keeper's word counts");
    led.on(greets(Side::Old, Role::Standby, true));
    assert!(led.on(good(Side::New)).is_live());
}

#[test]
fn an_unconfirmed_holder_is_probed_confirmed_and_flipped_to() {
    let mut led = Led::deploy(Handoff::Auto);
    led.on(greets(Side::New, Role::Holder, false)).on(greets(Side::Old, Role::Standby, true)).on(good(Side::New));
    assert!(led.says(Side::New, &Verb::Confirm { epoch: 7 }));
    assert!(!led.ever(&Action::Flip(Side::New)));
    assert!(led.on(Event::Said(Side::New, Saying::Confirmed { epoch: 7 })).is_live());
}

#[test]
fn an_acquiring_target_is_waited_for() {
    let mut led = Led::deploy(Handoff::Auto);
    led.on(greets(Side::New, Role::Acquiring, true)).on(expired(Timer::Again));
    assert!(led.says(Side::New, &Verb::Status {}));
    led.on(greets(Side::New, Role::Holder, true)).on(greets(Side::Old, Role::Standby, true)).on(good(Side::New));
    assert!(led.is_live());
}

#[test]
fn a_frozen_holder_fails_the_deploy_before_the_hold() {
    let mut led = Led::deploy(Handoff::Auto);
    led.on(greets(Side::New, Role::Standby, true)).on(expired(Timer::Deadline));
    assert_eq!(*led.gave_up(), Reason::Slow(Side::Old, "answer"));
    assert!(!led.ever(&Action::Close(Shut::Handoff)));
}

#[test]
fn a_standby_with_the_holders_own_id_is_refused_and_told_the_way_out() {
    let mut new = status(Side::New, Role::Standby, true);
    new.holder = Some(Holder { id: new.id.clone(), control: "10.0.0.1:8647".into() });
    let mut led = Led::deploy(Handoff::Auto);
    led.on(Event::Said(Side::New, Saying::Status(Box::new(new))));
    let text = led.gave_up().to_string();
    assert!(text.contains("the same id, new (control 10.0.0.1:8647)") && text.contains("host names"), "{text}");
    assert!(!led.ever(&Action::Close(Shut::Handoff)));
}

#[test]
fn keepers_of_different_leases_are_refused() {
    let mut old = status(Side::Old, Role::Holder, true);
    old.lease = "9:9".into();
    let mut led = Led::deploy(Handoff::Auto);
    led.on(greets(Side::New, Role::Standby, true)).on(Event::Said(Side::Old, Saying::Status(Box::new(old))));
    assert!(led.gave_up().to_string().contains("same volume"));
}

/// A target that holds another lease than the old side's keeper.
fn elsewhere(kind: Handoff) -> Led {
    let mut new = status(Side::New, Role::Holder, true);
    new.lease = "9:9".into();
    let mut led = Led::deploy(kind);
    led.on(Event::Said(Side::New, Saying::Status(Box::new(new))));
    led
}

#[test]
fn a_target_that_holds_another_lease_is_refused_unless_an_overlap_is_asked_for() {
    for kind in [Handoff::Auto, Handoff::Exclusive, Handoff::Drain] {
        let mut led = elsewhere(kind);
        assert!(led.does(&Action::Connect { side: Side::Old, at: None }));
        led.on(greets(Side::Old, Role::Holder, true));
        assert!(led.gave_up().to_string().contains("same volume"));
    }
    assert!(elsewhere(Handoff::Overlap).on(good(Side::New)).is_live());
}

#[test]
fn an_old_keeper_that_is_gone_or_anothers_is_no_hindrance_to_a_holder() {
    let mut led = elsewhere(Handoff::Auto);
    assert!(led.on(Event::Broken(Side::Old)).on(good(Side::New)).is_live());
    assert!(led.warned("the old app's keeper does not answer"));

    let mut other = status(Side::Old, Role::Holder, true);
    other.service = Some("wiki".into());
    let mut led = elsewhere(Handoff::Auto);
    led.on(Event::Said(Side::Old, Saying::Status(Box::new(other))));
    assert!(led.on(good(Side::New)).is_live());
}

#[test]
fn what_a_standby_refuses_to_prepare_is_refused_before_the_hold() {
    let mut led = Led::deploy(Handoff::Auto);
    led.on(greets(Side::New, Role::Standby, true)).on(greets(Side::Old, Role::Holder, true)).on(refused(Side::New));
    led.on(greets(Side::New, Role::Standby, true));
    assert_eq!(led.gave_up().to_string(), "the new app's keeper refused: no room");
}

#[test]
fn one_that_took_the_free_lease_while_it_was_asked_to_prepare_is_a_holder_like_any_other() {
    let mut led = Led::deploy(Handoff::Auto);
    led.on(greets(Side::New, Role::Standby, true)).on(greets(Side::Old, Role::Holder, true)).on(refused(Side::New));
    led.on(greets(Side::New, Role::Holder, true)).on(greets(Side::Old, Role::Standby, true)).on(good(Side::New));
    assert!(led.is_live());
}

#[test]
fn a_ticket_that_the_holder_refuses_ends_the_deploy_before_the_hold() {
    let mut led = Led::deploy(Handoff::Auto);
    led.on(greets(Side::New, Role::Standby, true)).on(greets(Side::Old, Role::Holder, true)).on(ready(Side::New));
    assert!(led.says(Side::Old, &Verb::Show { ticket: "new".into() }));
    led.on(refused(Side::Old));
    assert_eq!(*led.gave_up(), Reason::Refused(Side::Old, "no room".into()));
}

#[test]
fn an_old_keeper_that_knows_the_holder_leads_to_it() {
    let mut led = Led::deploy(Handoff::Auto);
    led.on(greets_alone(Side::New, true));
    let mut old = status(Side::Old, Role::Standby, true);
    old.holder = Some(Holder { id: "third".into(), control: "10.0.0.3:8647".into() });
    let at = old.holder.clone();
    led.on(Event::Said(Side::Old, Saying::Status(Box::new(old))));
    assert!(led.does(&Action::Connect { side: Side::Old, at }));
}

#[test]
fn addresses_are_saved_before_the_hold() {
    let led = Led::until(Phase::Settle);
    assert!(led.ever(&Action::Save));
    assert!(!led.ever(&Action::Close(Shut::Handoff)));
}

#[test]
fn what_does_not_fit_into_a_hold_is_said() {
    let mut slow = plan(Aim::Deploy(Handoff::Auto));
    slow.limits.measured.boot = Some(Duration::from_secs(15));
    assert!(Led::new(slow).go_until(Phase::Settle).warned("do not fit"));
    assert!(!Led::until(Phase::Settle).warned("do not fit"));
}

#[test]
fn drain_never_lets_two_revisions_serve_and_leaves_the_old_process_alone() {
    let mut led = Led::deploy(Handoff::Drain);
    led.on(expired(Timer::Deadline)).on(good(Side::New)).on(Event::Settled);
    assert!(led.does(&Action::Close(Shut::Handoff)));
    assert!(!led.ever(&Action::Flip(Side::New)));
    assert!(led.on(Event::Drained).is_live());
    assert_eq!(led.phases(), ["preflight", "settle", "hold", "drain", "flip", "release"]);
}

#[test]
fn adopting_opens_the_gate_on_a_confirmed_holder_after_a_probe() {
    let mut led = Led::new(plan(Aim::Adopt));
    assert!(!led.all.iter().any(|action| matches!(action, Action::Probe(..))));
    led.on(greets(Side::New, Role::Holder, true)).on(good(Side::New));
    assert!(led.is_live() && led.does(&Action::Open(Shut::Unavailable)));
}

#[test]
fn adopting_gives_an_unconfirmed_holder_that_answers_but_not_healthy_only_so_long() {
    let bad = || Event::Probed(Side::New, Verdict::Unhealthy("status 500".into()));
    let wake = Action::Wake(Timer::Unhealthy, plan(Aim::Adopt).limits.unhealthy_after);
    let mut led = Led::new(plan(Aim::Adopt));
    assert!(led.on(greets(Side::New, Role::Holder, false)).on(bad()).does(&wake));
    assert!(!led.on(bad()).does(&wake), "since its first answer");
    led.on(expired(Timer::Unhealthy));
    assert_eq!(*led.gave_up(), Reason::Unhealthy(Some("status 500".into())));
    for (aim, confirmed) in [(Aim::Adopt, true), (Aim::Deploy(Handoff::Overlap), false)] {
        let mut led = Led::new(plan(aim));
        led.on(greets(Side::New, Role::Holder, confirmed)).on(bad());
        assert!(!led.ever(&wake), "nothing to go back to, or nobody is held");
    }
}

#[test]
fn adopting_one_that_holds_no_more_gives_up() {
    let mut led = Led::new(plan(Aim::Adopt));
    led.on(greets(Side::New, Role::Standby, true));
    assert!(matches!(led.gave_up(), Reason::Unfit(_)));
}

#[test]
fn a_target_that_cannot_be_confirmed_leaves_an_app_without_a_keeper_its_requests() {
    let unkept = Plan { old_keeper: false, unkept: true, ..plan(Aim::Deploy(Handoff::Auto)) };
    for (events, why) in [
        (vec![expired(Timer::Deadline)], "the new app's keeper did not confirm its epoch in time"),
        (
            vec![exited(Side::New), greets_alone(Side::New, false)],
            "the new app exited: status 3, its last line: no such table",
        ),
    ] {
        let mut led = Led::new(unkept.clone());
        led.on(greets(Side::New, Role::Holder, false)).on(good(Side::New));
        assert!(led.says(Side::New, &Verb::Confirm { epoch: 7 }));
        events.into_iter().for_each(|event| _ = led.on(event));
        assert_eq!(led.gave_up().to_string(), why);
        assert!(!led.ever(&Action::Close(Shut::Unavailable)));
    }
}
