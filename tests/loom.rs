//! The gate's core in every order in which a few threads can meet in it (within a bound of preemptions). A wake-up
//! that is lost shows as a deadlock, which loom reports. No `--cfg`: the core is taken in with loom's parts.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::type_complexity, reason = "a test may panic")]
#![expect(clippy::duplicate_mod, reason = "the core is taken in twice: with a right and with a careless counter")]

#[expect(dead_code, unreachable_pub, reason = "the core is made for the library")]
#[path = "loom/careless.rs"]
mod careless;
#[expect(dead_code, unreachable_pub, reason = "the core is made for the library")]
#[path = "loom/gate.rs"]
mod gate;

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use gate::core::terms::{Limits, Reason, Refusal, Scope};
use gate::core::{Gate, Permit, Seat, Until};
use loom::future::block_on;
use loom::thread;

/// A payload that knows whether it may still be served. Its atomics are std's: it watches, loom need not know.
#[derive(Default)]
struct App {
    over: AtomicBool,
    inside: AtomicUsize,
    served: AtomicUsize,
}

impl App {
    /// A request is served: it must not be after the app was drained, nor may more than `most` be at once.
    fn serve(&self, most: usize) {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(inside <= most, "{inside} at once, {most} allowed");
        assert!(!self.over.load(Ordering::SeqCst), "admitted after it was drained");
        thread::yield_now();
        assert!(!self.over.load(Ordering::SeqCst), "drained while a permit was out");
        self.inside.fetch_sub(1, Ordering::SeqCst);
        self.served.fetch_add(1, Ordering::SeqCst);
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

const ANY: usize = usize::MAX;

/// Explores `scenario`, in all its orders with at most so many preemptions.
fn explore(name: &str, preemptions: usize, scenario: impl Fn() + Sync + Send + 'static) {
    let (start, iterations) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let count = iterations.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        scenario();
    });
    println!("{name}: {} orders in {:.1?}", iterations.load(Ordering::Relaxed), start.elapsed());
}

/// One moment for all: who arrived first is told by numbers.
fn now() -> Instant {
    static NOW: OnceLock<Instant> = OnceLock::new();
    *NOW.get_or_init(Instant::now)
}

fn gate_with(turns: usize) -> (Arc<Gate<App>>, Arc<App>) {
    let app = Arc::new(App::default());
    let limits = Limits { max_held: 4, max_hold: Duration::from_secs(3600), release_concurrency: turns };
    (Gate::with_stripes(Some(app.clone()), limits, 2), app)
}

fn join(gate: &Gate<App>, stripe: usize) -> Result<Seat<App>, Refusal> {
    gate.join_at(stripe, now(), now())
}

fn answer(mut seat: Seat<App>) -> Result<Permit<App>, Refusal> {
    block_on(poll_fn(|cx| match seat.poll(cx, now()) {
        ControlFlow::Break(answer) => Poll::Ready(answer),
        ControlFlow::Continue(_) => Poll::Pending,
    }))
}

/// What a request does: enters, or waits.
fn request(gate: &Gate<App>, stripe: usize) -> Result<Permit<App>, Refusal> {
    gate.enter(stripe).map_or_else(|| answer(join(gate, stripe)?), Ok)
}

fn drained(gate: &Gate<App>, scope: Scope) {
    let drain = gate.drain(scope);
    block_on(drain.done());
    assert_eq!(drain.outstanding(), 0);
}

fn end(others: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    others.into_iter().for_each(|other| other.join().expect("it ends well"));
}

#[test]
fn once_drained_no_permit_is_out_and_none_is_given() {
    explore("close | enter | enter, leaving two stripes", 3, || {
        let (gate, app) = gate_with(1);
        let enter = |stripe| {
            let gate = gate.clone();
            thread::spawn(move || {
                if let Some(permit) = gate.enter(stripe) {
                    permit.revision().serve(ANY);
                }
            })
        };
        let others = [enter(0), enter(1)];
        gate.close_at(Reason::Handoff, Instant::now());
        drained(&gate, Scope::Closed);
        app.over.store(true, Ordering::SeqCst);
        assert!(gate.enter(0).is_none());
        end(others);
    });
}

