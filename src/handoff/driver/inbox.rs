//! Everything that a handoff waits for, told in one order.

use std::collections::HashMap;
use std::future::Future;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Duration, Instant, sleep_until};

use crate::handoff::machine::{Event, Side, Timer};

/// What may be waited for at once, one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Voice(Side),
    Settle,
    Drain,
    Probe,
    Release,
}

/// Where events come from: tasks (one for each [`Source`]), timers, and signals from outside.
///
/// An event of a task that was replaced or dismissed is never told.
pub(super) struct Inbox {
    tasks: JoinSet<()>,
    running: HashMap<Source, (u64, AbortHandle)>,
    started: u64,
    sender: UnboundedSender<Letter>,
    letters: UnboundedReceiver<Letter>,
    timers: HashMap<Timer, Instant>,
    signals: UnboundedReceiver<Event>,
}

struct Letter {
    from: (Source, u64),
    event: Event,
    why: Option<String>,
}

/// A task's way to tell.
#[derive(Clone)]
pub(super) struct Pen {
    from: (Source, u64),
    sender: UnboundedSender<Letter>,
}

impl Pen {
    pub(super) fn tell(&self, event: Event) {
        let _ = self.sender.send(Letter { from: self.from, event, why: None });
    }

    /// With a reason, for people only.
    pub(super) fn tell_why(&self, event: Event, why: String) {
        let _ = self.sender.send(Letter { from: self.from, event, why: Some(why) });
    }
}

impl Inbox {
    pub(super) fn new(signals: UnboundedReceiver<Event>) -> Self {
        let (sender, letters) = unbounded_channel();
        let (tasks, running, timers) = (JoinSet::new(), HashMap::new(), HashMap::new());
        Self { tasks, running, started: 0, sender, letters, timers, signals }
    }

    /// Starts the task of a source, in place of the one before.
    pub(super) fn watch<F>(&mut self, source: Source, task: impl FnOnce(Pen) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.dismiss(source);
        self.started += 1;
        let pen = Pen { from: (source, self.started), sender: self.sender.clone() };
        let handle = self.tasks.spawn(task(pen));
        self.running.insert(source, (self.started, handle));
    }

    /// Ends the task of a source.
    pub(super) fn dismiss(&mut self, source: Source) {
        if let Some((_, task)) = self.running.remove(&source) {
            task.abort();
        }
        while self.tasks.try_join_next().is_some() {}
    }

    /// Sets a timer, anew if it is set.
    pub(super) fn wake(&mut self, timer: Timer, after: Duration) {
        self.timers.insert(timer, Instant::now() + after);
    }

    pub(super) fn clear_timers(&mut self) {
        self.timers.clear();
    }

    /// The next event, and why it happened where that is known. Cancel-safe.
    pub(super) async fn next(&mut self) -> (Event, Option<String>) {
        loop {
            let due = self.timers.iter().min_by_key(|(_, at)| **at).map(|(timer, at)| (*timer, *at));
            let (timer, at) = due.unzip();
            tokio::select! {
                biased;
                Some(letter) = self.letters.recv() => {
                    let (source, number) = letter.from;
                    if self.running.get(&source).is_some_and(|(current, _)| *current == number) {
                        return (letter.event, letter.why);
                    }
                }
                Some(event) = self.signals.recv() => return (event, None),
                () = sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => {
                    let Some(timer) = timer else { continue };
                    self.timers.remove(&timer);
                    return (Event::Expired(timer), None);
                }
            }
        }
    }
}
