//! Everything the model knows: keepers, lease directory, Docker, Kamal, connections and the proxy, as one value.
//!
//! Time is abstracted away: whatever waits for a clock may happen as soon as it is enabled, or never.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use lockgate::handoff::machine::{Side, State};

/// A keeper, its container and its app, by number.
pub(crate) type Name = u8;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) keepers: Vec<Keeper>,
    pub(crate) directory: Directory,
    pub(crate) proxy: Proxy,
    pub(crate) kamal: Kamal,
    /// Deploys that Kamal may still begin.
    pub(crate) deploys: u8,
    /// Somebody else has the database open (a console).
    pub(crate) foreign: bool,
    /// Faults that may still happen.
    pub(crate) faults: u8,
    /// Writes acknowledged to clients.
    pub(crate) acknowledged: u8,
    /// What has gone wrong, once and for all: bits of [`Wrong`].
    pub(crate) wrong: u8,
}

/// What a step can do wrong by itself, beside what a state shows.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Wrong {
    /// An app started without a write that had been acknowledged.
    Undone = 1,
    /// An app started on data with another's unconfirmed writes.
    Dirty = 2,
    /// An app started on half a set of files.
    Torn = 4,
    /// A keeper obeyed a yield though no living successor stands by at its lease.
    Abandoned = 8,
    /// The target of a handoff took the lease by itself within it.
    Unasked = 16,
    /// A gate that was open on an app without a keeper was closed since a target could not be confirmed.
    Closed = 32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Keeper {
    pub(crate) role: Role,
    /// `docker pause`: nothing runs, locks and connections stay.
    pub(crate) frozen: bool,
    /// It holds the lock of its ticket.
    pub(crate) ticket: bool,
    /// This very process saw the end of the app of the last epoch, which was its own.
    pub(crate) saw_end: bool,
    /// What a keeper killed outright left behind.
    pub(crate) heir: Heir,
    /// The conversation with the proxy.
    pub(crate) talk: Option<Talk>,
    /// One that has ended for the proxy; the keeper has yet to read its last lines and its end.
    pub(crate) late: Option<Talk>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// The container is stopped, and stays so until a deploy starts it.
    Gone,
    /// It died; Docker starts it again.
    Down,
    Standby,
    Acquiring {
        asked: bool,
        step: Step,
    },
    Holder,
    /// The app was told to stop and has not exited.
    Stopping(Stop),
}

/// What an acquiring keeper does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Lock the lease; it may be held.
    Lock,
    Mark,
    MoveAside(u8),
    PutBack(u8),
    WriteRestored,
    Unmark,
    Snapshot,
    WriteEpoch,
    Start,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stop {
    Yield,
    Docker,
}

/// An app whose keeper is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Heir {
    None,
    /// It still has the lock it inherited.
    Locked,
    /// It closed that descriptor, but has the database open.
    Unlocked,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Talk {
    pub(crate) to_keeper: Vec<Line>,
    pub(crate) to_proxy: Vec<Answer>,
    /// `prepare` was said and answered on it.
    pub(crate) prepared: bool,
    /// `take` was obeyed on it.
    pub(crate) took: bool,
    /// `yield` was obeyed on it and `free` is owed.
    pub(crate) yields: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Line {
    /// Also what a connect amounts to: the keeper greets.
    Status,
    Prepare,
    Show(u8),
    Yield(u8),
    Take,
    Confirm(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    Status(Report),
    Ready(u8),
    Refused,
    Ok,
    Free,
    Leased { epoch: u8, confirmed: bool },
    Started,
    Exited,
    Held,
    Confirmed(u8),
}

/// A status, when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Report {
    pub(crate) role: lockgate::wire::Role,
    pub(crate) epoch: u8,
    pub(crate) confirmed: bool,
    pub(crate) holder: Option<Name>,
    pub(crate) last_confirmed: Option<Name>,
    pub(crate) stopping: bool,
}

/// The directory beside the database, and the database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Directory {
    /// A name, not a count: the least that is not in use anywhere, so that the space stays finite.
    pub(crate) epoch: u8,
    pub(crate) holder: Option<Name>,
    pub(crate) unconfirmed: bool,
    pub(crate) last_confirmed: Option<Name>,
    /// There is a snapshot of before the last epoch.
    pub(crate) kept: bool,
    /// The marker of a restore under way.
    pub(crate) marker: bool,
    pub(crate) snapshot: [File; 2],
    /// The word in the ticket file, and whose it is.
    pub(crate) ticket: Option<(u8, Name)>,
    /// The set: two files, that belong together.
    pub(crate) files: [File; 2],
}

