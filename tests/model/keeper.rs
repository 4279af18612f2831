//! The keepers and the lease directory, as the protocol's text has them.

use lockgate::wire;

use crate::world::{Answer, Content, Heir, Line, Link, Name, Report, Role, Step, Stop, Talk, World, Wrong};
use crate::{Rules, proxy};

impl World {
    /// What a keeper's status says now.
    pub(crate) fn report(&self, name: Name) -> Report {
        Report {
            role: match self.keeper(name).role {
                Role::Acquiring { step: Step::Lock, .. } | Role::Standby | Role::Gone | Role::Down => {
                    wire::Role::Standby
                }
                Role::Acquiring { .. } => wire::Role::Acquiring,
                Role::Holder | Role::Stopping(_) => wire::Role::Holder,
            },
            epoch: self.directory.epoch,
            confirmed: !self.directory.unconfirmed,
            holder: if self.lease_is_free() { None } else { self.directory.holder },
            last_confirmed: self.directory.last_confirmed,
            stopping: matches!(self.keeper(name).role, Role::Stopping(_)),
        }
    }

    fn answer(&mut self, name: Name, late: bool, answer: Answer) {
        if let (false, Some(talk)) = (late, &mut self.keeper_mut(name).talk) {
            talk.to_proxy.push(answer);
        }
    }

    /// Tells whom the conversation that took, or prepared, belongs to.
    fn tell(&mut self, name: Name, answer: Answer) {
        if let Some(talk) = &mut self.keeper_mut(name).talk
            && (talk.took || talk.prepared)
        {
            talk.to_proxy.push(answer);
        }
    }

    /// Reads the next line of the conversation, or of the one that is over.
    pub(crate) fn read_line(&mut self, rules: &Rules, name: Name, late: bool) {
        let keeper = self.keeper_mut(name);
        let Some(talk) = (if late { &mut keeper.late } else { &mut keeper.talk }) else { return };
        let line = talk.to_keeper.remove(0);
        match line {
            Line::Status => {
                let report = self.report(name);
                self.answer(name, late, Answer::Status(report));
            }
            Line::Prepare => self.prepare(rules, name, late),
            Line::Show(word) => {
                let answer = if self.ticket_is_good(word, name) { Answer::Ok } else { Answer::Refused };
                self.answer(name, late, answer);
            }
            Line::Yield(word) => self.obey_yield(rules, name, late, word),
            Line::Take => self.obey_take(name, late),
            Line::Confirm(epoch) => self.confirm(name, late, epoch),
        }
    }

    fn talk_mut(&mut self, name: Name, late: bool) -> &mut Talk {
        let keeper = self.keeper_mut(name);
        let talk = if late { &mut keeper.late } else { &mut keeper.talk };
        talk.as_mut().expect("a line was read from it")
    }

    fn prepare(&mut self, rules: &Rules, name: Name, late: bool) {
        let others = self.names().any(|other| other != name && self.keeper(other).ticket);
        let keeper = self.keeper(name);
        let another = if late { &keeper.talk } else { &keeper.late };
        let taken = others || another.as_ref().is_some_and(|talk| talk.prepared);
        let in_vain = rules.look_for_heirs && self.lease_is_free() && self.has_openers(rules, name, true);
        if keeper.role != Role::Standby || taken || in_vain {
            return self.answer(name, late, Answer::Refused);
        }
        let word = self.unused_word();
        self.directory.ticket = Some((word, name));
        self.keeper_mut(name).ticket = true;
        self.talk_mut(name, late).prepared = true;
        self.answer(name, late, Answer::Ready(word));
    }

    /// It is the one in the directory, and a living standby has it locked.
    fn ticket_is_good(&self, word: u8, asked: Name) -> bool {
        self.directory
            .ticket
            .is_some_and(|(laid, by)| laid == word && by != asked && self.keeper(by).runs() && self.keeper(by).ticket)
    }

    fn obey_yield(&mut self, rules: &Rules, name: Name, late: bool, word: u8) {
        let role = self.keeper(name).role;
        if matches!(role, Role::Standby | Role::Acquiring { step: Step::Lock, .. }) {
            return self.answer(name, late, Answer::Free);
        }
        let good = self.ticket_is_good(word, name);
        if rules.ticket && !good {
            return self.answer(name, late, Answer::Refused);
        }
        if !good {
            self.blame(Wrong::Abandoned);
        }
        match role {
            Role::Acquiring { .. } => {
                self.stand_by(name);
                self.answer(name, late, Answer::Free);
            }
            Role::Holder if !rules.wait_for_exit => {
                // The app lives on for a while, and has closed the descriptor it inherited.
                self.keeper_mut(name).heir = Heir::Unlocked;
                self.stand_by(name);
                self.answer(name, late, Answer::Free);
            }
            Role::Holder => {
                self.keeper_mut(name).role = Role::Stopping(Stop::Yield);
                self.talk_mut(name, late).yields = true;
            }
            Role::Stopping(_) => self.talk_mut(name, late).yields = true,
            Role::Gone | Role::Down | Role::Standby => {}
        }
    }

