//! Rollback and its ends.

use super::*;

/// Rolled back to where the old app is probed.
fn brought_back(led: &mut Led) -> &mut Led {
    assert!(led.says_prepare(Side::Old), "{:?}", led.did);
    led.on(ready(Side::Old));
    assert!(led.says(Side::New, &Verb::Status {}), "{:?}", led.did);
    led.on(greets(Side::New, Role::Holder, false));
    assert!(led.says(Side::New, &Verb::Yield { ticket: "old".into() }), "{:?}", led.did);
    led.on(free(Side::New));
    assert!(led.says_take(Side::Old));
    led.on(leased(Side::Old, true)).on(started(Side::Old));
    assert!(led.does(&Action::Probe(Side::Old, Pace::Eager)));
    led
}

fn is_back(led: &mut Led, why: &str) {
    led.on(good(Side::Old));
    assert!(led.does(&Action::Flip(Side::Old)) && led.does(&Action::Open(Shut::Handoff)));
    led.on(Event::Released);
    let Outcome::RolledBack(reason) = led.outcome() else { panic!("{:?}", led.outcome()) };
    assert_eq!(reason.to_string(), why);
}

#[test]
fn an_app_that_exits_while_it_boots_is_rolled_back_at_once() {
    let mut led = Led::until(Phase::Boot);
    led.on(exited(Side::New));
    brought_back(&mut led);
    is_back(&mut led, "the new app exited: status 3, its last line: no such table");
    assert_eq!(led.phases().last(), Some(&"release"));
    assert!(led.phases().contains(&"rollback"));
}

#[test]
fn an_app_that_answers_but_not_healthy_gets_five_seconds() {
    let mut led = Led::until(Phase::Boot);
    led.on(Event::Probed(Side::New, Verdict::Silent("refused".into())));
    assert!(led.did.is_empty());
    led.on(Event::Probed(Side::New, Verdict::Unhealthy("status 500".into())));
    assert!(led.does(&Action::Wake(Timer::Unhealthy, Duration::from_secs(5))));
    led.on(Event::Probed(Side::New, Verdict::Unhealthy("status 503".into())));
    assert!(led.did.is_empty(), "the five seconds are not begun anew");
    led.on(expired(Timer::Unhealthy));
    brought_back(&mut led);
    is_back(&mut led, "the new app answers, but not healthy: status 503");
}

#[test]
fn an_app_that_never_answers_is_rolled_back_while_the_reserve_is_left() {
    let mut led = Led::until(Phase::Boot);
    led.on(Event::Probed(Side::New, Verdict::Silent("refused".into()))).on(expired(Timer::Deadline));
    brought_back(&mut led);
    is_back(&mut led, "the new app did not become healthy in time: refused");
}

#[test]
fn a_lease_that_cannot_be_had_brings_the_old_app_back() {
    let mut led = Led::until(Phase::Acquire);
    led.on(Event::Said(Side::New, Saying::Held { by: "sqlite3, pid 7".into() }));
    brought_back(&mut led);
    is_back(&mut led, "the new app's keeper could not have the lease: sqlite3, pid 7");
}

#[test]
fn a_keeper_told_to_take_that_stands_by_is_rolled_back_at_once() {
    let mut led = Led::until(Phase::Acquire);
    led.on(refused(Side::New));
    assert!(led.says(Side::New, &Verb::Status {}));
    led.on(greets(Side::New, Role::Standby, true));
    brought_back(&mut led);
    is_back(&mut led, "the new app's keeper refused: no room");
}

#[test]
fn a_new_keeper_that_is_gone_is_looked_for_and_then_the_lease_tells() {
    for phase in [Phase::Acquire, Phase::Boot] {
        let mut led = Led::until(phase);
        led.on(Event::Broken(Side::New)).on(ready(Side::Old));
        assert!(led.does(&Action::Connect { side: Side::New, at: None }));
        led.on(Event::Broken(Side::New));
        assert!(led.says_take(Side::Old));
    }
}

#[test]
fn a_new_keeper_found_again_yields_if_it_is_not_confirmed() {
    let mut led = Led::until(Phase::Boot);
    led.on(Event::Broken(Side::New)).on(ready(Side::Old)).on(greets(Side::New, Role::Holder, false));
    assert!(led.says(Side::New, &Verb::Yield { ticket: "old".into() }));
}

#[test]
fn a_new_keeper_that_turns_out_confirmed_is_never_told_to_yield_but_active() {
    let mut led = Led::until(Phase::Boot);
    led.on(Event::Broken(Side::New)).on(ready(Side::Old)).on(greets(Side::New, Role::Holder, true));
    assert!(!led.all.iter().any(|action| matches!(action, Action::Say(Side::New, Verb::Yield { .. }))));
    assert!(led.on(good(Side::New)).is_live());
}

