//! Holding the lease: the app lives, is confirmed, exits, is stopped.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::acquire::Acquired;
use super::control::Conversation;
use super::options::command_line;
use super::roles::{Keeper, Next, Role};
use super::say::say;
use super::standby::Standby;
use crate::child::{self, App, Exit, Heritage};
use crate::lease::{Lease, Record};
use crate::wire::{Role as Shown, Saying};

/// What an unconfirmed app is given to stop.
const UNCONFIRMED_GRACE: Duration = Duration::from_millis(200);
/// How long the lock of heirs is waited for, once no process is left that we could kill.
const HEIRS: Duration = Duration::from_secs(1);
/// Signals of the keeper's own.
const NOT_PASSED_ON: [i32; 6] =
    [libc::SIGCHLD, libc::SIGPIPE, libc::SIGIO, libc::SIGTTIN, libc::SIGTTOU, libc::SIGTSTP];

/// An app that lives, and its lease.
pub(super) struct Live {
    pub(super) lease: Lease,
    record: Record,
    app: App,
    /// Who asked for it, told if it exits on probation.
    taker: Option<Arc<Conversation>>,
}

/// An app that was told to stop.
pub(super) struct Stop {
    began: Instant,
    kill_at: Option<Instant>,
    /// Who is told once the lease is free.
    tell: Vec<Arc<Conversation>>,
    /// The keeper ends with its app.
    leave: bool,
}

impl Stop {
    pub(super) fn due(&self) -> Option<Instant> {
        self.kill_at
    }

    /// What is said to who asked for it.
    fn saying(&self) -> Saying {
        let left = self.kill_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        Saying::Stopping { grace_ms: u64::try_from(left.as_millis()).ok() }
    }

    pub(super) fn and_leave(self) -> Self {
        Self { leave: true, ..self }
    }
}

impl Live {
    pub(super) fn pid(&self) -> i32 {
        self.app.pid()
    }

    pub(super) fn pass_on(&self, signal: i32) {
        if !NOT_PASSED_ON.contains(&signal) {
            self.app.signal(signal);
        }
    }

    pub(super) fn kill(self, stop: Stop) -> Role {
        say("the app has not stopped in its grace: killing it");
        self.app.signal(libc::SIGKILL);
        Role::Stopping(self, Stop { kill_at: None, ..stop })
    }
}

impl Keeper {
    pub(super) fn start(&mut self, acquired: Acquired, taker: Option<&Arc<Conversation>>) -> Next {
        let Acquired { lease, heirs, record, mut sayings } = acquired;
        let heritage = Heritage { epoch: record.epoch, live: heirs.file().as_fd() };
        let started = child::start(&self.options.command, &heritage);
        drop(heirs); // from now on only heirs hold it
        let tell = |sayings: &[Saying]| taker.into_iter().for_each(|taker| taker.say_all(sayings));
        match started {
            Ok(app) => {
                self.board.show_holder(&record);
                self.board.note(String::new());
                sayings.push(Saying::Started {});
                tell(&sayings);
                let word = if record.unconfirmed { "unconfirmed" } else { "confirmed" };
                say(&format!("holds the lease, epoch {}, {word}", record.epoch));
                self.ship_snapshot(record.epoch, &sayings);
                if !record.unconfirmed {
                    self.prune();
                }
                Next::Go(Role::Holder(Live { lease, record, app, taker: taker.cloned() }))
            }
            Err(error) => {
                let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
                let text = format!("cannot execute {}: {error}", command_line(&self.options.command));
                say(&text);
                sayings.push(Saying::Exited { code, lines: vec![text] });
                if !record.unconfirmed {
                    tell(&sayings);
                    return Next::End(exit_code(Exit { code }));
                }
                let standby = self.free(lease);
                tell(&sayings);
                Next::Go(standby)
            }
        }
    }

    /// Gives the snapshot to the hook, if one was taken, while the app runs.
    fn ship_snapshot(&self, epoch: u64, sayings: &[Saying]) {
        let Some(hook) = &self.options.snapshot_hook else { return };
        let taken = |saying: &Saying| matches!(saying, Saying::Snapshot { how, .. } if how != "none");
        if !sayings.iter().any(taken) {
            return;
        }
        if let Err(error) = child::run_hook(hook, &self.store.snapshot(epoch), epoch) {
            say(&format!("cannot run the snapshot hook {hook}: {error}"));
        }
    }

    /// Frees the lease, and says so only then.
    fn free(&self, lease: Lease) -> Role {
        drop(lease);
        self.board.show_role(Shown::Standby);
        Role::Standby(Standby::new())
    }