    fn obey_take(&mut self, name: Name, late: bool) {
        let keeper = self.keeper_mut(name);
        let talk = if late { &mut keeper.late } else { &mut keeper.talk };
        let Some(talk) = talk.as_mut().filter(|talk| talk.prepared && keeper.ticket && keeper.role == Role::Standby)
        else {
            return self.answer(name, late, Answer::Refused);
        };
        talk.took = true;
        keeper.role = Role::Acquiring { asked: true, step: Step::Lock };
    }

    fn confirm(&mut self, name: Name, late: bool, epoch: u8) {
        let mine = self.directory.holder == Some(name) && self.directory.epoch == epoch;
        if self.keeper(name).role != Role::Holder || !mine {
            return self.answer(name, late, Answer::Refused);
        }
        self.write_confirmed(name);
        self.answer(name, late, Answer::Confirmed(epoch));
    }

    /// The record says so: what this app wrote is no longer in doubt.
    fn write_confirmed(&mut self, name: Name) {
        self.directory.unconfirmed = false;
        self.directory.last_confirmed = Some(name);
        for file in self.directory.files.iter_mut().flatten() {
            file.unconfirmed &= !(1 << name);
        }
    }

    /// The conversation that ended for the proxy ends for the keeper too.
    pub(crate) fn read_end(&mut self, name: Name) {
        let keeper = self.keeper_mut(name);
        let Some(talk) = keeper.late.take() else { return };
        if talk.prepared {
            keeper.ticket = false;
        }
        if talk.took && matches!(keeper.role, Role::Acquiring { asked: true, step } if step != Step::Start) {
            self.stand_by(name);
        }
    }

    /// Frees the lease and the ticket, and is a standby.
    pub(crate) fn stand_by(&mut self, name: Name) {
        let keeper = self.keeper_mut(name);
        keeper.role = Role::Standby;
        keeper.ticket = false;
    }

    /// A standby may take the free lease by itself.
    pub(crate) fn may_take_unasked(&self, rules: &Rules, name: Name) -> bool {
        let keeper = self.keeper(name);
        let last = self.directory.last_confirmed;
        let is_last = last == Some(name);
        // The last confirmed one waits 2 s at most, all others 5 s.
        let outrun = rules.timely && last.is_some_and(|last| last != name && self.waits(last));
        keeper.role == Role::Standby
            && !keeper.frozen
            && self.lease_is_free()
            && (is_last || !keeper.prepared())
            && !outrun
    }

    fn waits(&self, name: Name) -> bool {
        let keeper = self.keeper(name);
        keeper.role == Role::Standby && !keeper.frozen
    }

    pub(crate) fn take_unasked(&mut self, name: Name) {
        if self.is_target_of_a_hold(name) && self.directory.last_confirmed != Some(name) {
            self.blame(Wrong::Unasked);
        }
        self.keeper_mut(name).role = Role::Acquiring { asked: false, step: Step::Lock };
    }

    /// The proxy leads a handoff to it, beyond preflight, and both ends still have the conversation.
    fn is_target_of_a_hold(&self, name: Name) -> bool {
        self.keeper(name).talk.as_ref().is_some_and(|talk| talk.prepared)
            && self.proxy.run.as_ref().is_some_and(|run| run.new == name && proxy::leads(&run.state))
    }

    /// The budget of a take is over while the lease is held; or one that took it by itself was not the first.
    pub(crate) fn budget_over(&mut self, name: Name) {
        if self.keeper(name).role == (Role::Acquiring { asked: true, step: Step::Lock }) {
            self.tell(name, Answer::Held);
        }
        self.stand_by(name);
    }

