//! Any sequence of what may happen to a gate, compared after each step with a model that is slow and plain.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::gate::core::{Seat, Until};
use crate::gate::{Gate, Limits, Permit, Reason, Refusal};

const LIMITS: Limits = Limits { max_held: 4, max_hold: Duration::from_millis(20), release_concurrency: 2 };

/// What may happen; a number picks one of the requests.
#[derive(Clone, Debug)]
enum Event {
    Arrive,
    Leave(usize),
    Return(usize),
    Park(usize),
    Ready(usize),
    EndTurn(usize),
    Close,
    Open,
    Pause(u64),
    Stop,
    Resume,
    Flip,
    Later(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => Just(Event::Arrive),
        4 => (0usize..8).prop_map(Event::Leave),
        2 => (0usize..8).prop_map(Event::Return),
        2 => (0usize..8).prop_map(Event::Park),
        2 => (0usize..8).prop_map(Event::Ready),
        1 => (0usize..8).prop_map(Event::EndTurn),
        2 => Just(Event::Close),
        3 => Just(Event::Open),
        1 => (0u64..30).prop_map(Event::Pause),
        1 => Just(Event::Stop),
        3 => Just(Event::Resume),
        1 => Just(Event::Flip),
        3 => (0u64..10).prop_map(Event::Later),
    ]
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Waits { parked: bool, max_pause: Option<u64> },
    Admitted { turn: bool, opening: u64, revision: u32 },
    Refused(Refusal),
}

#[derive(Clone, Debug)]
struct Request {
    /// When, whether it had to wait then, and which it was: the order of release.
    order: (u64, bool, usize),
    /// It has had a place in the queue, and keeps it.
    has_place: bool,
    state: State,
}

/// Requests in a list, and loops over all of them.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "reasons are a set")]
struct Model {
    now: u64,
    arrivals: usize,
    handoff: bool,
    pause: Option<u64>,
    stopped: bool,
    revision: u32,
    opening: u64,
    active: bool,
    admits_all: bool,
    requests: Vec<Request>,
}

impl Model {
    fn waiting(&self) -> usize {
        self.requests.iter().filter(|request| matches!(request.state, State::Waits { .. })).count()
    }

    fn admitted(&self) -> usize {
        self.requests.iter().filter(|request| matches!(request.state, State::Admitted { .. })).count()
    }

    fn turns(&self) -> usize {
        let has = |request: &&Request| matches!(request.state, State::Admitted { turn: true, opening, .. } if opening == self.opening);
        self.requests.iter().filter(has).count()
    }

    fn arrive(&mut self) -> Request {
        self.arrivals += 1;
        let waits = !(self.active && self.admits_all);
        let state = if waits {
            self.waits(self.now, false)
        } else {
            State::Admitted { turn: false, opening: self.opening, revision: self.revision }
        };
        Request { order: (self.now, waits, self.arrivals), has_place: waits, state }
    }

    fn waits(&self, arrival: u64, parked: bool) -> State {
        match () {
            () if self.stopped => State::Refused(Refusal::Stopped { message: String::new() }),
            () if self.waiting() >= LIMITS.max_held => State::Refused(Refusal::Full),
            () if arrival + self.pause.unwrap_or(20) <= self.now => State::Refused(self.too_long()),
            () => State::Waits { parked, max_pause: self.pause },
        }
    }

    fn too_long(&self) -> Refusal {
        if self.pause.is_some() { Refusal::PausedTooLong } else { Refusal::HeldTooLong }
    }

    fn set_operator(&mut self, pause: Option<u64>, stopped: bool) {
        (self.pause, self.stopped) = (pause, stopped);
        for request in &mut self.requests {
            match &mut request.state {
                State::Waits { .. } if stopped => {
                    request.state = State::Refused(Refusal::Stopped { message: String::new() });
                }
                State::Waits { max_pause, .. } => *max_pause = pause.map(|new| max_pause.unwrap_or(new)),
                State::Admitted { .. } | State::Refused(_) => {}
            }
        }
    }

    fn expire(&mut self) {
        let refusal = self.too_long();
        for request in &mut self.requests {
            if let State::Waits { max_pause, .. } = request.state
                && request.order.0 + max_pause.unwrap_or(20) <= self.now
            {
                request.state = State::Refused(refusal.clone());
            }
        }
    }

    fn settle(&mut self) {
        if self.handoff || self.pause.is_some() || self.stopped {
            self.active = false;
            return;
        }
        if !self.active {
            self.opening += 1;
            (self.active, self.admits_all) = (true, false);
        }
        loop {
            let turn = !self.admits_all;
            let free = !turn || self.turns() < LIMITS.release_concurrency;
            let waiting = |request: &&mut Request| matches!(request.state, State::Waits { parked: false, .. });
            let admitted = State::Admitted { turn, opening: self.opening, revision: self.revision };
            match self.requests.iter_mut().filter(waiting).min_by_key(|request| request.order) {
                Some(first) if free => first.state = admitted,
                Some(_) => return,
                None => break,
            }
        }
        self.admits_all = true;
    }
}

/// One request at the real gate.
enum Real {
    Waits(Seat<u32>),
    Admitted(Permit<u32>),
    Refused(Refusal),
}

impl Real {
    fn of(outcome: Result<Seat<u32>, Refusal>) -> Self {
        outcome.map_or_else(Self::Refused, Self::Waits)
    }

