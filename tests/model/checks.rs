//! What must hold, and the tests.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;

use lockgate::handoff::machine::State;
use stateright::{Checker as _, HasDiscoveries, Model as _, Property};

use crate::graph::{Edges, Print};
use crate::world::{Node, Role, Stop, World, Wrong};
use crate::{Model, Rules};

pub(crate) fn properties() -> Vec<Property<Model>> {
    vec![
        Property::<Model>::always("never two live", |_, node| never_two_live(&node.world)),
        Property::<Model>::always("the gate is open only on a confirmed holder", |_, node| {
            open_means_confirmed(&node.world)
        }),
        Property::<Model>::always("nothing acknowledged is undone", |_, node| !is(node, Wrong::Undone)),
        Property::<Model>::always("an app starts on data without others' unconfirmed writes", |_, node| {
            !is(node, Wrong::Dirty)
        }),
        Property::<Model>::always("an app starts on a whole set of files", |_, node| !is(node, Wrong::Torn)),
        Property::<Model>::always("a yield is obeyed only for a living successor", |_, node| {
            !is(node, Wrong::Abandoned)
        }),
        Property::<Model>::always("a target takes nothing unasked within its handoff", |_, node| {
            !is(node, Wrong::Unasked)
        }),
        Property::<Model>::always(
            "a target that cannot be confirmed closes no gate on an app without a keeper",
            |_, node| !is(node, Wrong::Closed),
        ),
        // With two faults it may take the lease by itself while the line is on its way.
        Property::<Model>::always("a rollback stops no app of a confirmed epoch", |model, node| {
            model.faults > 1 || !stops_confirmed(&node.world)
        }),
    ]
}

fn is(node: &Node, wrong: Wrong) -> bool {
    node.world.wrong & wrong as u8 != 0
}

fn never_two_live(world: &World) -> bool {
    world.names().map(|name| world.live(name)).sum::<u8>() <= 1
}

fn open_means_confirmed(world: &World) -> bool {
    let Some(active) = world.proxy.active else { return true };
    !world.gate_open()
        || world.live(active) == 0
        || (world.directory.holder == Some(active) && !world.directory.unconfirmed)
}

fn stops_confirmed(world: &World) -> bool {
    let Some(run) = &world.proxy.run else { return false };
    matches!(run.state, State::Rollback(_))
        && world.keeper(run.new).role == Role::Stopping(Stop::Yield)
        && world.directory.holder == Some(run.new)
        && !world.directory.unconfirmed
}

const THREADS: usize = 2;

/// Explores everything; says how much; fails by the first property that does not hold, with the way there.
fn explore(rules: Rules, keepers: u8, faults: u8, deploys: u8) {
    explore_model(&|| Model::new(rules, keepers, faults, deploys));
}

fn explore_model(new: &dyn Fn() -> Model) {
    let model = Model { edges: Some(Edges::default()), ..new() };
    let Model { keepers, faults, deploys, .. } = model;
    let began = std::time::Instant::now();
    let checker = model.checker().threads(THREADS).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!(
        "{keepers} keepers, {faults} faults, {deploys} deploys: {} states, {} steps, {:?}",
        checker.unique_state_count(),
        checker.state_count(),
        began.elapsed()
    );
    if let Some(name) = checker.discoveries().into_keys().next() {
        let model = new();
        let property = model.property(name);
        show(&model, &way_to(&model, |node| !(property.condition)(&model, node)));
        panic!("{name}");
    }
    let (count, hopeless) = checker.model().edges.as_ref().unwrap().hopeless();
    println!("    backward over {count} states: {} without a way back, {:?}", hopeless.len(), began.elapsed());
    if !hopeless.is_empty() {
        let model = new();
        let steps = way_to(&model, |node| hopeless.contains(&node.print));
        show(&model, &steps);
        panic!("{} states have no way back to a served, confirmed app", hopeless.len());
    }
}

/// The shortest way to a state, by a search of its own.
fn way_to(model: &Model, wanted: impl Fn(&Node) -> bool) -> Vec<crate::steps::Step> {
    let mut came: HashMap<u64, Option<(u64, crate::steps::Step)>, BuildHasherDefault<Print>> = HashMap::default();
    let mut todo: VecDeque<Node> = model.init_states().into();
    for node in &todo {
        came.insert(node.print, None);
    }
    while let Some(node) = todo.pop_front() {
        if wanted(&node) {
            let mut steps = Vec::new();
            let mut at = node.print;
            while let Some(Some((from, step))) = came.get(&at) {
                steps.push(*step);
                at = *from;
            }
            steps.reverse();
            return steps;
        }
        for (step, next) in model.next_steps(&node) {
            came.entry(next.print).or_insert_with(|| {
                todo.push_back(next.clone());
                Some((node.print, step))
            });
        }
    }
    Vec::new()
}

