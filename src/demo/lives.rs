//! The life of each app, put together from its stamps.

use std::collections::BTreeMap;

use super::stamps::{Event, Plan, Stamp};

/// One start of one app, as it stamped it. Times are microseconds of `CLOCK_BOOTTIME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Which start of which process.
    pub boot: String,
    /// The shop's version.
    pub version: u32,
    /// What that version does.
    pub plan: Plan,
    /// The first line of main.
    pub main_us: u64,
    /// The last that was heard of it.
    pub last_us: u64,
    /// The database's files before it opened them, by name, with their SHA-256.
    pub set: BTreeMap<String, String>,
    /// When it began to listen.
    pub listening_us: Option<u64>,
    /// When the first order arrived.
    pub first_order_us: Option<u64>,
    /// When it was told to stop.
    pub sigterm_us: Option<u64>,
    /// When it gave its last answer.
    pub last_answer_us: Option<u64>,
}

/// All lives, in the order in which they began. Stamps of a boot whose `main` is missing are left out.
#[must_use]
pub fn lives(stamps: &[Stamp]) -> Vec<Life> {
    let mut lives: BTreeMap<&str, Life> = stamps.iter().filter_map(begin).collect();
    for stamp in stamps {
        if let Some(life) = lives.get_mut(stamp.boot.as_str()) {
            live_on(life, stamp);
        }
    }
    let mut lives: Vec<Life> = lives.into_values().collect();
    lives.sort_by_key(|life| life.main_us);
    lives
}

fn begin(stamp: &Stamp) -> Option<(&str, Life)> {
    let Event::Main { plan, .. } = stamp.event else { return None };
    let life = Life {
        boot: stamp.boot.clone(),
        version: stamp.version,
        plan,
        main_us: stamp.at_us,
        last_us: stamp.at_us,
        set: BTreeMap::new(),
        listening_us: None,
        first_order_us: None,
        sigterm_us: None,
        last_answer_us: None,
    };
    Some((&stamp.boot, life))
}

fn live_on(life: &mut Life, stamp: &Stamp) {
    let at = stamp.at_us;
    life.last_us = life.last_us.max(at);
    match &stamp.event {
        Event::Main { .. } | Event::Exit => {}
        Event::Set { files } => life.set.clone_from(files),
        Event::Listening => life.listening_us = Some(at),
        Event::FirstOrder => life.first_order_us = Some(at),
        Event::Sigterm => life.sigterm_us = Some(at),
        Event::LastAnswer => life.last_answer_us = Some(at),
    }
}
