//! Settle to release.

use super::*;

#[test]
fn a_good_deploy_goes_through_all_phases_in_order() {
    let mut led = Led::until(Phase::Confirm);
    assert!(led.is_closed());
    assert!(led.on(Event::Said(Side::New, Saying::Confirmed { epoch: 8 })).is_live());
    led.on(Event::Released);
    assert_eq!(*led.outcome(), Outcome::Done);
    assert_eq!(
        led.phases(),
        ["preflight", "settle", "hold", "drain", "yield", "acquire", "boot", "probe", "confirm", "flip", "release"]
    );
}

#[test]
fn where_nobody_holds_the_lease_is_taken_without_show_and_yield() {
    let mut led = Led::new(Plan { old_keeper: false, old_revision: false, ..plan(Aim::Deploy(Handoff::Auto)) });
    led.on(greets_alone(Side::New, true)).on(ready(Side::New)).on(Event::Settled).on(Event::Drained);
    assert!(led.says_take(Side::New));
    led.on(leased(Side::New, false)).on(started(Side::New)).on(good(Side::New));
    assert!(led.on(Event::Said(Side::New, Saying::Confirmed { epoch: 8 })).is_live());
}

#[test]
fn an_old_keeper_that_cannot_be_reached_and_does_not_hold_is_no_hindrance() {
    let mut led = Led::deploy(Handoff::Auto);
    led.on(greets_alone(Side::New, true)).on(Event::Broken(Side::Old)).on(ready(Side::New));
    led.on(Event::Settled).on(Event::Drained);
    assert!(led.says_take(Side::New));
}

#[test]
fn a_request_that_may_not_be_cut_gives_the_handoff_up_and_is_named() {
    let mut led = Led::until(Phase::Drain);
    led.on(expired(Timer::Deadline));
    assert!(led.does(&Action::Survey));
    led.on(Event::InFlight(InFlight::Unsafe("POST /orders, 12 s old".into())));
    assert!(led.gave_up().to_string().contains("POST /orders"));
    assert!(led.does(&Action::Open(Shut::Handoff)));
    assert!(!led.all.iter().any(|action| matches!(action, Action::Say(Side::Old, Verb::Yield { .. }))));
}

#[test]
fn where_only_safe_methods_are_left_they_are_cut_and_the_handoff_goes_on() {
    let mut led = Led::until(Phase::Drain);
    led.on(expired(Timer::Deadline)).on(Event::InFlight(InFlight::SafeOnly));
    assert!(led.does(&Action::Cut(Cut::Safe)));
    assert!(led.says(Side::Old, &Verb::Yield { ticket: "new".into() }));
}

#[test]
fn slow_clients_and_safe_methods_are_cut_two_seconds_after_the_gate_closed() {
    let mut led = Led::until(Phase::Drain);
    assert!(led.does(&Action::Wake(Timer::Patience, Duration::from_secs(2))));
    led.on(expired(Timer::Patience));
    assert_eq!(led.did, [Action::Cut(Cut::AwaitingClient), Action::Cut(Cut::Safe)]);
}

#[test]
fn under_cut_the_app_is_told_to_stop_all_the_same_and_the_rest_is_cut_once_it_has_exited() {
    let cut = Plan { on_drain_timeout: OnDrainTimeout::Cut, ..plan(Aim::Deploy(Handoff::Auto)) };
    let mut led = Led::new(cut).go_until(Phase::Drain);
    led.on(expired(Timer::Patience));
    assert_eq!(led.did, [Action::Cut(Cut::AwaitingClient)]);
    led.on(expired(Timer::Deadline));
    assert!(led.says(Side::Old, &Verb::Yield { ticket: "new".into() }));
    assert!(!led.ever(&Action::Cut(Cut::All)));
    assert!(led.on(free(Side::Old)).does(&Action::Cut(Cut::All)));
}