#[test]
fn counting_apart_from_admission_is_found_out() {
    static FOUND: AtomicBool = AtomicBool::new(false);
    explore("the same with a careless counter", 3, || {
        use careless::core::Gate;
        use careless::core::terms::{Limits, Reason, Scope};
        let gate = Gate::with_stripes(Some(Arc::new(AtomicBool::new(false))), Limits::default(), 1);
        let other = thread::spawn({
            let gate = gate.clone();
            move || {
                if let Some(permit) = gate.enter(0) {
                    thread::yield_now();
                    FOUND.fetch_or(permit.revision().load(Ordering::SeqCst), Ordering::SeqCst);
                }
            }
        });
        gate.close_at(Reason::Handoff, Instant::now());
        block_on(gate.drain(Scope::Closed).done());
        gate.revision().unwrap().store(true, Ordering::SeqCst);
        other.join().unwrap();
    });
    assert!(FOUND.load(Ordering::SeqCst), "a permit that is out after the drain must be found");
}

#[test]
fn nobody_sleeps_through_the_opening() {
    explore("close, open | request | request", 3, || {
        let (gate, app) = gate_with(1);
        let request = |stripe| {
            let gate = gate.clone();
            thread::spawn(move || request(&gate, stripe).unwrap().revision().serve(ANY))
        };
        let others = [request(0), request(1)];
        gate.close_at(Reason::Handoff, Instant::now());
        gate.open(Reason::Handoff);
        end(others);
        assert_eq!((app.served(), gate.view_at(now()).in_flight), (2, 0));
    });
}

#[test]
fn a_flip_parts_the_requests_of_two_revisions() {
    explore("flip, drain | request | enter", 3, || {
        let (gate, old) = gate_with(1);
        let new = Arc::new(App::default());
        let one = thread::spawn({
            let gate = gate.clone();
            move || request(&gate, 0).unwrap().revision().serve(ANY)
        });
        let two = thread::spawn({
            let gate = gate.clone();
            move || gate.enter(1).iter().for_each(|permit| permit.revision().serve(ANY))
        });
        block_on(gate.flip(new.clone()).done());
        old.over.store(true, Ordering::SeqCst);
        end([one, two]);
        assert!(old.served() + new.served() >= 1);
        assert!(Arc::ptr_eq(gate.enter(0).unwrap().revision(), &new));
    });
}

#[test]
fn a_resume_never_waits_and_drains_keep_to_their_own() {
    explore("pause, resume, stop, drain | request", 4, || {
        let (gate, app) = gate_with(1);
        let old = gate.enter(0).unwrap();
        gate.pause(Duration::from_secs(60));
        let paused = gate.drain(Scope::Closed);
        let other = thread::spawn({
            let gate = gate.clone();
            move || request(&gate, 1).map(|permit| permit.revision().serve(ANY)).is_ok()
        });
        gate.resume();
        assert_eq!(paused.outstanding(), 1);
        assert_ne!(gate.enter(0).unwrap().opening(), old.opening());
        gate.stop("no".to_owned());
        drained(&gate, Scope::Closed);
        assert_eq!(gate.drain(Scope::Revision).outstanding(), 1);
        drop(old);
        drained(&gate, Scope::Revision);
        app.over.store(true, Ordering::SeqCst);
        assert_eq!(other.join().unwrap(), app.served() == 1);
    });
}

