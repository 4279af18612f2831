//! What a gate promises, with the clock stopped.

mod model;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::advance;

use super::{Gate, Held, Limits, Operator, Permit, Reason, Refusal, Scope};

const SECOND: Duration = Duration::from_secs(1);

/// A gate open on revision 1.
fn gate() -> Arc<Gate<u32>> {
    gate_with(Limits::default())
}

fn gate_with(limits: Limits) -> Arc<Gate<u32>> {
    Gate::new(Some(Arc::new(1)), limits)
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A request that arrives now and has to wait.
async fn arrive(gate: &Gate<u32>) -> Held<u32> {
    assert!(gate.enter(0).is_none(), "it need not wait");
    let mut held = gate.join(0, now()).unwrap();
    assert!(waits(&mut held).await);
    held
}

async fn waits(held: &mut Held<u32>) -> bool {
    tokio::select! { biased; _ = held => false, () = std::future::ready(()) => true }
}

async fn revision(held: Held<u32>) -> u32 {
    **held.await.unwrap().revision()
}

/// How long it took until it was refused, and why.
async fn refusal(held: Held<u32>) -> (Duration, Refusal) {
    let start = now();
    let refusal = held.await.err().expect("it is refused");
    (now() - start, refusal)
}

fn stopped(message: &str) -> Refusal {
    Refusal::Stopped { message: message.to_owned() }
}

#[tokio::test(start_paused = true)]
async fn an_open_gate_lets_everybody_in_and_counts_him() {
    let gate = gate();
    let permits: Vec<Permit<u32>> = (0..100).map(|stripe| gate.enter(stripe).unwrap()).collect();
    let joined = gate.join(7, now()).unwrap().await.unwrap();
    assert_eq!((**joined.revision(), gate.view().in_flight, gate.view().hold.held_total), (1, 101, 0));
    drop((permits, joined));
    assert_eq!(gate.view().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn an_entrance_leads_to_what_the_gate_leads_to_now() {
    let gate = gate();
    let mut entrance = gate.entrance(0);
    assert_eq!(**entrance.enter().unwrap().revision(), 1);
    gate.close(Reason::Handoff);
    assert!(entrance.enter().is_none());
    drop(gate.flip(Arc::new(2)));
    gate.open(Reason::Handoff);
    assert_eq!(**entrance.enter().unwrap().revision(), 2);
}

#[tokio::test(start_paused = true)]
async fn holds_requests_until_the_last_reason_is_lifted() {
    let gate = gate();
    gate.pause(60 * SECOND);
    gate.close(Reason::Handoff);
    gate.close(Reason::Unavailable);
    let mut held = arrive(&gate).await;
    assert_eq!(gate.view().reasons.names(), ["handoff", "unavailable", "paused"]);
    gate.open(Reason::Handoff);
    gate.open(Reason::Unavailable);
    assert!(waits(&mut held).await, "the operator's pause outlives a handoff");
    gate.resume();
    assert_eq!(revision(held).await, 1);
    assert!(gate.enter(0).is_some());
}

#[tokio::test(start_paused = true)]
async fn sends_those_it_held_to_the_new_revision() {
    let gate = gate();
    let old = gate.enter(0).unwrap();
    gate.close(Reason::Handoff);
    let held = arrive(&gate).await;
    let drain = gate.flip(Arc::new(2));
    assert_eq!(drain.outstanding(), 1);
    gate.open(Reason::Handoff);
    assert_eq!(revision(held).await, 2);
    drop(old);
    drain.done().await;
}

#[tokio::test(start_paused = true)]
async fn holds_requests_until_there_is_a_revision() {
    let gate = Gate::new(None, Limits::default());
    let held = arrive(&gate).await;
    drop(gate.flip(Arc::new(3)));
    assert_eq!(revision(held).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_flip_of_an_open_gate_holds_nobody_and_drains_the_old_revision() {
    let gate = gate();
    let old = gate.enter(0).unwrap();
    let drain = gate.flip(Arc::new(2));
    assert_eq!(**gate.enter(0).unwrap().revision(), 2);
    let drained = tokio::spawn(async move { drain.done().await });
    tokio::task::yield_now().await;
    assert!(!drained.is_finished());
    drop(old);
    drained.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn refuses_each_when_its_own_time_is_over() {
    let gate = gate_with(Limits { max_hold: 10 * SECOND, ..Limits::default() });
    gate.close(Reason::Handoff);
    let first = arrive(&gate).await;
    advance(4 * SECOND).await;
    let second = arrive(&gate).await;
    assert_eq!(gate.view().longest_wait, 4 * SECOND);
    let (first, second) = tokio::join!(refusal(first), refusal(second));
    assert_eq!(first, (6 * SECOND, Refusal::HeldTooLong));
    assert_eq!(second, (10 * SECOND, Refusal::HeldTooLong));
    let hold = gate.view().hold;
    assert_eq!((hold.held_peak, hold.held_total, hold.longest_wait), (2, 2, 10 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_pause_said_again_counts_for_later_arrivals_only() {
    let gate = gate();
    gate.pause(40 * SECOND);
    let early = arrive(&gate).await;
    gate.pause(5 * SECOND);
    let late = arrive(&gate).await;
    let (early, late) = tokio::join!(refusal(early), refusal(late));
    assert_eq!(early, (40 * SECOND, Refusal::PausedTooLong));
    assert_eq!(late, (5 * SECOND, Refusal::PausedTooLong));
}

#[tokio::test(start_paused = true)]
async fn judges_those_who_wait_anew_when_the_reasons_change() {
    let gate = gate();
    gate.close(Reason::Handoff);
    let held = arrive(&gate).await;
    gate.pause(100 * SECOND);
    let waits = tokio::spawn(refusal(held));
    tokio::task::yield_now().await;
    advance(30 * SECOND).await;
    assert!(!waits.is_finished(), "max-hold is not the bound while paused");
    gate.resume();
    assert_eq!(waits.await.unwrap(), (30 * SECOND, Refusal::HeldTooLong));
}

#[tokio::test(start_paused = true)]
async fn keeps_the_deadline_of_those_whose_turn_has_not_come() {
    let gate = gate_with(Limits { release_concurrency: 1, ..Limits::default() });
    gate.close(Reason::Handoff);
    let (first, second) = (arrive(&gate).await, arrive(&gate).await);
    gate.open(Reason::Handoff);
    let _slow = first.await.unwrap();
    assert_eq!(refusal(second).await, (25 * SECOND, Refusal::HeldTooLong));
    assert!(gate.enter(0).is_some(), "the queue is empty");
}

#[tokio::test(start_paused = true)]
async fn a_pause_without_time_refuses_at_once() {
    let gate = gate();
    gate.pause(Duration::ZERO);
    assert_eq!(gate.join(0, now()).err(), Some(Refusal::PausedTooLong));
    gate.pause(Duration::MAX);
    drop(arrive(&gate).await);
}

#[tokio::test(start_paused = true)]
async fn a_stop_refuses_those_who_wait_and_those_who_come() {
    let gate = gate();
    gate.close(Reason::Handoff);
    let held = arrive(&gate).await;
    gate.stop("Back at ten".to_owned());
    assert_eq!(refusal(held).await, (Duration::ZERO, stopped("Back at ten")));
    gate.stop("Back at twelve".to_owned());
    assert_eq!(gate.join(0, now()).err(), Some(stopped("Back at twelve")));
    assert_eq!(gate.view().reasons.operator, Operator::Stopped { message: "Back at twelve".to_owned() });
    gate.pause(SECOND);
    assert_eq!(refusal(arrive(&gate).await).await, (SECOND, Refusal::PausedTooLong));
}

#[tokio::test(start_paused = true)]
async fn those_who_are_turned_away_are_not_let_in_by_what_opens_the_gate_next() {
    let gate = gate();
    gate.close(Reason::Handoff);
    let held = arrive(&gate).await;
    gate.turn_away();
    gate.open(Reason::Handoff);
    assert_eq!(refusal(held).await, (Duration::ZERO, Refusal::HeldTooLong));
    assert!(gate.enter(0).is_some());
}

#[tokio::test(start_paused = true)]
async fn one_too_many_is_refused_until_somebody_leaves() {
    let gate = gate_with(Limits { max_held: 2, ..Limits::default() });
    gate.close(Reason::Handoff);
    let held = [arrive(&gate).await, arrive(&gate).await];
    assert_eq!(gate.join(0, now()).err(), Some(Refusal::Full));
    drop(held);
    assert_eq!(gate.view().held, 0);
    drop(arrive(&gate).await);
}

#[tokio::test(start_paused = true)]
async fn releases_in_order_so_many_at_once_and_newcomers_last() {
    let gate = gate_with(Limits { release_concurrency: 2, ..Limits::default() });
    gate.close(Reason::Handoff);
    let [a, b, mut c, mut d] = [arrive(&gate).await, arrive(&gate).await, arrive(&gate).await, arrive(&gate).await];
    gate.open(Reason::Handoff);
    let mut newcomer = arrive(&gate).await;
    let (a, mut b) = (a.await.unwrap(), b.await.unwrap());
    assert!(waits(&mut c).await);
    drop(a);
    let c = c.await.unwrap();
    assert!(waits(&mut d).await);
    b.end_turn();
    let d = d.await.unwrap();
    assert!(waits(&mut newcomer).await);
    drop(c);
    drop(newcomer.await.unwrap());
    assert_eq!(gate.view().in_flight, 2);
    assert!(gate.enter(0).is_some());
    drop((b, d));
}

#[tokio::test(start_paused = true)]
async fn tells_when_the_release_is_over() {
    let gate = gate_with(Limits { release_concurrency: 1, ..Limits::default() });
    gate.released().await;
    gate.close(Reason::Handoff);
    let [first, second] = [arrive(&gate).await, arrive(&gate).await];
    gate.open(Reason::Handoff);
    let released = tokio::spawn({
        let gate = gate.clone();
        async move { gate.released().await }
    });
    tokio::task::yield_now().await;
    assert!(!released.is_finished());
    drop(first.await.unwrap());
    released.await.unwrap();
    drop(second.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn one_who_leaves_when_his_turn_has_come_passes_it_on() {
    let gate = gate_with(Limits { release_concurrency: 1, ..Limits::default() });
    gate.close(Reason::Handoff);
    let (first, second) = (arrive(&gate).await, arrive(&gate).await);
    gate.open(Reason::Handoff);
    drop(first);
    assert_eq!(revision(second).await, 1);
    assert_eq!(gate.view().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn slow_ones_of_an_earlier_release_do_not_hold_up_a_later_one() {
    let gate = gate_with(Limits { release_concurrency: 1, ..Limits::default() });
    gate.pause(SECOND);
    let slow = arrive(&gate).await;
    gate.resume();
    let _slow = slow.await.unwrap();
    gate.pause(SECOND);
    let held = arrive(&gate).await;
    gate.resume();
    assert_eq!(revision(held).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_permit_given_back_waits_in_its_old_place() {
    let gate = gate_with(Limits { release_concurrency: 1, ..Limits::default() });
    let (entered, arrival) = (gate.enter(0).unwrap(), now());
    gate.close(Reason::Unavailable);
    let (second, mut third) = (arrive(&gate).await, arrive(&gate).await);
    let drain = gate.drain(Scope::Revision);
    let first = entered.return_to_queue(arrival);
    drain.done().await;
    gate.open(Reason::Unavailable);
    drop(first.await.unwrap());
    let second = second.await.unwrap();
    gate.close(Reason::Unavailable);
    let second = second.return_to_queue(arrival);
    gate.open(Reason::Unavailable);
    let second = second.await.unwrap();
    assert!(waits(&mut third).await);
    drop(second);
    drop(third.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn one_that_gives_its_permit_back_twice_keeps_its_first_place() {
    let gate = gate_with(Limits { release_concurrency: 1, ..Limits::default() });
    let (first, second, arrival) = (gate.enter(0).unwrap(), gate.enter(0).unwrap(), now());
    gate.close(Reason::Unavailable);
    let (first, mut second) = (first.return_to_queue(arrival), second.return_to_queue(arrival));
    gate.open(Reason::Unavailable);
    let first = first.await.unwrap().return_to_queue(arrival);
    let first = first.await.unwrap();
    assert!(waits(&mut second).await);
    drop(first);
    drop(second.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn tells_for_how_long_the_proxy_itself_has_closed_it() {
    let (gate, second) = (gate(), Duration::from_secs(1));
    gate.pause(second);
    assert_eq!(gate.view().closed_for, None, "that is the operator's");
    gate.close(Reason::Handoff);
    tokio::time::advance(second).await;
    gate.close(Reason::Unavailable);
    gate.open(Reason::Handoff);
    gate.resume();
    tokio::time::advance(second).await;
    assert_eq!(gate.view().closed_for, Some(2 * second));
    gate.open(Reason::Unavailable);
    assert_eq!(gate.view().closed_for, None);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_parked_has_no_permit_blocks_nobody_and_keeps_its_place() {
    let gate = gate_with(Limits { release_concurrency: 1, ..Limits::default() });
    gate.close(Reason::Handoff);
    let (first, second, third) = (arrive(&gate).await, arrive(&gate).await, arrive(&gate).await);
    gate.open(Reason::Handoff);
    let mut first = first.await.unwrap().park(now());
    let second = second.await.unwrap();
    assert!(waits(&mut first).await);
    assert_eq!((gate.view().in_flight, gate.view().held), (1, 2));
    first.ready();
    drop(second);
    drop(first.await.unwrap());
    drop(third.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn one_that_is_parked_is_held_no_longer_than_others() {
    let gate = gate();
    let mut parked = gate.enter(0).unwrap().park(now());
    assert!(waits(&mut parked).await);
    assert!(gate.enter(0).is_some(), "nobody waits for it");
    assert_eq!(refusal(parked).await, (25 * SECOND, Refusal::HeldTooLong));
    let parked = gate.enter(0).unwrap().park(now());
    gate.stop("no".to_owned());
    assert_eq!(refusal(parked).await, (Duration::ZERO, stopped("no")));
}

#[tokio::test(start_paused = true)]
async fn a_pauses_drain_waits_for_its_own_permits_a_stops_for_all() {
    let gate = gate();
    let slow = gate.enter(0).unwrap();
    gate.pause(SECOND);
    gate.resume();
    let quick = gate.enter(0).unwrap();
    assert_ne!(slow.opening(), quick.opening());
    gate.pause(SECOND);
    let (own, all) = (gate.drain(Scope::Closed), gate.drain(Scope::Revision));
    assert_eq!((own.outstanding(), all.outstanding()), (1, 2));
    drop(quick);
    own.done().await;
    assert_eq!(all.outstanding(), 1);
    tokio::select! { biased; () = all.done() => panic!("one is still out"), () = async {} => () }
    drop(slow);
    all.done().await;
    assert_eq!(gate.drain(Scope::Revision).outstanding(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_drained_revision_is_dropped() {
    let gate = gate();
    let (permit, revision) = (gate.enter(0).unwrap(), Arc::downgrade(&gate.revision().unwrap()));
    drop(gate.flip(Arc::new(2)));
    assert!(revision.upgrade().is_some());
    drop(permit);
    assert!(revision.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_or_dropped_refuses() {
    let gate = gate();
    gate.close(Reason::Handoff);
    let held = arrive(&gate).await;
    gate.remove();
    assert_eq!(refusal(held).await, (Duration::ZERO, Refusal::Removed));
    assert_eq!(gate.join(0, now()).err(), Some(Refusal::Removed));
    gate.open(Reason::Handoff);
    assert!(gate.enter(0).is_none());

    let gate = self::gate();
    let permit = gate.enter(0).unwrap();
    gate.close(Reason::Handoff);
    let held = tokio::spawn(refusal(arrive(&gate).await));
    drop(gate);
    assert_eq!(held.await.unwrap(), (Duration::ZERO, Refusal::Removed));
    assert_eq!(refusal(permit.return_to_queue(now())).await.1, Refusal::Removed);
}

#[tokio::test(start_paused = true)]
async fn new_limits_count_for_those_who_wait() {
    let gate = gate_with(Limits { release_concurrency: 1, ..Limits::default() });
    gate.close(Reason::Handoff);
    let (first, second, third) = (arrive(&gate).await, arrive(&gate).await, arrive(&gate).await);
    gate.open(Reason::Handoff);
    let _first = first.await.unwrap();
    gate.set_limits(Limits { release_concurrency: 2, max_hold: 3 * SECOND, ..Limits::default() });
    let _second = second.await.unwrap();
    assert_eq!(refusal(third).await, (3 * SECOND, Refusal::HeldTooLong));
}

#[tokio::test(start_paused = true)]
async fn a_new_hold_is_counted_anew() {
    let gate = gate();
    gate.close(Reason::Handoff);
    let held = [arrive(&gate).await, arrive(&gate).await];
    advance(2 * SECOND).await;
    gate.open(Reason::Handoff);
    for held in held {
        drop(held.await.unwrap());
    }
    let hold = gate.view().hold;
    assert_eq!((hold.held_peak, hold.held_total, hold.longest_wait), (2, 2, 2 * SECOND));
    gate.close(Reason::Handoff);
    drop(arrive(&gate).await);
    assert_eq!((gate.view().hold.held_peak, gate.view().hold.held_total), (1, 1));
}