#[test]
fn a_settle_that_takes_too_long_ends_in_the_hold() {
    let mut led = Led::until(Phase::Settle);
    assert_eq!(led.deadline(), Some(Duration::from_secs(30)));
    assert!(led.on(expired(Timer::Deadline)).does(&Action::Close(Shut::Handoff)));
}

#[test]
fn a_successor_lost_before_yield_gives_the_handoff_up() {
    for phase in [Phase::Settle, Phase::Drain] {
        let mut led = Led::until(phase);
        led.on(Event::Broken(Side::New));
        assert_eq!(*led.gave_up(), Reason::Lost(Side::New));
        assert!(led.does(&Action::Open(Shut::Handoff)));
    }
}

#[test]
fn an_old_app_lost_before_yield_leaves_the_gate_to_following() {
    for events in [vec![Event::Broken(Side::Old), expired(Timer::Deadline)], vec![exited(Side::Old)]] {
        let mut led = Led::until(Phase::Drain);
        events.into_iter().for_each(|event| _ = led.on(event));
        assert!(matches!(led.outcome(), Outcome::Unavailable { back: None, .. }));
        assert!(led.does(&Action::Close(Shut::Unavailable)));
    }
}

#[test]
fn an_old_app_that_answers_after_its_keeper_was_lost_before_yield_gets_its_requests_back() {
    for phase in [Phase::Settle, Phase::Drain] {
        let mut led = Led::until(phase);
        led.on(Event::Broken(Side::Old));
        assert!(led.is_closed() && led.does(&Action::Probe(Side::Old, Pace::Eager)));
        led.on(Event::Probed(Side::Old, Verdict::Silent("refused".into()))).on(good(Side::Old));
        assert_eq!(*led.gave_up(), Reason::Lost(Side::Old));
        assert!(led.does(&Action::Open(Shut::Handoff)));
    }
}

#[test]
fn an_abort_or_a_shutdown_before_yield_gives_up_and_after_it_changes_nothing() {
    for (event, reason) in [(Event::Abort, Reason::Aborted), (Event::Shutdown, Reason::Shutdown)] {
        for phase in [Phase::Preflight, Phase::Settle, Phase::Drain] {
            let mut led = Led::until(phase);
            assert!(led.state.may_give_up());
            led.on(event.clone());
            assert_eq!(*led.gave_up(), reason);
            assert!(led.does(&Action::Open(Shut::Handoff)));
        }
        for phase in [Phase::Yield, Phase::Acquire, Phase::Boot, Phase::Confirm] {
            let mut led = Led::until(phase);
            assert!(!led.state.may_give_up());
            let before = led.state.clone();
            led.on(event.clone());
            assert_eq!((&led.state, led.did.len()), (&before, 0));
        }
    }
}

#[test]
fn an_old_conversation_that_breaks_after_yield_is_no_reason_to_stop_and_nothing_is_cut_before_the_lease_is_had() {
    let mut led = Led::until(Phase::Yield);
    led.on(Event::Broken(Side::Old));
    assert!(led.says_take(Side::New));
    assert!(!led.ever(&Action::Cut(Cut::All)));
    assert!(led.on(leased(Side::New, false)).does(&Action::Cut(Cut::All)));
}

#[test]
fn a_successor_lost_during_yield_leaves_the_gate_to_following() {
    let mut led = Led::until(Phase::Yield);
    led.on(Event::Broken(Side::New));
    assert_eq!(*led.outcome(), Outcome::Unavailable { forward: Reason::Lost(Side::New), back: None });
    assert!(!led.all.iter().any(|action| matches!(action, Action::Say(_, Verb::Take { .. }))));
}

#[test]
fn a_yield_that_is_refused_has_changed_nothing() {
    let mut led = Led::until(Phase::Yield);
    led.on(refused(Side::Old));
    assert_eq!(*led.gave_up(), Reason::Refused(Side::Old, "no room".into()));
    assert!(led.does(&Action::Open(Shut::Handoff)));
}

