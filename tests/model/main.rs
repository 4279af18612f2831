//! The handoff under a model checker: the very machine of the proxy, with keepers, lease directory, Docker, Kamal and
//! connections that break, over the whole reachable space with bounded faults.
//!
//! `LOCKGATE_MODEL=full` explores more faults and deploys (minutes, gigabytes).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::type_complexity, reason = "a test may panic")]

mod checks;
mod graph;
mod keeper;
mod proxy;
mod steps;
mod world;

use lockgate::handoff::machine::Plan;
use stateright::Property;

use graph::Edges;
use steps::Step;
use world::{Directory, Kamal, Keeper, Name, Node, Proxy, Role, World};

/// What the protocol demands; each can be switched off to see what it is for.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a step that can be switched off")]
pub(crate) struct Rules {
    /// A keeper that yields waits until its app has exited.
    pub(crate) wait_for_exit: bool,
    /// Who acquires asks the kernel whether anybody has the database open.
    pub(crate) ask_kernel: bool,
    /// The gate opens after the confirmation.
    pub(crate) confirm_first: bool,
    /// A yield needs the ticket of a living successor.
    pub(crate) ticket: bool,
    /// Following listens to keepers, not only to a health probe.
    pub(crate) keepers_word: bool,
    /// A restore that was interrupted is begun anew, without a look at what is in place already.
    pub(crate) redo_restore: bool,
    /// A snapshot is taken only where another was live last, instead of: was confirmed last.
    pub(crate) snapshot_by_last_live: bool,
    /// A standby is not prepared for a free lease that it could not have.
    pub(crate) look_for_heirs: bool,
    /// Snapshots are taken; else what a failed app wrote stays.
    pub(crate) snapshots: bool,
    /// Who waits 2 s comes before who waits 5 s.
    pub(crate) timely: bool,
}

impl Rules {
    /// As the text has them.
    pub(crate) const TEXT: Self = Self {
        wait_for_exit: true,
        ask_kernel: true,
        confirm_first: true,
        ticket: true,
        keepers_word: true,
        redo_restore: false,
        snapshot_by_last_live: false,
        look_for_heirs: true,
        snapshots: true,
        timely: true,
    };
}

/// What is explored.
pub(crate) struct Model {
    pub(crate) rules: Rules,
    pub(crate) keepers: u8,
    pub(crate) faults: u8,
    pub(crate) deploys: u8,
    pub(crate) plans: Vec<Plan>,
    /// A keeper that is killed outright is the served app's, and the app lives on until its container ends.
    pub(crate) heirs_stay: bool,
    /// Where the graph is written down, for the backward pass.
    pub(crate) edges: Option<Edges>,
}

impl Model {
    pub(crate) fn new(rules: Rules, keepers: u8, faults: u8, deploys: u8) -> Self {
        Self { rules, keepers, faults, deploys, plans: proxy::plans(), heirs_stay: false, edges: None }
    }

    /// The first keeper is live and confirmed, the gate open on it, the others' containers do not run yet.
    fn running(&self) -> World {
        let mut world = self.nothing();
        world.keeper_mut(0).role = Role::Holder;
        world.directory.epoch = 1;
        world.directory.holder = Some(0);
        world.directory.last_confirmed = Some(0);
        world.proxy.active = Some(0);
        world.proxy.known = 1;
        world.proxy.saved = (Some(0), 1);
        world
    }

    /// An app without a keeper is served, and has the database open. A proxy died while the first one with a keeper was
    /// deployed: that one is live beside it, not confirmed.
    fn unkept(&self) -> World {
        let mut world = self.nothing();
        world.keeper_mut(0).role = Role::Holder;
        world.directory.epoch = 1;
        world.directory.holder = Some(0);
        world.directory.unconfirmed = true;
        world.directory.files = [Some(world::Content { acknowledged: 0, unconfirmed: 1 }); 2];
        world.proxy.unkept = true;
        world.proxy.known = 1;
        world.proxy.saved = (None, 1);
        world.foreign = true;
        world
    }

    /// Nothing was ever deployed.
    fn nothing(&self) -> World {
        World {
            keepers: vec![Keeper::GONE; usize::from(self.keepers)],
            directory: Directory {
                epoch: 0,
                holder: None,
                unconfirmed: false,
                last_confirmed: None,
                kept: false,
                marker: false,
                snapshot: [None; 2],
                ticket: None,
                files: [Some(world::Content::default()); 2],
            },
            proxy: Proxy {
                up: true,
                stopping: false,
                active: None,
                unkept: false,
                handoff: false,
                unavailable: false,
                known: 0,
                failed: None,
                run: None,
                saved: (None, 0),
            },
            kamal: Kamal::Idle,
            deploys: self.deploys,
            foreign: false,
            faults: self.faults,
            acknowledged: 0,
            wrong: 0,
        }
    }
}

impl stateright::Model for Model {
    type State = Node;
    type Action = Step;

    fn init_states(&self) -> Vec<Node> {
        vec![Node::new(self.running()), Node::new(self.nothing()), Node::new(self.unkept())]
    }

    fn actions(&self, state: &Node, actions: &mut Vec<Step>) {
        if state.world.wrong == 0 {
            self.steps(&state.world, actions);
        }
    }

    fn next_state(&self, last: &Node, step: Step) -> Option<Node> {
        let mut world = World::clone(&last.world);
        self.take(&mut world, step);
        world.tidy(&self.rules);
        let next = Node::new(world);
        if next == *last {
            return None;
        }
        if let Some(edges) = &self.edges {
            edges.add(last, &next, step.is_fault());
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        checks::properties()
    }
}

/// A name of an app, for people.
pub(crate) fn letter(name: Name) -> char {
    char::from(b'A' + name)
}