pub(crate) type File = Option<Content>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Content {
    /// How many acknowledged writes are in it.
    pub(crate) acknowledged: u8,
    /// Whose unconfirmed writes are in it.
    pub(crate) unconfirmed: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Proxy {
    pub(crate) up: bool,
    /// Told to stop: it ends with the handoff that runs.
    pub(crate) stopping: bool,
    /// The active revision.
    pub(crate) active: Option<Name>,
    /// It is an app without a keeper. Handoffs to others overlap with it: what it writes is not looked at.
    pub(crate) unkept: bool,
    /// Why the gate is closed.
    pub(crate) handoff: bool,
    pub(crate) unavailable: bool,
    /// The keepers it ever met.
    pub(crate) known: u8,
    /// The epoch whose adoption failed.
    pub(crate) failed: Option<u8>,
    pub(crate) run: Option<Run>,
    /// On disk: the active revision, the keepers met.
    pub(crate) saved: (Option<Name>, u8),
}

/// A handoff under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Run {
    /// Which of the model's plans.
    pub(crate) plan: u8,
    pub(crate) state: State,
    pub(crate) new: Name,
    pub(crate) old: Option<Name>,
    pub(crate) links: [Link; 2],
    pub(crate) probing: Option<Side>,
    /// Bits of timers that are set.
    pub(crate) timers: u8,
    /// Bits of what is being watched for.
    pub(crate) watches: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Link {
    None,
    Up,
    /// It broke, and the proxy has yet to notice.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kamal {
    Idle,
    /// The container runs, the deploy command waits for its turn.
    Asking(Name),
    /// The handoff runs.
    Deploying(Name),
    /// Or so Kamal thinks: it stops the new container.
    Failed(Name),
    /// It stops the old ones.
    Succeeded(Name),
}

impl World {
    pub(crate) fn keeper(&self, name: Name) -> &Keeper {
        &self.keepers[usize::from(name)]
    }

    pub(crate) fn keeper_mut(&mut self, name: Name) -> &mut Keeper {
        &mut self.keepers[usize::from(name)]
    }

    pub(crate) fn names(&self) -> std::ops::Range<Name> {
        0..u8::try_from(self.keepers.len()).unwrap()
    }

    /// Apps of this container that may have the database open.
    pub(crate) fn live(&self, name: Name) -> u8 {
        let keeper = self.keeper(name);
        u8::from(matches!(keeper.role, Role::Holder | Role::Stopping(_))) + u8::from(keeper.heir != Heir::None)
    }

    /// Nobody has the lock of the lease.
    pub(crate) fn lease_is_free(&self) -> bool {
        !self.keepers.iter().any(Keeper::has_lease)
    }

    pub(crate) fn gate_open(&self) -> bool {
        self.proxy.up && !self.proxy.handoff && !self.proxy.unavailable
    }

    /// What all must come back to: an app is live and confirmed, and the gate open on it.
    pub(crate) fn serving(&self) -> bool {
        let Some(active) = self.proxy.active else { return self.gate_open() && self.proxy.unkept };
        let keeper = self.keeper(active);
        self.gate_open()
            && (keeper.role == Role::Holder || keeper.heir != Heir::None)
            && !keeper.frozen
            && self.directory.holder == Some(active)
            && !self.directory.unconfirmed
    }

    /// Whether a container is left that nobody is about to stop.
    pub(crate) fn has_hope(&self) -> bool {
        self.names().any(|name| {
            let stopped = match self.kamal {
                Kamal::Idle | Kamal::Asking(_) | Kamal::Deploying(_) => false,
                Kamal::Failed(new) => name == new,
                Kamal::Succeeded(new) => name != new,
            };
            !stopped && !matches!(self.keeper(name).role, Role::Gone | Role::Stopping(Stop::Docker))
        })
    }

    pub(crate) fn blame(&mut self, wrong: Wrong) {
        self.wrong |= wrong as u8;
    }
}

impl Keeper {
    pub(crate) const GONE: Self = Self {
        role: Role::Gone,
        frozen: false,
        ticket: false,
        saw_end: false,
        heir: Heir::None,
        talk: None,
        late: None,
    };

    /// Its process exists.
    pub(crate) fn runs(&self) -> bool {
        !matches!(self.role, Role::Gone | Role::Down)
    }

    /// Its process exists and does something.
    pub(crate) fn acts(&self) -> bool {
        self.runs() && !self.frozen
    }

    pub(crate) fn has_lease(&self) -> bool {
        match self.role {
            Role::Gone | Role::Down | Role::Standby | Role::Acquiring { step: Step::Lock, .. } => false,
            Role::Acquiring { .. } | Role::Holder | Role::Stopping(_) => true,
        }
    }

    pub(crate) fn prepared(&self) -> bool {
        [&self.talk, &self.late].into_iter().flatten().any(|talk| talk.prepared)
    }

    /// Its container is no more, and all that was in it.
    pub(crate) fn die(&mut self, role: Role) {
        *self = Self { role, heir: self.heir, ..Self::GONE };
    }
}

/// A state as the checker keeps it: hashed once, cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) world: Arc<World>,
    pub(crate) print: u64,
}

