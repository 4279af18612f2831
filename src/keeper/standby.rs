//! Standing by: looking at the lease, being prepared, and acquiring.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::acquire::{Acquired, GaveUp, Interrupt, Place, Request};
use super::control::Conversation;
use super::hearing::{Hearing, YieldedTo};
use super::prepare;
use super::roles::{Keeper, Next, Role};
use super::rules::{self, Asked, Standing};
use super::say::say;
use crate::lease::{Reading, Record};
use crate::wire::{DIFFERENT_IDS, Holder, Role as Shown, Saying};

/// How often a keeper that stands by looks at the lease.
const LOOK: Duration = Duration::from_millis(50);
/// How often it says whom it waits for.
const MINUTE: Duration = Duration::from_secs(60);
/// After a failed acquisition nobody asked for, the next one.
const AGAIN: Duration = Duration::from_secs(1);
/// After one that a person must decide about.
const MUCH_LATER: Duration = Duration::from_secs(60);

/// Waiting for the lease.
pub(super) struct Standby {
    free_since: Option<Instant>,
    next_look: Instant,
    /// Nothing is taken unasked before that.
    not_before: Instant,
    next_word: Instant,
    /// Why the last attempt failed, while nobody else has the lease.
    fault: Option<String>,
}

impl Standby {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { free_since: None, next_look: now, not_before: now, next_word: now, fault: None }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        Some(self.next_look)
    }
}

impl Keeper {
    pub(super) fn look_at_lease(&mut self, mut standby: Standby, now: Instant) -> Next {
        standby.next_look = now + LOOK;
        let look = match self.directory.look() {
            Ok(look) => look,
            Err(error) => {
                self.note(&mut standby, now, error.to_string());
                return Next::Go(Role::Standby(standby));
            }
        };
        let waits = rules::unasked(&self.standing(false), &look.reading);
        let service = self.options.service.as_deref();
        self.note(&mut standby, now, whom_it_waits_for(&look.reading, look.free, waits, service, &self.me));
        if !look.free {
            standby.free_since = None;
            standby.fault = None;
            return Next::Go(Role::Standby(standby));
        }
        let free_since = *standby.free_since.get_or_insert(now);
        match waits {
            Some(waits) if now >= standby.not_before && now.duration_since(free_since) >= waits => {
                self.acquire_unasked(standby)
            }
            _ => Next::Go(Role::Standby(standby)),
        }
    }

