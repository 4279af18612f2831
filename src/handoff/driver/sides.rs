//! Who is live before and who shall be after: their revisions, their keepers, and every keeper met.

use std::sync::Arc;

use crate::handoff::machine::Side;
use crate::service::Revision;
use crate::spec::{Target, TargetOptions};
use crate::state::KnownKeeper;
use crate::wire::{Holder, Saying};

/// One side of a handoff.
#[derive(Clone, Default)]
pub struct Party {
    /// Its targets; none where nobody is known to have been live.
    pub revision: Option<Arc<Revision>>,
    /// Where its keeper listens, or would; `host:port`.
    pub keeper: Option<String>,
    /// Its keeper's id, once it has greeted.
    pub id: Option<String>,
    /// The lease that its keeper names, once it has greeted.
    pub lease: Option<String>,
    /// Why its last conversation ended, or never began.
    pub lost: Option<String>,
}

/// Both sides, and what is remembered of keepers.
#[derive(Clone, Default)]
pub struct Sides {
    /// Live before.
    pub old: Party,
    /// To be live after.
    pub new: Party,
    /// Every keeper ever met, newest last.
    pub known: Vec<KnownKeeper>,
    /// What keepers require on every line, if they do.
    pub token: Option<String>,
    /// Which side is active; none before the flip.
    pub active: Option<Side>,
}

impl Sides {
    /// One of them.
    #[must_use]
    pub fn party(&self, side: Side) -> &Party {
        match side {
            Side::Old => &self.old,
            Side::New => &self.new,
        }
    }

    fn party_mut(&mut self, side: Side) -> &mut Party {
        match side {
            Side::Old => &mut self.old,
            Side::New => &mut self.new,
        }
    }

    /// Where to reach a side's keeper. A holder whom another keeper names becomes that side.
    pub(super) fn locate(&mut self, side: Side, at: Option<Holder>) -> Option<String> {
        self.party_mut(side).lost = None;
        let Some(holder) = at else { return self.party(side).keeper.clone() };
        let met = self.known.iter().rfind(|known| known.id == holder.id).cloned();
        let (control, target) = match met {
            Some(met) => (met.control, Target::parse(&met.target).ok()),
            None => (holder.control.clone(), self.guess_target(&holder.control)),
        };
        let party = self.party_mut(side);
        if party.keeper.as_ref() != Some(&control) {
            party.id = None;
        }
        party.keeper = Some(control.clone());
        match target {
            Some(target) => self.point(side, target),
            None => self.party_mut(side).revision = None,
        }
        Some(control)
    }

    /// A keeper that was never met: its app is thought to listen at its control's host, at the new side's port. On one
    /// host the new app itself does, so that nothing is known.
    fn guess_target(&self, control: &str) -> Option<Target> {
        self.new.revision.as_ref()?.targets.first()?.address().at_host_of(control)
    }

    /// Makes a side's revision one of this target, if it is not.
    fn point(&mut self, side: Side, target: Target) {
        let options = self.target_options();
        let revision = &mut self.party_mut(side).revision;
        let points_there = |revision: &Arc<Revision>| revision.targets.iter().any(|one| *one.address() == target);
        if !revision.as_ref().is_some_and(points_there) {
            *revision = Some(Revision::new(&[target], options, None));
        }
    }

    fn target_options(&self) -> TargetOptions {
        let revision = self.old.revision.as_ref().or(self.new.revision.as_ref());
        revision.map(|revision| revision.options.clone()).unwrap_or_default()
    }

    /// Remembers a keeper that greets.
    pub(super) fn said(&mut self, side: Side, saying: &Saying) {
        let party = self.party_mut(side);
        if let Saying::Refused { why } = saying {
            party.lost = Some(why.clone());
        }
        let Saying::Status(status) = saying else { return };
        party.id = Some(status.id.clone());
        party.lease = Some(status.lease.clone()).filter(|lease| !lease.is_empty());
        let (Some(control), Some(revision)) = (party.keeper.clone(), party.revision.as_ref()) else { return };
        let target = revision.targets.first().map(|target| target.address().to_string()).unwrap_or_default();
        crate::state::meet(&mut self.known, KnownKeeper { id: status.id.clone(), control, target });
    }

    pub(super) fn lost(&mut self, side: Side, why: String) {
        // What it said before it hung up tells more.
        self.party_mut(side).lost.get_or_insert(why);
    }

    pub(super) fn activate(&mut self, side: Side) -> Option<Arc<Revision>> {
        self.active = Some(side);
        self.party(side).revision.clone()
    }
}