impl Node {
    pub(crate) fn new(world: World) -> Self {
        let mut hasher = Fold(0x9e37_79b9_7f4a_7c15);
        world.hash(&mut hasher);
        Self { print: hasher.finish(), world: Arc::new(world) }
    }
}

impl Hash for Node {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.print);
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.print == other.print
    }
}

/// Multiplies and folds 64 bits at a time.
struct Fold(u64);

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * 0xa076_1d64_78bd_642f_u128;
        #[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
        let halves = (product as u64, (product >> 64) as u64);
        self.0 = (halves.0 ^ halves.1).rotate_left(23).wrapping_add(0x8ebc_6af0_9c88_c6e3);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word.cast_unsigned() as u64);
    }

    fn finish(&self) -> u64 {
        let product = u128::from(self.0) * 0x5899_65cc_7537_4cc3_u128;
        #[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
        let folded = (product as u64) ^ ((product >> 64) as u64);
        folded | 1
    }
}

impl World {
    /// The state on one line, for a way that is shown.
    pub(crate) fn line(&self) -> String {
        use std::fmt::Write as _;
        let mut line = String::new();
        for name in self.names() {
            let keeper = self.keeper(name);
            let _ = write!(line, "{}: {:?}", crate::letter(name), keeper.role);
            if keeper.frozen {
                line.push_str(" frozen");
            }
            if keeper.ticket {
                line.push_str(" ticket");
            }
            if keeper.heir != Heir::None {
                let _ = write!(line, " heir {:?}", keeper.heir);
            }
            if let Some(talk) = &keeper.talk {
                let _ = write!(
                    line,
                    " talk{}{:?}{:?}",
                    if talk.prepared { "*" } else { "" },
                    talk.to_keeper,
                    talk.to_proxy
                );
            }
            if let Some(talk) = &keeper.late {
                let _ = write!(line, " late{}{:?}", if talk.prepared { "*" } else { "" }, talk.to_keeper);
            }
            line.push_str("; ");
        }
        let Directory { epoch, holder, unconfirmed, last_confirmed, files, .. } = &self.directory;
        let _ = write!(
            line,
            "\n        epoch {epoch} of {holder:?} unconfirmed {unconfirmed} last {last_confirmed:?} files {}",
            files
                .map(|file| file
                    .map_or("-".into(), |content| format!("{}/{}", content.acknowledged, content.unconfirmed)))
                .join(" ")
        );
        let Proxy { up, active, handoff, unavailable, known, run, failed, .. } = &self.proxy;
        let _ = write!(
            line,
            "\n        proxy up {up} on {active:?} handoff {handoff} unavailable {unavailable} known {known} failed {failed:?} {:?}",
            self.kamal
        );
        if let Some(run) = run {
            let _ = write!(line, "\n        run to {} from {:?}: {:?}", run.new, run.old, run.state);
        }
        line
    }
}
