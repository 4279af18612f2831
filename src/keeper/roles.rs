//! The roles of a keeper, what each of them holds, and the one loop that moves between them.
//!
//! One thread owns everything: the locks, the app, the ticket. It is told what happens through a queue, and acquiring
//! looks into the same queue between two of its steps.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::board::Board;
use super::control::{Conversation, Event};
use super::live::{Live, Stop};
use super::options::Options;
use super::prepare::Preparation;
use super::say::say;
use super::standby::Standby;
use crate::child;
use crate::lease::{Directory, Lease};
use crate::snapshot::{Databases, Store};
use crate::wire::{Holder, Saying, Verb};

/// How long the queue is waited for where nothing else is due.
const LONG: Duration = Duration::from_secs(3600);

/// The keeper's one thread.
pub(super) struct Keeper {
    pub(super) options: Options,
    pub(super) directory: Arc<Directory>,
    pub(super) databases: Databases,
    pub(super) store: Store,
    pub(super) me: Holder,
    pub(super) board: Arc<Board>,
    pub(super) events: Receiver<Event>,
    pub(super) preparation: Option<Preparation>,
    /// The epoch that this process held last, if nothing of its app was left.
    pub(super) ended: Option<u64>,
}

/// What the keeper is doing. Acquiring is a step between two of these, not a state to wait in.
pub(super) enum Role {
    /// Not live.
    Standby(Standby),
    /// Its app may open the database.
    Holder(Live),
    /// Its app was told to stop.
    Stopping(Live, Stop),
}

/// What comes after an event.
#[expect(clippy::large_enum_variant, reason = "one lives at a time, and is moved a few times in a deploy")]
pub(super) enum Next {
    /// Go on in this role.
    Go(Role),
    /// End with this code.
    End(u8),
}

impl Keeper {
    /// Keeps until there is nothing left to keep; gives back the exit code.
    pub(super) fn run(mut self, first: Next) -> u8 {
        let mut next = first;
        loop {
            let role = match next {
                Next::Go(role) => role,
                Next::End(code) => return code,
            };
            let due = match &role {
                Role::Standby(standby) => standby.due(),
                Role::Stopping(_, stop) => stop.due(),
                Role::Holder(_) => None,
            };
            let patience = due.map_or(LONG, |due| due.saturating_duration_since(Instant::now()));
            next = match self.events.recv_timeout(patience) {
                Ok(event) => self.handle(role, event),
                Err(RecvTimeoutError::Timeout) => Next::Go(role),
                Err(RecvTimeoutError::Disconnected) => Next::End(1),
            };
            if let Next::Go(role) = next {
                next = self.be_due(role);
            }
        }
    }

    /// What time brings.
    fn be_due(&mut self, role: Role) -> Next {
        let now = Instant::now();
        match role {
            Role::Standby(standby) if standby.due().is_some_and(|due| now >= due) => self.look_at_lease(standby, now),
            Role::Stopping(live, stop) if stop.due().is_some_and(|due| now >= due) => Next::Go(live.kill(stop)),
            role @ (Role::Standby(_) | Role::Holder(_) | Role::Stopping(_, _)) => Next::Go(role),
        }
    }

    fn handle(&mut self, role: Role, event: Event) -> Next {
        match event {
            Event::Line(from, verb) => self.order(role, &from, verb),
            Event::Ended(conversation) => {
                self.forget(&conversation);
                Next::Go(role)
            }
            Event::Signal(libc::SIGCHLD) => self.reap(role),
            Event::Signal(signal) => self.signalled(role, signal),
        }
    }

