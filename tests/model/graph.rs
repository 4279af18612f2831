//! The graph that was explored, and the backward pass over it: from every state, without further faults, can the
//! service come back?

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Mutex;

use crate::world::Node;

/// Where steps are written down as they are explored.
#[derive(Default)]
pub(crate) struct Edges(Mutex<Vec<Edge>>);

#[derive(Clone, Copy)]
struct Edge {
    from: u64,
    to: u64,
    fault: bool,
    /// The goal holds in `to`; or Kamal has stopped, or is about to stop, every container.
    end: bool,
}

impl Edges {
    pub(crate) fn add(&self, from: &Node, to: &Node, fault: bool) {
        let end = to.world.serving() || !to.world.has_hope();
        self.0.lock().unwrap().push(Edge { from: from.print, to: to.print, fault, end });
    }

    /// How many states of the graph there are, and the prints of some of those from which there is no way back.
    pub(crate) fn hopeless(&self) -> (usize, Vec<u64>) {
        let edges = self.0.lock().unwrap();
        let mut numbers: HashMap<u64, u32, BuildHasherDefault<Print>> = HashMap::default();
        let mut number = |print: u64| {
            let next = u32::try_from(numbers.len()).unwrap();
            *numbers.entry(print).or_insert(next)
        };
        let ends: Vec<(u32, u32)> = edges.iter().map(|edge| (number(edge.from), number(edge.to))).collect();
        let count = numbers.len();
        let mut good = vec![false; count];
        for (edge, (_, to)) in edges.iter().zip(&ends) {
            good[*to as usize] = edge.end;
        }
        let into = Into::new(count, edges.iter().zip(&ends).filter(|(edge, _)| !edge.fault).map(|(_, ends)| *ends));
        let mut todo: Vec<u32> = (0..count).filter(|at| good[*at]).map(|at| u32::try_from(at).unwrap()).collect();
        while let Some(at) = todo.pop() {
            for from in into.of(at) {
                if !std::mem::replace(&mut good[*from as usize], true) {
                    todo.push(*from);
                }
            }
        }
        let hopeless = numbers.iter().filter(|(_, at)| !good[**at as usize]).map(|(print, _)| *print).collect();
        (count, hopeless)
    }
}

/// Who leads into a state, for all states, in two arrays.
struct Into {
    starts: Vec<u32>,
    froms: Vec<u32>,
}

impl Into {
    fn new(count: usize, edges: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        let mut starts = vec![0_u32; count + 1];
        for (_, to) in edges.clone() {
            starts[to as usize + 1] += 1;
        }
        for at in 0..count {
            starts[at + 1] += starts[at];
        }
        let mut next = starts.clone();
        let mut froms = vec![0; starts[count] as usize];
        for (from, to) in edges {
            froms[next[to as usize] as usize] = from;
            next[to as usize] += 1;
        }
        Self { starts, froms }
    }

    fn of(&self, at: u32) -> &[u32] {
        &self.froms[self.starts[at as usize] as usize..self.starts[at as usize + 1] as usize]
    }
}

/// Prints are hashes already.
#[derive(Default)]
pub(crate) struct Print(u64);

impl Hasher for Print {
    fn write(&mut self, _: &[u8]) {
        unreachable!("prints are u64");
    }

    fn write_u64(&mut self, print: u64) {
        self.0 = print;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