#[test]
fn a_new_keeper_that_took_the_lease_by_itself_is_asked_until_it_has_it_and_is_active() {
    let refuses: fn() -> Led = || {
        let mut led = Led::until(Phase::Acquire);
        led.on(refused(Side::New)).on(greets(Side::New, Role::Acquiring, false)).on(expired(Timer::Again));
        assert!(led.says(Side::New, &Verb::Status {}));
        led
    };
    let mut led = refuses();
    led.on(greets(Side::New, Role::Holder, true));
    assert!(led.on(good(Side::New)).is_live());

    let mut led = refuses();
    led.on(expired(Timer::Deadline)).on(ready(Side::Old)).on(greets(Side::New, Role::Acquiring, false));
    assert!(led.on(expired(Timer::Again)).says(Side::New, &Verb::Status {}));
    led.on(greets(Side::New, Role::Holder, true));
    assert!(!led.all.iter().any(|action| matches!(action, Action::Say(Side::New, Verb::Yield { .. }))));
    assert!(led.on(good(Side::New)).is_live());
}

#[test]
fn a_confirmed_epoch_whose_app_fails_is_left_to_following() {
    let mut led = Led::until(Phase::Acquire);
    led.on(leased(Side::New, true)).on(started(Side::New)).on(expired(Timer::Deadline));
    assert!(matches!(led.outcome(), Outcome::Unavailable { back: None, .. }));
}

#[test]
fn an_app_that_exits_before_its_confirmation_is_rolled_back_once_its_status_says_so() {
    let mut led = Led::until(Phase::Confirm);
    led.on(exited(Side::New));
    assert!(led.says(Side::New, &Verb::Status {}));
    led.on(greets(Side::New, Role::Standby, false));
    brought_back(&mut led);
    is_back(&mut led, "the new app exited: status 3, its last line: no such table");
}

#[test]
fn where_the_new_keeper_is_gone_the_old_one_says_what_the_record_says() {
    let mut led = Led::until(Phase::Confirm);
    led.on(Event::Broken(Side::New)).on(Event::Broken(Side::New));
    assert!(led.says(Side::Old, &Verb::Status {}));
    led.on(greets_alone(Side::Old, false));
    assert!(led.says_prepare(Side::Old), "nobody holds and nothing is confirmed: nobody can confirm any more");
}

#[test]
fn as_long_as_somebody_may_still_confirm_nothing_is_rolled_back() {
    let mut led = Led::until(Phase::Confirm);
    led.on(Event::Broken(Side::New)).on(Event::Broken(Side::New)).on(greets(Side::Old, Role::Standby, false));
    assert!(!led.says_prepare(Side::Old));
    led.on(expired(Timer::Again));
    assert!(led.does(&Action::Connect { side: Side::New, at: None }));
    led.on(expired(Timer::Deadline));
    assert!(matches!(led.outcome(), Outcome::Unavailable { .. }));
}

#[test]
fn an_old_keeper_that_took_the_lease_by_itself_is_probed_and_active() {
    let mut led = Led::until(Phase::Yield);
    led.on(Event::Broken(Side::Old)).on(Event::Said(Side::New, Saying::Held { by: "old".into() }));
    assert!(led.does(&Action::Connect { side: Side::Old, at: None }));
    led.on(greets(Side::Old, Role::Holder, true));
    is_back(&mut led, "the new app's keeper could not have the lease: old");
}

#[test]
fn an_old_keeper_that_was_not_the_last_confirmed_one_is_confirmed_after_its_rollback() {
    let mut led = Led::until(Phase::Boot);
    led.on(exited(Side::New))
        .on(ready(Side::Old))
        .on(greets(Side::New, Role::Standby, false))
        .on(free(Side::New))
        .on(leased(Side::Old, false));
    led.on(started(Side::Old)).on(good(Side::Old));
    assert!(led.says(Side::Old, &Verb::Confirm { epoch: 8 }));
    assert!(led.is_closed());
    led.on(Event::Said(Side::Old, Saying::Confirmed { epoch: 8 }));
    assert!(led.does(&Action::Open(Shut::Handoff)));
}

#[test]
fn a_rollback_that_fails_leaves_the_gate_closed_and_both_reasons() {
    let mut led = Led::until(Phase::Boot);
    led.on(exited(Side::New))
        .on(ready(Side::Old))
        .on(greets(Side::New, Role::Standby, false))
        .on(free(Side::New))
        .on(exited(Side::Old));
    let Outcome::Unavailable { forward, back: Some(back) } = led.outcome() else { panic!("{:?}", led.outcome()) };
    assert!(forward.to_string().starts_with("the new app exited"));
    assert!(back.to_string().starts_with("the old app exited"));
    assert!(led.does(&Action::Close(Shut::Unavailable)));
}

#[test]
fn an_old_keeper_that_is_away_is_tried_again_until_the_time_is_over() {
    let mut led = Led::until(Phase::Yield);
    led.on(Event::Broken(Side::Old)).on(leased(Side::New, false)).on(started(Side::New)).on(exited(Side::New));
    for _ in 0..3 {
        assert!(led.does(&Action::Connect { side: Side::Old, at: None }));
        led.on(Event::Broken(Side::Old)).on(expired(Timer::Again));
    }
    led.on(expired(Timer::Deadline));
    assert!(matches!(led.outcome(), Outcome::Unavailable { back: Some(_), .. }));
}

