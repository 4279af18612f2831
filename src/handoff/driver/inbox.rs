//! Everything that a handoff waits for, told in one order.

use std::collections::HashMap;
use std::future::Future;

use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver, channel};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Duration, Instant, sleep_until};

use crate::handoff::machine::{Event, Side, Timer};

/// Letters that lie unread; whoever has one more to tell waits.
const UNREAD: usize = 64;
/// What came before a timer was due is told before it, but a timer waits no longer than this: who talks without end
/// keeps no gate closed.
const OVERDUE: Duration = Duration::from_millis(100);

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
    sender: Sender<Letter>,
    letters: Receiver<Letter>,
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
    sender: Sender<Letter>,
}

impl Pen {
    pub(super) async fn tell(&self, event: Event) {
        let _ = self.sender.send(Letter { from: self.from, event, why: None }).await;
    }

    /// With a reason, for people only.
    pub(super) async fn tell_why(&self, event: Event, why: String) {
        let _ = self.sender.send(Letter { from: self.from, event, why: Some(why) }).await;
    }
}

impl Inbox {
    pub(super) fn new(signals: UnboundedReceiver<Event>) -> Self {
        let (sender, letters) = channel(UNREAD);
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
            tokio::select! {
                biased;
                Some(event) = self.signals.recv() => return (event, None),
                timer = first(due, OVERDUE) => return self.expired(timer),
                Some(letter) = self.letters.recv() => {
                    let (source, number) = letter.from;
                    if self.running.get(&source).is_some_and(|(current, _)| *current == number) {
                        return (letter.event, letter.why);
                    }
                }
                timer = first(due, Duration::ZERO) => return self.expired(timer),
            }
        }
    }

    fn expired(&mut self, timer: Timer) -> (Event, Option<String>) {
        self.timers.remove(&timer);
        (Event::Expired(timer), None)
    }
}

/// Waits until this timer, if there is one, is due, and so much longer.
async fn first(due: Option<(Timer, Instant)>, longer: Duration) -> Timer {
    match due {
        Some((timer, at)) => {
            sleep_until(at + longer).await;
            timer
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    #[tokio::test]
    async fn who_talks_without_end_keeps_no_timer_and_no_signal_from_being_told() {
        let (operator, signals) = unbounded_channel();
        let mut inbox = Inbox::new(signals);
        inbox.watch(Source::Probe, |pen| async move {
            loop {
                pen.tell(Event::Settled).await;
            }
        });
        assert_eq!(inbox.next().await.0, Event::Settled);
        operator.send(Event::Abort).unwrap();
        assert_eq!(inbox.next().await.0, Event::Abort);
        inbox.wake(Timer::Deadline, Duration::ZERO);
        while inbox.next().await.0 != Event::Expired(Timer::Deadline) {}
        assert!(inbox.letters.len() <= UNREAD);
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_before_a_timer_was_due_is_told_before_it() {
        let mut inbox = Inbox::new(unbounded_channel().1);
        inbox.wake(Timer::Deadline, Duration::ZERO);
        inbox.watch(Source::Probe, |pen| async move { pen.tell(Event::Settled).await });
        tokio::task::yield_now().await;
        assert_eq!(inbox.next().await.0, Event::Settled);
        assert_eq!(inbox.next().await.0, Event::Expired(Timer::Deadline));
    }
}