#[test]
fn those_who_wait_are_let_in_one_by_one_before_those_who_come() {
    explore("open | first | second | newcomer", 2, || {
        let (gate, app) = gate_with(1);
        gate.close_at(Reason::Handoff, Instant::now());
        let seats = [join(&gate, 0).unwrap(), join(&gate, 1).unwrap()];
        let turn = Arc::new(AtomicUsize::new(0));
        let mut others: Vec<_> = (0..)
            .zip(seats)
            .map(|(number, seat)| {
                let turn = turn.clone();
                thread::spawn(move || {
                    let permit = answer(seat).unwrap();
                    assert_eq!(turn.fetch_add(1, Ordering::SeqCst), number, "out of turn");
                    permit.revision().serve(1);
                })
            })
            .collect();
        others.push(thread::spawn({
            let gate = gate.clone();
            move || {
                let permit = gate.enter(1);
                assert!(permit.is_none() || gate.view_at(now()).held == 0, "overtaken");
            }
        }));
        gate.open(Reason::Handoff);
        end(others);
        assert_eq!(app.served(), 2);
    });
}

#[test]
fn a_client_that_leaves_frees_its_place_or_its_turn() {
    explore("open | leaves | waits", 4, || {
        let (gate, app) = gate_with(1);
        gate.close_at(Reason::Handoff, Instant::now());
        let (mut first, second) = (join(&gate, 0).unwrap(), join(&gate, 1).unwrap());
        let leaves = thread::spawn(move || {
            drop(first.poll(&Context::from_waker(Waker::noop()), now()));
            drop(first);
        });
        let waits = thread::spawn(move || answer(second).unwrap().revision().serve(1));
        gate.open(Reason::Handoff);
        end([leaves, waits]);
        let view = gate.view_at(now());
        assert_eq!((view.held, view.in_flight, app.served()), (0, 0, 1));
        assert!(gate.enter(0).is_some());
    });
}

#[test]
fn a_permit_given_back_takes_its_old_place() {
    explore("open | gives back | waits", 3, || {
        let (gate, app) = gate_with(1);
        gate.close_at(Reason::Handoff, Instant::now());
        let (first, second) = (join(&gate, 0).unwrap(), join(&gate, 1).unwrap());
        let gives_back = thread::spawn({
            let app = app.clone();
            move || {
                let seat = answer(first).unwrap().take_seat(now(), Until::Turn, now());
                let permit = answer(seat).unwrap();
                assert_eq!(app.served(), 0, "its place was taken");
                permit.revision().serve(1);
            }
        });
        let waits = thread::spawn(move || answer(second).unwrap().revision().serve(1));
        gate.open(Reason::Handoff);
        end([gives_back, waits]);
        assert_eq!((app.served(), gate.view_at(now()).in_flight), (2, 0));
    });
}

#[test]
fn a_permit_given_back_does_not_count() {
    explore("close, drain, flip, open | gives back | enter", 2, || {
        let (gate, old) = gate_with(1);
        let gives_back = thread::spawn({
            let gate = gate.clone();
            move || {
                let seat = request(&gate, 0).unwrap().take_seat(now(), Until::Turn, now());
                answer(seat).unwrap().revision().serve(ANY);
            }
        });
        let enters = thread::spawn({
            let gate = gate.clone();
            move || gate.enter(1).iter().for_each(|permit| permit.revision().serve(ANY))
        });
        gate.close_at(Reason::Handoff, Instant::now());
        drained(&gate, Scope::Revision);
        old.over.store(true, Ordering::SeqCst);
        drop(gate.flip(Arc::new(App::default())));
        gate.open(Reason::Handoff);
        end([gives_back, enters]);
        assert_eq!(gate.view_at(now()).in_flight, 0);
    });
}

#[test]
fn a_stop_answers_everybody() {
    explore("stop | request | waits", 4, || {
        let (gate, app) = gate_with(1);
        gate.close_at(Reason::Handoff, Instant::now());
        let seat = join(&gate, 0).unwrap();
        let waits = thread::spawn(move || answer(seat).err());
        let comes = thread::spawn({
            let gate = gate.clone();
            move || request(&gate, 1).err()
        });
        gate.stop("no".to_owned());
        let stopped = Some(Refusal::Stopped { message: "no".to_owned() });
        assert_eq!([waits, comes].map(|other| other.join().unwrap()), [stopped.clone(), stopped]);
        assert_eq!(app.served(), 0);
    });
}