    pub(super) fn confirm(&self, mut live: Live, from: &Conversation, epoch: u64) -> Live {
        if epoch != live.record.epoch {
            from.refuse(format!("the epoch is {}, not {epoch}", live.record.epoch));
            return live;
        }
        if live.record.unconfirmed {
            let boot = live.app.started().elapsed();
            let confirmed = Record {
                unconfirmed: false,
                last_confirmed: Some(self.me.id.clone()),
                boot_ms: u64::try_from(boot.as_millis()).ok(),
                ..live.record.clone()
            };
            if let Err(error) = live.lease.write(&confirmed) {
                say(&error.to_string());
                from.refuse(error.to_string());
                return live;
            }
            self.board.show_holder(&confirmed);
            live.record = confirmed;
            live.taker = None;
            from.say(&Saying::Confirmed { epoch });
            say(&format!("epoch {epoch} is confirmed"));
            // Nobody waits for this: else one bad block could make it unconfirmed again, and undo it.
            if let Err(error) = live.lease.repeat() {
                say(&error.to_string());
            }
            self.prune();
        } else {
            from.say(&Saying::Confirmed { epoch });
        }
        live
    }

    fn prune(&self) {
        if let Err(error) = self.store.prune() {
            say(&format!("cannot remove old snapshots: {error}"));
        }
    }

    /// The app exited by itself. On probation the lease is freed and the keeper stands by; after that the keeper goes
    /// with it, so that whoever restarts things acts.
    pub(super) fn app_exited(&mut self, live: Live, exit: Exit) -> Next {
        say(&format!("the app exited, code {}", exit.code));
        let lines = if live.record.unconfirmed { live.app.last_lines() } else { Vec::new() };
        self.ended = self.prove_that_nothing_is_left().then_some(live.record.epoch);
        if !live.record.unconfirmed {
            return Next::End(exit_code(exit));
        }
        let Live { lease, taker, .. } = live;
        let standby = self.free(lease);
        if let Some(taker) = taker {
            taker.say(&Saying::Exited { code: exit.code, lines });
        }
        Next::Go(standby)
    }

    // ---- stopping

    pub(super) fn stop(&self, live: &Live, tell: Vec<Arc<Conversation>>, leave: bool) -> Stop {
        live.app.signal(self.options.stop_signal);
        let began = Instant::now();
        let grace = self.options.grace;
        let grace = if live.record.unconfirmed { grace.min(UNCONFIRMED_GRACE) } else { grace };
        self.board.note("its app was told to stop".to_owned());
        self.board.show_stopping();
        Stop { began, kill_at: Some(began + grace), tell, leave }
    }

    /// The holder's `yield`.
    pub(super) fn hand_over(&self, live: Live, from: &Arc<Conversation>, ticket: &str) -> Role {
        if let Err(why) = self.compare(&live.lease, ticket) {
            from.refuse(why);
            return Role::Holder(live);
        }
        let stop = self.stop(&live, vec![Arc::clone(from)], false);
        say("yields: stopping the app");
        from.say(&stop.saying());
        Role::Stopping(live, stop)
    }

    /// `yield` once more, while the app stops already.
    pub(super) fn hand_over_too(&self, live: Live, mut stop: Stop, from: &Arc<Conversation>, ticket: &str) -> Role {
        match self.compare(&live.lease, ticket) {
            Ok(()) => {
                from.say(&stop.saying());
                if !stop.tell.contains(from) {
                    stop.tell.push(Arc::clone(from));
                }
            }
            Err(why) => from.refuse(why),
        }
        Role::Stopping(live, stop)
    }

    /// The app has stopped: proof, then the lease is free, then whoever waits is told.
    pub(super) fn app_stopped(&mut self, mut live: Live, stop: Stop, exit: Exit) -> Next {
        self.ended = self.prove_that_nothing_is_left().then_some(live.record.epoch);
        if stop.leave {
            let left = Record { left: true, ..live.record.clone() };
            if let Err(error) = live.lease.write(&left) {
                say(&error.to_string());
            }
        }
        let role = self.free(live.lease);
        let ms = u64::try_from(stop.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        for conversation in &stop.tell {
            conversation.say(&Saying::Free { ms });
        }
        say(&format!("the app stopped after {ms} ms, code {}; the lease is free", exit.code));
        if stop.leave { Next::End(0) } else { Next::Go(role) }
    }

    /// Kills what outlived the app, and sees that no heir of its lock lives. What cannot be killed is said: the next
    /// keeper asks the kernel and the lock of heirs again, before it starts anything.
    fn prove_that_nothing_is_left(&self) -> bool {
        let left = child::sweep();
        if !left.killed.is_empty() {
            say(&format!("processes outlived the app, killed: {}", left.killed.join(", ")));
        }
        if !left.alive.is_empty() {
            say(&format!("WARNING: processes that cannot be killed are still there: {}", left.alive.join(", ")));
        }
        let until = Instant::now() + HEIRS;
        loop {
            match self.directory.lock_heirs() {
                Ok(Some(_)) => return left.alive.is_empty(),
                Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(1)),
                Ok(None) => {
                    say("WARNING: somebody still holds the lock that the app inherited");
                    return false;
                }
                Err(error) => {
                    say(&error.to_string());
                    return false;
                }
            }
        }
    }
}

fn exit_code(exit: Exit) -> u8 {
    u8::try_from(exit.code).unwrap_or(u8::MAX)
}
