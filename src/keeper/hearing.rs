//! What a keeper hears while it acquires, between two of its steps.

use std::sync::Arc;

use super::acquire::{Interrupt, Stage};
use super::control::{Conversation, Event};
use super::prepare::Preparation;
use super::roles::Keeper;
use crate::child;
use crate::wire::{Role as Shown, Saying, Verb};

/// Who is to be told that the lease is free, since it yielded between two steps.
pub(super) type YieldedTo = Option<Arc<Conversation>>;

/// What was heard so far.
pub(super) struct Hearing<'a> {
    keeper: &'a Keeper,
    /// Who asked for the lease, if a proxy did.
    taker: Option<&'a Arc<Conversation>>,
    pub(super) yielded_to: YieldedTo,
    /// Conversations that have ended meanwhile.
    pub(super) ended: Vec<Arc<Conversation>>,
}

impl<'a> Hearing<'a> {
    pub(super) fn of(keeper: &'a Keeper, taker: Option<&'a Arc<Conversation>>) -> Self {
        Self { keeper, taker, yielded_to: None, ended: Vec::new() }
    }

    /// Hears all that has come; whether it ends the acquisition.
    pub(super) fn interrupted(&mut self, stage: Stage) -> Option<Interrupt> {
        if stage == Stage::Locked {
            self.keeper.board.show_role(Shown::Acquiring);
        }
        while let Ok(event) = self.keeper.events.try_recv() {
            if let Some(interrupt) = self.hear(stage, event) {
                return Some(interrupt);
            }
        }
        self.taker.is_some_and(|taker| taker.is_gone()).then_some(Interrupt::Gone)
    }

    fn hear(&mut self, stage: Stage, event: Event) -> Option<Interrupt> {
        match event {
            Event::Signal(libc::SIGCHLD) => drop(child::reap()),
            Event::Signal(signal) if self.keeper.is_stop(signal) => return Some(Interrupt::Stop),
            Event::Signal(_) => {}
            Event::Ended(conversation) => self.ended.push(conversation),
            Event::Line(from, verb) => return self.order(stage, from, verb),
        }
        None
    }

    fn order(&mut self, stage: Stage, from: Arc<Conversation>, verb: Verb) -> Option<Interrupt> {
        match (verb, stage) {
            (Verb::Status {}, _) => {}
            // Not live, and nothing that anybody else could have.
            (Verb::Yield { .. }, Stage::Waiting) => from.say(&Saying::Free { ms: 0 }),
            (Verb::Yield { ticket }, Stage::Locked) if self.is_anothers(&ticket) => {
                self.yielded_to = Some(from);
                return Some(Interrupt::Yield);
            }
            (Verb::Yield { .. }, Stage::Locked) => {
                from.refuse("this is not the ticket of a living standby at this lease");
            }
            (Verb::Prepare { .. } | Verb::Show { .. } | Verb::Take { .. } | Verb::Confirm { .. }, _) => {
                from.refuse("this keeper is acquiring the lease");
            }
        }
        None
    }

    /// Its own ticket proves no successor.
    fn is_anothers(&self, ticket: &str) -> bool {
        let own = self.keeper.preparation.as_ref().and_then(Preparation::ticket);
        own != Some(ticket) && self.keeper.directory.ticket_is_good(ticket).is_ok_and(|good| good)
    }
}