/// Prints a way, step by step.
fn show(model: &Model, steps: &[crate::steps::Step]) {
    for init in model.init_states() {
        let mut node = init;
        let mut lines = Vec::new();
        let fits = steps.iter().all(|step| {
            let mut possible = Vec::new();
            model.actions(&node, &mut possible);
            let fits = possible.contains(step);
            if fits && let Some(next) = model.next_state(&node, *step) {
                node = next;
                lines.push(format!("{step:?}\n        {}", node.world.line()));
            }
            fits
        });
        if fits {
            return println!("{}", lines.join("\n"));
        }
    }
}

/// A way to break a property with a rule switched off.
fn breaks(rules: Rules, keepers: u8, faults: u8, deploys: u8, property: &'static str) {
    let checker = Model::new(rules, keepers, faults, deploys)
        .checker()
        .threads(THREADS)
        .finish_when(HasDiscoveries::AnyOf(std::iter::once(property).collect()))
        .spawn_bfs()
        .join();
    let found = checker.discovery(property);
    println!("{} states until \"{property}\" broke: {}", checker.unique_state_count(), found.is_some());
    assert!(found.is_some(), "{property} holds though a step is switched off");
}

/// Keepers, faults, deploys: what a run explores. `LOCKGATE_MODEL=2,3,1` explores that and nothing else.
fn spaces(short: &[(u8, u8, u8)], full: &[(u8, u8, u8)]) -> Vec<(u8, u8, u8)> {
    let Ok(wish) = std::env::var("LOCKGATE_MODEL") else { return short.to_vec() };
    if wish == "full" {
        return [short, full].concat();
    }
    let numbers: Vec<u8> = wish.split(',').map(|number| number.parse().expect("LOCKGATE_MODEL=2,3,1")).collect();
    let &[keepers, faults, deploys] = numbers.as_slice() else {
        panic!("LOCKGATE_MODEL={wish}: three numbers or full")
    };
    if short.iter().all(|space| space.0 == keepers) { vec![(keepers, faults, deploys)] } else { Vec::new() }
}

#[test]
fn two_keepers_keep_every_promise() {
    for (keepers, faults, deploys) in spaces(&[(2, 1, 2), (2, 2, 1)], &[(2, 2, 2), (2, 3, 1)]) {
        explore(Rules::TEXT, keepers, faults, deploys);
    }
}

#[test]
fn three_keepers_keep_every_promise() {
    for (keepers, faults, deploys) in spaces(&[(3, 1, 1)], &[(3, 1, 2), (3, 2, 1)]) {
        explore(Rules::TEXT, keepers, faults, deploys);
    }
}

#[test]
fn an_app_that_lost_its_keeper_is_never_closed_off_by_a_handoff() {
    for (keepers, faults, deploys) in spaces(&[(2, 1, 1)], &[(2, 1, 2)]) {
        explore_model(&|| Model { heirs_stay: true, ..Model::new(Rules::TEXT, keepers, faults, deploys) });
    }
}

#[test]
fn without_snapshots_what_a_failed_app_wrote_stays_and_every_other_promise_holds() {
    explore(Rules { snapshots: false, ..Rules::TEXT }, 2, 1, 1);
}

#[test]
fn no_promise_rests_on_who_waits_longer_for_a_free_lease() {
    explore(Rules { timely: false, ..Rules::TEXT }, 2, 1, 1);
}

#[test]
fn without_the_wait_for_exit_and_the_question_to_the_kernel_two_are_live() {
    breaks(Rules { wait_for_exit: false, ask_kernel: false, ..Rules::TEXT }, 2, 0, 1, "never two live");
}

#[test]
fn without_confirm_before_flip_the_gate_is_open_on_an_unconfirmed_app() {
    let property = "the gate is open only on a confirmed holder";
    breaks(Rules { confirm_first: false, ..Rules::TEXT }, 2, 0, 1, property);
}

#[test]
fn without_the_ticket_an_app_yields_to_nobody() {
    let property = "a yield is obeyed only for a living successor";
    breaks(Rules { ticket: false, ..Rules::TEXT }, 2, 1, 1, property);
}

#[test]
fn with_a_gate_that_trusts_a_health_probe_alone_it_is_open_on_an_unconfirmed_app() {
    let property = "the gate is open only on a confirmed holder";
    breaks(Rules { keepers_word: false, ..Rules::TEXT }, 2, 1, 1, property);
}

#[test]
fn with_a_restore_that_is_simply_redone_an_app_starts_on_half_a_set() {
    let property = "an app starts on a whole set of files";
    breaks(Rules { redo_restore: true, ..Rules::TEXT }, 2, 1, 1, property);
}

#[test]
fn with_a_snapshot_only_where_another_was_live_last_an_app_starts_on_unconfirmed_writes() {
    let property = "an app starts on data without others' unconfirmed writes";
    breaks(Rules { snapshot_by_last_live: true, ..Rules::TEXT }, 2, 0, 3, property);
}