    /// The next step of acquiring.
    pub(crate) fn acquire(&mut self, rules: &Rules, name: Name) {
        let Role::Acquiring { asked, step } = self.keeper(name).role else { return };
        let next = match step {
            Step::Lock => return self.lock(rules, name, asked),
            Step::Mark => {
                self.directory.marker = true;
                Step::MoveAside(0)
            }
            Step::MoveAside(file) => {
                let at = usize::from(file);
                // In place already: the manifest names it and it no longer lies in the snapshot.
                if self.directory.snapshot[at].is_some() || rules.redo_restore {
                    self.directory.files[at] = None;
                }
                if file == 0 { Step::MoveAside(1) } else { Step::PutBack(0) }
            }
            Step::PutBack(file) => {
                let at = usize::from(file);
                if let Some(content) = self.directory.snapshot[at].take() {
                    self.directory.files[at] = Some(content);
                }
                if file == 0 { Step::PutBack(1) } else { Step::WriteRestored }
            }
            Step::WriteRestored => {
                self.directory.unconfirmed = false;
                Step::Unmark
            }
            Step::Unmark => {
                self.directory.marker = false;
                Step::Snapshot
            }
            Step::Snapshot => {
                self.take_snapshot(rules, name);
                Step::WriteEpoch
            }
            Step::WriteEpoch => {
                self.write_epoch(rules, name, asked);
                Step::Start
            }
            Step::Start => return self.start(name),
        };
        self.keeper_mut(name).role = Role::Acquiring { asked, step: next };
    }

    /// Locks the lease and `live`, asks the kernel, and sees what is half done.
    fn lock(&mut self, rules: &Rules, name: Name, asked: bool) {
        if self.has_openers(rules, name, asked) {
            if asked {
                self.tell(name, Answer::Held);
            }
            return self.stand_by(name);
        }
        let restore = self.directory.marker || (self.directory.unconfirmed && self.directory.kept);
        let step = match (restore, self.directory.unconfirmed) {
            (true, _) => Step::Mark,
            // Nothing to restore: the data stay as they are, and that is said.
            (false, true) => {
                self.forgive(rules);
                Step::WriteRestored
            }
            (false, false) => Step::Snapshot,
        };
        self.keeper_mut(name).role = Role::Acquiring { asked, step };
    }

    /// Somebody has the lock of heirs, or the database open, and that is not overlooked: whoever has it open could have
    /// had it beside the very app that comes back.
    fn has_openers(&self, rules: &Rules, name: Name, asked: bool) -> bool {
        let first = self.directory.holder.is_none();
        let comes_back = asked && !self.directory.unconfirmed && self.keeper(name).saw_end;
        let locked = self.keepers.iter().any(|keeper| keeper.heir == Heir::Locked);
        let open = self.keepers.iter().any(|keeper| keeper.heir == Heir::Unlocked) || (self.foreign && !first);
        locked || (open && rules.ask_kernel && !comes_back)
    }

    /// Where no snapshot is ever taken, or a foreign opener kept the first epoch without one, its writes stay. Anything
    /// else is a fault.
    fn forgive(&mut self, rules: &Rules) {
        if self.directory.last_confirmed.is_none() || !rules.snapshots {
            for file in self.directory.files.iter_mut().flatten() {
                file.unconfirmed = 0;
            }
        }
    }

    fn take_snapshot(&mut self, rules: &Rules, name: Name) {
        let last = if rules.snapshot_by_last_live { self.directory.holder } else { self.directory.last_confirmed };
        let can = rules.snapshots && !(self.foreign && self.directory.holder.is_none());
        self.directory.kept = false;
        if last != Some(name) && can {
            self.directory.snapshot = self.directory.files;
            self.directory.kept = true;
        }
    }

    fn write_epoch(&mut self, rules: &Rules, name: Name, asked: bool) {
        let confirmed = !asked || self.directory.last_confirmed == Some(name);
        self.keepers.iter_mut().for_each(|keeper| keeper.saw_end = false);
        self.directory.epoch = self.unused_epoch();
        self.directory.holder = Some(name);
        self.directory.unconfirmed = !confirmed;
        if !self.directory.kept || (confirmed && !rules.snapshot_by_last_live) {
            // Never looked at again.
            self.directory.snapshot = [None; 2];
            self.directory.kept = false;
        }
        if confirmed {
            self.directory.last_confirmed = Some(name);
        }
        self.keeper_mut(name).ticket = false;
        let epoch = self.directory.epoch;
        self.tell(name, Answer::Leased { epoch, confirmed });
    }

    /// The app's first act: it opens the database, migrates, and writes.
    fn start(&mut self, name: Name) {
        let files = self.directory.files;
        if files[0] != files[1] || files[0].is_none() {
            self.blame(Wrong::Torn);
        }
        let Content { acknowledged, unconfirmed } = files[0].unwrap_or_default();
        if acknowledged != self.acknowledged {
            self.blame(Wrong::Undone);
        }
        if unconfirmed & !(1 << name) != 0 {
            self.blame(Wrong::Dirty);
        }
        let mark = if self.directory.unconfirmed { 1 << name } else { 0 };
        for file in self.directory.files.iter_mut().flatten() {
            file.unconfirmed |= mark;
        }
        self.keeper_mut(name).role = Role::Holder;
        self.tell(name, Answer::Started);
    }