    fn look(self, now: Instant) -> Self {
        let Self::Waits(mut seat) = self else { return self };
        match seat.poll(&Context::from_waker(Waker::noop()), now) {
            ControlFlow::Break(Ok(permit)) => Self::Admitted(permit),
            ControlFlow::Break(Err(refusal)) => Self::Refused(refusal),
            ControlFlow::Continue(_) => Self::Waits(seat),
        }
    }
}

struct Both {
    gate: Arc<Gate<u32>>,
    start: Instant,
    real: Vec<Real>,
    model: Model,
}

impl Both {
    fn new() -> Self {
        let mut model = Model::default();
        model.settle();
        Self { gate: Gate::with_stripes(Some(Arc::new(0)), LIMITS, 1), start: Instant::now(), real: Vec::new(), model }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.model.now)
    }

    fn step(&mut self, event: &Event) {
        match *event {
            Event::Arrive => self.arrive(),
            Event::Leave(pick) => self.leave(pick),
            Event::Return(pick) => self.give_back(pick, Until::Turn),
            Event::Park(pick) => self.give_back(pick, Until::Ready),
            Event::Ready(pick) => self.ready(pick),
            Event::EndTurn(pick) => self.end_turn(pick),
            Event::Close => (self.gate.close(Reason::Handoff), self.model.handoff = true).0,
            Event::Open => (self.gate.open(Reason::Handoff), self.model.handoff = false).0,
            Event::Pause(bound) => {
                self.gate.pause(Duration::from_millis(bound));
                self.model.set_operator(Some(bound), false);
            }
            Event::Stop => (self.gate.stop(String::new()), self.model.set_operator(None, true)).0,
            Event::Resume => (self.gate.resume(), self.model.set_operator(None, false)).0,
            Event::Flip => {
                self.model.revision += 1;
                self.model.active = false;
                drop(self.gate.flip(Arc::new(self.model.revision)));
            }
            Event::Later(by) => {
                self.model.now += by;
                self.gate.expire(self.now());
                self.model.expire();
            }
        }
        self.model.settle();
    }

    fn arrive(&mut self) {
        let real = match self.gate.enter(0) {
            Some(permit) => Real::Admitted(permit),
            None => Real::of(self.gate.join_at(0, self.now(), self.now())),
        };
        self.real.push(real);
        let request = self.model.arrive();
        self.model.requests.push(request);
    }

    fn leave(&mut self, pick: usize) {
        if pick < self.real.len() {
            drop(self.real.remove(pick));
            self.model.requests.remove(pick);
        }
    }

    fn give_back(&mut self, pick: usize, until: Until) {
        if !matches!(self.real.get(pick), Some(Real::Admitted(_))) {
            return;
        }
        let mut request = self.model.requests.remove(pick);
        request.state = self.model.waits(request.order.0, until == Until::Ready);
        let arrival = self.start + Duration::from_millis(request.order.0);
        // It stays in the lists, but as the last: the order of release is by arrival.
        if let Real::Admitted(permit) = self.real.remove(pick) {
            self.real.push(Real::Waits(permit.take_seat(arrival, until, self.now())));
        }
        if !std::mem::replace(&mut request.has_place, true) {
            self.model.arrivals += 1;
            request.order.2 = self.model.arrivals;
        }
        self.model.requests.push(request);
    }

    fn ready(&mut self, pick: usize) {
        if let (Some(Real::Waits(seat)), Some(request)) = (self.real.get(pick), self.model.requests.get_mut(pick))
            && let State::Waits { parked, .. } = &mut request.state
        {
            seat.ready();
            *parked = false;
        }
    }

    fn end_turn(&mut self, pick: usize) {
        if let (Some(Real::Admitted(permit)), Some(request)) =
            (self.real.get_mut(pick), self.model.requests.get_mut(pick))
            && let State::Admitted { turn, .. } = &mut request.state
        {
            permit.end_turn();
            *turn = false;
        }
    }

    /// Whether both tell the same of every request.
    fn compare(&mut self) -> Result<(), TestCaseError> {
        let now = self.now();
        self.real = std::mem::take(&mut self.real).into_iter().map(|real| real.look(now)).collect();
        for (real, request) in self.real.iter().zip(&self.model.requests) {
            match (real, &request.state) {
                (Real::Waits(_), State::Waits { .. }) => {}
                (Real::Refused(why), State::Refused(expected)) => prop_assert_eq!(why, expected),
                (Real::Admitted(permit), State::Admitted { opening, revision, .. }) => {
                    prop_assert_eq!((permit.opening(), **permit.revision()), (*opening, *revision));
                }
                (Real::Waits(_), expected) => prop_assert!(false, "waits, not {expected:?}"),
                (Real::Admitted(_), expected) => prop_assert!(false, "admitted, not {expected:?}"),
                (Real::Refused(why), expected) => prop_assert!(false, "{why:?}, not {expected:?}"),
            }
        }
        let view = self.gate.view_at(now);
        prop_assert_eq!((view.held, view.in_flight), (self.model.waiting(), self.model.admitted()));
        prop_assert_eq!(self.gate.enter(0).is_some(), self.model.active && self.model.admits_all);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn does_what_a_plain_model_does(events in proptest::collection::vec(event(), 0..80)) {
        let mut both = Both::new();
        for event in &events {
            both.step(event);
            both.compare()?;
        }
    }
}