    fn order(&mut self, role: Role, from: &Arc<Conversation>, verb: Verb) -> Next {
        Next::Go(match (role, verb) {
            (role, Verb::Status {}) => role,
            (Role::Standby(standby), Verb::Take { budget_ms }) => return self.take(standby, from, budget_ms),
            (role @ Role::Standby(_), Verb::Prepare { handoff, service, .. }) => {
                self.prepare(from, &handoff, &service);
                role
            }
            (role @ Role::Standby(_), Verb::Yield { .. }) => {
                from.say(&Saying::Free { ms: 0 });
                role
            }
            (role @ Role::Standby(_), Verb::Show { .. } | Verb::Confirm { .. }) => {
                from.refuse("this keeper stands by, it does not hold the lease");
                role
            }
            (role @ (Role::Holder(_) | Role::Stopping(_, _)), Verb::Prepare { .. } | Verb::Take { .. }) => {
                from.refuse("this keeper holds the lease");
                role
            }
            (Role::Holder(live), Verb::Show { ticket }) => {
                match self.compare(&live.lease, &ticket) {
                    Ok(()) => from.say(&Saying::Ok {}),
                    Err(why) => from.refuse(why),
                }
                Role::Holder(live)
            }
            (Role::Holder(live), Verb::Yield { ticket }) => self.hand_over(live, from, &ticket),
            (Role::Holder(live), Verb::Confirm { epoch }) => Role::Holder(self.confirm(live, from, epoch)),
            (Role::Stopping(live, stop), Verb::Yield { ticket }) => self.hand_over_too(live, stop, from, &ticket),
            (role @ Role::Stopping(_, _), Verb::Show { .. } | Verb::Confirm { .. }) => {
                from.refuse("the app of this keeper was told to stop");
                role
            }
        })
    }

    /// Whether the ticket is that of a living standby at this very lease.
    pub(super) fn compare(&self, lease: &Lease, ticket: &str) -> Result<(), String> {
        lease.check().map_err(|error| error.to_string())?;
        match self.directory.ticket_is_good(ticket) {
            Ok(true) => Ok(()),
            Ok(false) => Err("this is not the ticket of a living standby at this lease".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A conversation has ended: whatever it prepared is off.
    pub(super) fn forget(&mut self, conversation: &Arc<Conversation>) {
        if self.preparation.as_ref().is_some_and(|preparation| preparation.is_of(conversation)) {
            self.preparation = None;
            self.board.show_prepared(false);
        }
    }

    fn signalled(&self, role: Role, signal: i32) -> Next {
        match role {
            Role::Standby(_) if self.is_stop(signal) => Next::End(0),
            role @ Role::Standby(_) => Next::Go(role),
            Role::Holder(live) if self.is_stop(signal) => {
                say("told to stop: stopping the app");
                let stop = self.stop(&live, Vec::new(), true);
                Next::Go(Role::Stopping(live, stop))
            }
            Role::Stopping(live, stop) if self.is_stop(signal) => Next::Go(Role::Stopping(live, stop.and_leave())),
            Role::Holder(live) => {
                live.pass_on(signal);
                Next::Go(Role::Holder(live))
            }
            Role::Stopping(live, stop) => {
                live.pass_on(signal);
                Next::Go(Role::Stopping(live, stop))
            }
        }
    }

    /// What tells a keeper to stop: what a person, docker or systemd sends, and the app's own stop signal.
    pub(super) fn is_stop(&self, signal: i32) -> bool {
        [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, self.options.stop_signal].contains(&signal)
    }

    fn reap(&mut self, role: Role) -> Next {
        let ended = child::reap();
        let exit_of = |live: &Live| ended.iter().find(|(pid, _)| *pid == live.pid()).map(|(_, exit)| *exit);
        match role {
            Role::Standby(standby) => Next::Go(Role::Standby(standby)),
            Role::Holder(live) => match exit_of(&live) {
                Some(exit) => self.app_exited(live, exit),
                None => Next::Go(Role::Holder(live)),
            },
            Role::Stopping(live, stop) => match exit_of(&live) {
                Some(exit) => self.app_stopped(live, stop, exit),
                None => Next::Go(Role::Stopping(live, stop)),
            },
        }
    }
}