#[test]
fn an_app_that_does_not_stop_in_its_grace_leaves_the_gate_to_following() {
    let mut led = Led::until(Phase::Yield);
    assert_eq!(led.deadline(), Some(Duration::from_secs(10)), "grace and a proof");
    led.on(expired(Timer::Deadline));
    assert!(matches!(led.outcome(), Outcome::Unavailable { .. }));
}

#[test]
fn an_old_app_is_given_the_grace_that_its_own_keeper_names() {
    let mut led = Led::until(Phase::Yield);
    led.on(Event::Said(Side::Old, Saying::Stopping { grace_ms: Some(14_000) }));
    assert_eq!(led.deadline(), Some(Duration::from_secs(16)), "that grace and a proof");
    led.on(Event::Said(Side::Old, Saying::Stopping { grace_ms: None }));
    assert_eq!(led.deadline(), None, "a keeper of before does not name it");
    assert!(led.on(free(Side::Old)).says_take(Side::New));
}

#[test]
fn the_take_and_the_boot_leave_the_reserve() {
    let mut led = Led::until(Phase::Drain);
    led.at(4000).on(Event::Drained).at(5000).on(free(Side::Old));
    // 25 s less 5 s held, less the reserve of 3 s boot and 0.5 s.
    assert!(led.says(Side::New, &Verb::Take { budget_ms: 16_500 }));
    led.on(leased(Side::New, false)).at(5500).on(started(Side::New));
    assert!(led.does(&Action::Probe(Side::New, Pace::Eager)));
    assert_eq!(led.deadline(), Some(Duration::from_secs(16)));
}

#[test]
fn the_gate_never_opens_before_the_confirmation_is_written() {
    let mut led = Led::until(Phase::Confirm);
    led.on(good(Side::New)).on(Event::Released).on(Event::Drained).on(expired(Timer::Again));
    assert!(led.is_closed());
}

#[test]
fn an_epoch_confirmed_at_birth_needs_no_confirm() {
    let mut led = Led::until(Phase::Acquire);
    led.on(leased(Side::New, true)).on(started(Side::New));
    assert!(led.on(good(Side::New)).is_live());
}

#[test]
fn a_lost_answer_to_confirm_is_asked_for_and_a_confirmed_epoch_goes_on() {
    let mut led = Led::until(Phase::Confirm);
    led.on(Event::Broken(Side::New));
    assert!(led.does(&Action::Connect { side: Side::New, at: None }));
    assert!(led.on(greets(Side::New, Role::Holder, true)).is_live());
}

#[test]
fn a_lost_confirm_is_said_again() {
    let mut led = Led::until(Phase::Confirm);
    led.on(Event::Broken(Side::New));
    let mut unconfirmed = status(Side::New, Role::Holder, false);
    unconfirmed.epoch = 8;
    led.on(Event::Said(Side::New, Saying::Status(Box::new(unconfirmed))));
    assert!(led.says(Side::New, &Verb::Confirm { epoch: 8 }));
}

#[test]
fn a_confirmation_that_is_refused_is_asked_about_a_little_later() {
    let mut led = Led::until(Phase::Confirm);
    led.on(refused(Side::New));
    assert!(matches!(led.did.as_slice(), [Action::Wake(Timer::Again, _)]), "not in a busy loop: {:?}", led.did);
    assert!(led.on(expired(Timer::Again)).says(Side::New, &Verb::Status {}));
}

#[test]
fn a_late_event_means_nothing_once_it_is_over() {
    let mut led = Led::until(Phase::Confirm);
    led.on(Event::Said(Side::New, Saying::Confirmed { epoch: 8 })).on(Event::Released);
    let over = led.state.clone();
    for event in [Event::Begin, Event::Drained, exited(Side::New), Event::Abort, expired(Timer::Deadline)] {
        led.on(event);
        assert_eq!((&led.state, led.did.len()), (&over, 0));
    }
}