    pub(super) fn standing(&self, starting: bool) -> Standing<'_> {
        Standing {
            me: &self.me.id,
            service: self.options.service.as_deref(),
            starting,
            prepared: self.preparation.is_some(),
            defer: self.options.defer,
        }
    }

    fn note(&self, standby: &mut Standby, now: Instant, text: String) {
        if now >= standby.next_word {
            say(&text);
            standby.next_word = now + MINUTE;
        }
        self.board.note(standby.fault.clone().unwrap_or(text));
    }

    /// Takes a lease that was seen free.
    pub(super) fn acquire_unasked(&mut self, mut standby: Standby) -> Next {
        let lock_until = Instant::now() + rules::LOOKERS;
        let result = self.acquire(Request { asked: Asked::Unasked, lock_until, until: None }, None);
        match result {
            Ok(acquired) => {
                // A holder's ticket would be good for its own yield, and keep others from being prepared.
                if let Some(preparation) = &mut self.preparation {
                    preparation.spend();
                }
                self.start(acquired, None)
            }
            Err((GaveUp::Interrupted(Interrupt::Stop), _)) => Next::End(0),
            Err((gave_up, yielded_to)) => {
                let now = Instant::now();
                let person = matches!(gave_up, GaveUp::BadSnapshot(_));
                // Held by who only looked it is free without a break; by another keeper, the next look sees.
                if !matches!(gave_up, GaveUp::Held(_)) {
                    standby.free_since = None;
                }
                if !matches!(gave_up, GaveUp::Held(_) | GaveUp::Interrupted(_)) {
                    let fault = gave_up.to_string();
                    self.board.note(fault.clone());
                    if standby.fault.as_ref() != Some(&fault) {
                        say(&format!("cannot take the lease: {fault}; trying again"));
                    }
                    standby.fault = Some(fault);
                    standby.not_before = now + if person { MUCH_LATER } else { AGAIN };
                }
                self.free_at_once(yielded_to);
                Next::Go(Role::Standby(standby))
            }
        }
    }

    fn free_at_once(&self, yielded_to: YieldedTo) {
        self.board.show_role(Shown::Standby);
        if let Some(conversation) = yielded_to {
            conversation.say_all(&[Saying::Stopping { grace_ms: Some(0) }, Saying::Free { ms: 0 }]);
        }
    }

    /// One conversation at a time: a forged line must not cost another its ticket.
    pub(super) fn prepare(&mut self, from: &Arc<Conversation>, handoff: &str, service: &str) {
        if self.preparation.as_ref().is_some_and(|before| !before.is_of(from) && !before.is_over()) {
            return from.refuse("this keeper is prepared by another conversation");
        }
        let facts = match prepare::facts(&self.place(None), service) {
            Ok(facts) => facts,
            Err(why) => return from.refuse(why),
        };
        let before = self.preparation.take().filter(|before| before.is_of(from));
        match prepare::lay(&self.directory, from, service, before) {
            Ok((preparation, ticket)) => {
                self.preparation = Some(preparation);
                say(&format!("prepared for the handoff {handoff} of {service}"));
                self.board.show_prepared(true);
                from.say(&Saying::Ready { ticket, facts });
            }
            Err(error) => {
                self.board.show_prepared(false);
                from.refuse(error.to_string());
            }
        }
    }

    pub(super) fn take(&mut self, standby: Standby, from: &Arc<Conversation>, budget_ms: u64) -> Next {
        let prepared = self.preparation.as_ref().is_some_and(|preparation| preparation.may_take(from));
        if !prepared {
            from.refuse("this keeper is not prepared by this conversation");
            return Next::Go(Role::Standby(standby));
        }
        let until = Instant::now() + Duration::from_millis(budget_ms);
        let request = Request { asked: Asked::ByProxy, lock_until: until, until: Some(until) };
        let result = self.acquire(request, Some(from));
        // Whatever came of it, the ticket has served.
        if let Some(preparation) = &mut self.preparation {
            preparation.spend();
        }
        match result {
            Ok(acquired) => self.start(acquired, Some(from)),
            Err((GaveUp::Interrupted(Interrupt::Stop), _)) => Next::End(0),
            Err((gave_up, yielded_to)) => {
                say(&format!("did not take the lease: {gave_up}"));
                from.say(&Saying::Held { by: gave_up.to_string() });
                self.free_at_once(yielded_to);
                Next::Go(Role::Standby(standby))
            }
        }
    }

    fn place(&self, prepared_for: Option<&str>) -> Place<'_> {
        // A keeper that was not told its service is of the one that it is prepared for.
        Place {
            directory: &self.directory,
            databases: &self.databases,
            store: &self.store,
            options: &self.options,
            me: &self.me,
            ended: self.ended,
            service: self.options.service.clone().or_else(|| prepared_for.map(str::to_owned)),
        }
    }

    /// Acquires, reading orders and signals between two steps.
    fn acquire(
        &mut self,
        request: Request,
        taker: Option<&Arc<Conversation>>,
    ) -> Result<Acquired, (GaveUp, YieldedTo)> {
        let service =
            self.preparation.as_ref().filter(|_| taker.is_some()).map(|preparation| preparation.service.clone());
        let mut hearing = Hearing::of(self, taker);
        let result = self.place(service.as_deref()).acquire(request, &mut |stage| hearing.interrupted(stage));
        let Hearing { yielded_to, ended, .. } = hearing;
        for conversation in ended {
            self.forget(&conversation);
        }
        result.map_err(|gave_up| (gave_up, yielded_to))
    }
}

fn whom_it_waits_for(
    reading: &Reading,
    free: bool,
    waits: Option<Duration>,
    service: Option<&str>,
    me: &Holder,
) -> String {
    let record = match reading {
        Reading::Good(record) => record.as_ref().clone(),
        Reading::Blank => Record::blank(),
        Reading::Newer(version) => return format!("stands by: {}", rules::newer(*version)),
        Reading::Corrupt => return "stands by: the lease's record is corrupt in both slots".to_owned(),
    };
    if let Some(theirs) = rules::foreign_service(service, &record) {
        return format!("stands by: this lease belongs to the service {theirs}");
    }
    match (free, waits, record.holder.filter(|holder| free || holder != me)) {
        (false, _, Some(holder)) if holder.id == me.id => format!(
            "STANDS BY, AND NO DEPLOY WILL SUCCEED: the lease is held by a keeper with this one's own id, {} (control {}): \
             {DIFFERENT_IDS}",
            holder.id, holder.control
        ),
        (false, _, Some(holder)) => {
            format!("stands by: waits for {} (epoch {}, control {})", holder.id, record.epoch, holder.control)
        }
        (false, _, None) => "stands by: waits for a keeper that has written no record yet".to_owned(),
        (true, Some(waits), _) => format!("stands by: the lease is free, takes it after {waits:?}"),
        (true, None, _) => "stands by: the lease is free, waits for the proxy to say take".to_owned(),
    }
}