#[test]
fn recovering_brings_the_last_confirmed_keeper_back() {
    let mut led = Led::new(plan(Aim::Recover("it never got healthy".into())));
    assert!(led.does(&Action::Connect { side: Side::Old, at: None }));
    led.on(greets(Side::Old, Role::Standby, false)).on(ready(Side::Old)).on(greets(Side::New, Role::Holder, false));
    led.on(free(Side::New));
    assert!(led.says_take(Side::Old));
    led.on(leased(Side::Old, true)).on(started(Side::Old));
    is_back(&mut led, "the new app did not become healthy in time: it never got healthy");
}

#[test]
fn an_old_app_that_answers_though_its_keeper_is_gone_was_live_all_along() {
    let mut led = Led::until(Phase::Yield);
    led.on(Event::Broken(Side::Old)).on(Event::Said(Side::New, Saying::Held { by: "ruby, pid 7".into() }));
    led.on(good(Side::Old));
    assert!(led.is_closed(), "its keeper may be there and say better");
    led.on(Event::Broken(Side::Old));
    assert!(led.does(&Action::Probe(Side::Old, Pace::Eager)));
    led.on(expired(Timer::Again)).on(Event::Broken(Side::Old));
    assert!(!led.does(&Action::Probe(Side::Old, Pace::Eager)), "it is being probed");
    led.on(good(Side::Old));
    assert_eq!(led.gave_up().to_string(), "the new app's keeper could not have the lease: ruby, pid 7");
}

#[test]
fn what_answers_at_the_old_address_proves_nothing_once_the_new_keeper_had_the_lease() {
    let mut led = Led::until(Phase::Boot);
    led.on(Event::Broken(Side::Old)).on(exited(Side::New)).on(Event::Broken(Side::Old)).on(good(Side::Old));
    assert!(led.is_closed());
    led.on(expired(Timer::Deadline));
    assert!(matches!(led.outcome(), Outcome::Unavailable { back: Some(Reason::Slow(..)), .. }));
}

#[test]
fn an_old_keeper_that_cannot_be_prepared_is_asked_again_until_the_time_is_over() {
    let mut led = Led::until(Phase::Boot);
    led.on(Event::Broken(Side::New));
    for _ in 0..3 {
        assert!(led.says_prepare(Side::Old));
        led.on(refused(Side::Old)).on(expired(Timer::Again)).on(greets_alone(Side::Old, false));
        assert_eq!(led.deadline(), None, "its time is not begun anew");
    }
    led.on(expired(Timer::Deadline));
    let Outcome::Unavailable { back: Some(back), .. } = led.outcome() else { panic!("{:?}", led.outcome()) };
    assert_eq!(back.to_string(), "the old app's keeper refused: no room");
}

#[test]
fn an_old_keeper_that_refuses_to_take_what_it_took_by_itself_is_probed_and_active() {
    let mut led = Led::until(Phase::Boot);
    led.on(exited(Side::New)).on(ready(Side::Old)).on(greets_alone(Side::New, false));
    assert!(led.says_take(Side::Old));
    led.on(refused(Side::Old));
    assert!(led.says(Side::Old, &Verb::Status {}));
    led.on(greets(Side::Old, Role::Holder, true));
    is_back(&mut led, "the new app exited: status 3, its last line: no such table");
}

#[test]
fn an_old_app_whose_address_nobody_knows_ends_the_rollback_with_the_reason() {
    let mut led = Led::until(Phase::Boot);
    brought_back(led.on(exited(Side::New))).on(Event::Probed(Side::Old, Verdict::Nowhere("never deployed".into())));
    let Outcome::Unavailable { back: Some(back), .. } = led.outcome() else { panic!("{:?}", led.outcome()) };
    assert_eq!(back.to_string(), "never deployed");
}

#[test]
fn a_rollback_that_takes_too_long_names_the_side_that_is_slow() {
    let lost: fn() -> Led = || {
        let mut led = Led::until(Phase::Boot);
        led.on(Event::Broken(Side::New)).on(ready(Side::Old));
        led
    };
    let confirmed = greets(Side::New, Role::Holder, true);
    for (events, slow) in [
        (vec![], "the new app's keeper did not answer in time"),
        (vec![confirmed], "the new app's keeper did not have a healthy app in time"),
        (vec![greets(Side::New, Role::Holder, false)], "the new app's keeper did not free the lease in time"),
        (vec![Event::Broken(Side::New)], "the old app's keeper did not take the lease in time"),
    ] {
        let mut led = lost();
        events.into_iter().for_each(|event| _ = led.on(event));
        led.on(expired(Timer::Deadline));
        let Outcome::Unavailable { back: Some(back), .. } = led.outcome() else { panic!("{:?}", led.outcome()) };
        assert_eq!(back.to_string(), slow);
    }
}