    /// An app that was told to stop has exited, its whole tree, and the locks prove it.
    pub(crate) fn app_stopped(&mut self, name: Name) {
        match self.keeper(name).role {
            Role::Stopping(Stop::Yield) => {
                self.stand_by(name);
                // It matters only to one that is confirmed, and while somebody may have the database open.
                self.keeper_mut(name).saw_end = true;
                if let Some(talk) = &mut self.keeper_mut(name).talk
                    && std::mem::take(&mut talk.yields)
                {
                    talk.to_proxy.push(Answer::Free);
                }
            }
            Role::Stopping(Stop::Docker) => self.container_goes(name),
            Role::Gone | Role::Down | Role::Standby | Role::Acquiring { .. } | Role::Holder => {}
        }
    }

    /// An app exits by itself: on probation its keeper stands by, else it exits with it.
    pub(crate) fn app_crashes(&mut self, name: Name) {
        if self.directory.unconfirmed && self.directory.holder == Some(name) {
            self.stand_by(name);
            self.tell(name, Answer::Exited);
        } else {
            self.keeper_dies(name, Role::Down);
        }
    }

    /// The process is gone; the proxy has yet to notice that its conversation is too.
    pub(crate) fn keeper_dies(&mut self, name: Name, role: Role) {
        self.keeper_mut(name).die(role);
        self.break_links(name);
    }

    pub(crate) fn break_links(&mut self, name: Name) {
        let Some(run) = &mut self.proxy.run else { return };
        let [old, new] = &mut run.links;
        for (link, of) in [(old, run.old), (new, Some(run.new))] {
            if of == Some(name) && *link == Link::Up {
                *link = Link::Broken;
            }
        }
    }

    /// `docker stop`.
    pub(crate) fn docker_stops(&mut self, name: Name) {
        let keeper = self.keeper_mut(name);
        match keeper.role {
            Role::Holder | Role::Stopping(_) if !keeper.frozen => keeper.role = Role::Stopping(Stop::Docker),
            Role::Gone | Role::Down | Role::Standby | Role::Acquiring { .. } | Role::Holder | Role::Stopping(_) => {
                self.container_goes(name)
            }
        }
    }

    /// Nothing of a stopped container is left, heirs included.
    fn container_goes(&mut self, name: Name) {
        self.keeper_mut(name).heir = Heir::None;
        self.keeper_dies(name, Role::Gone);
    }

    /// A request that the live app answered.
    pub(crate) fn acknowledge(&mut self) {
        self.acknowledged += 1;
        for file in self.directory.files.iter_mut().flatten() {
            file.acknowledged = self.acknowledged;
        }
    }

    /// Moves the conversation to the late ones: the keeper still reads what it was told.
    pub(crate) fn end_talk(&mut self, name: Name, lines_lost: bool) {
        let keeper = self.keeper_mut(name);
        let Some(mut talk) = keeper.talk.take() else { return };
        talk.to_proxy.clear();
        talk.yields = false;
        if lines_lost {
            talk.to_keeper.clear();
        }
        talk.to_keeper.retain(|line| *line != Line::Status);
        if let Some(mut older) = keeper.late.take() {
            older.to_keeper.append(&mut talk.to_keeper);
            talk = Talk { prepared: older.prepared || talk.prepared, took: older.took || talk.took, ..older };
        }
        if talk != Talk::default() {
            keeper.late = Some(talk);
        }
    }

    /// Drops what can make no difference any more, so that states that differ in it alone are one.
    pub(crate) fn tidy(&mut self, rules: &Rules) {
        let Self { keepers, directory, .. } = self;
        directory.ticket = directory.ticket.filter(|(_, by)| keepers[usize::from(*by)].ticket);
        let acquiring = keepers.iter().any(|keeper| matches!(keeper.role, Role::Acquiring { .. }));
        if !directory.unconfirmed && !directory.marker && !acquiring {
            directory.kept = false;
            directory.snapshot = [None; 2];
        }
        if self.proxy.failed != Some(directory.epoch) || !directory.unconfirmed {
            self.proxy.failed = None;
        }
        for (name, keeper) in (0..).zip(keepers) {
            let Some(late) = &mut keeper.late else { continue };
            let (prepared, ticket) = (late.prepared, keeper.ticket);
            late.to_keeper.retain(|line| match line {
                Line::Status | Line::Show(_) => false,
                Line::Prepare => true,
                Line::Take => prepared && ticket,
                Line::Yield(word) => !rules.ticket || directory.ticket.is_some_and(|(laid, _)| laid == *word),
                Line::Confirm(epoch) => {
                    directory.unconfirmed && directory.epoch == *epoch && directory.holder == Some(name)
                }
            });
            late.to_keeper.dedup();
            if *late == Talk::default() {
                keeper.late = None;
            }
        }
    }
}
