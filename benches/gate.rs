//! What the gate costs: `cargo bench --bench gate`. Prints a table; the smallest of several rounds counts, since the
//! machine may be busy.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use lockgate::gate::{Gate, Held, Limits, Permit, Reason};
use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 15;
const ENTERS: u32 = 1_000_000;
const HELD: u32 = 10_000;

fn main() {
    println!("{:<58} {:>12}", "what", "time");
    let gate = Gate::new(Some(Arc::new(())), Limits::default());
    row("enter + leave by an entrance, open, one worker", best(|| enter_and_leave_by(&gate)));
    row("enter + leave, open, one worker", best(|| enter_and_leave(&gate, 0)));
    row("the same, a second worker at it too", with_another(&gate, 1));
    row("the same, both on one stripe", with_another(&gate, 0));
    row("hold: each of 10,000 that join", best(hold));
    row("hang up: each of 10,000 that leave the queue", best(hang_up));
    row("release: each of 10,000, 64 at once", best(release));
    row("close and open, nobody there", best(close_and_open));
}

fn row(what: &str, nanoseconds: f64) {
    println!("{what:<58} {nanoseconds:>9.1} ns");
}

/// Nanoseconds for each.
fn best(mut round: impl FnMut() -> f64) -> f64 {
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

fn enter_and_leave_by(gate: &Gate<()>) -> f64 {
    let mut entrance = gate.entrance(0);
    timed(ENTERS, || {
        for _ in 0..ENTERS {
            drop(black_box(black_box(&mut entrance).enter()));
        }
    })
}

fn enter_and_leave(gate: &Gate<()>, stripe: usize) -> f64 {
    timed(ENTERS, || {
        for _ in 0..ENTERS {
            drop(black_box(black_box(gate).enter(stripe)));
        }
    })
}

fn with_another(gate: &Gate<()>, stripe: usize) -> f64 {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                drop(black_box(gate.enter(stripe)));
            }
        });
        let each = best(|| enter_and_leave(gate, 0));
        over.store(true, Ordering::Relaxed);
        each
    })
}

fn hold() -> f64 {
    let gate = Gate::new(Some(Arc::new(())), Limits::default());
    gate.close(Reason::Handoff);
    let mut held = Vec::new();
    timed(HELD, || held = queue(&gate))
}

fn hang_up() -> f64 {
    let gate = Gate::new(Some(Arc::new(())), Limits::default());
    gate.close(Reason::Handoff);
    let held = queue(&gate);
    timed(HELD, || drop(held))
}

fn release() -> f64 {
    let gate = Gate::new(Some(Arc::new(())), Limits::default());
    gate.close(Reason::Handoff);
    let held = queue(&gate);
    timed(HELD, || {
        gate.open(Reason::Handoff);
        for held in held {
            drop(answer(held));
        }
    })
}

fn close_and_open() -> f64 {
    let gate = Gate::new(Some(Arc::new(())), Limits::default());
    let times = 1_000;
    timed(times, || {
        for _ in 0..times {
            gate.close(Reason::Handoff);
            gate.open(Reason::Handoff);
        }
    })
}

fn timed(times: u32, act: impl FnOnce()) -> f64 {
    let start = processor_time();
    act();
    (processor_time() - start).as_secs_f64() * 1e9 / f64::from(times)
}

/// What this thread has had of a processor: others on the machine do not count.
fn processor_time() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec.unsigned_abs(), spent.tv_nsec.unsigned_abs() as u32)
}

fn queue(gate: &Gate<()>) -> Vec<Held<()>> {
    let arrival = Instant::now();
    (0..HELD).map(|_| gate.join(0, arrival).expect("there is room for it")).collect()
}

/// The answer of one whose turn has come.
fn answer(held: Held<()>) -> Permit<()> {
    match pin!(held).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer.expect("it is let in"),
        Poll::Pending => unreachable!("the one before it has left, so it is its turn"),
    }
}
