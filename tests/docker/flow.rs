//! Ten deploys under load, two of them bad: nothing fails, nothing is lost, no two apps are live together.

use lockgate::demo::checker::{Evidence, Findings, check};
use lockgate::demo::lives::lives;
use lockgate::demo::load::{Load, Wish};
use lockgate::demo::stamps::{self, Plan};

use crate::engine::Corner;
use crate::kamal::{Host, Version, Wrapped, evidence_in};

/// Orders a second.
const RATE: u32 = 100;

#[test]
fn ten_deploys_under_load_lose_nothing_and_never_overlap() {
    let Some(corner) = Corner::open("ten deploys under load") else { return };
    let host = Host::set_up(corner);
    let mut serving = host.run(1, Plan::Good, Wrapped::Kept);
    let first = host.ask_the_proxy(&serving);
    assert!(first.status.success(), "{}\n{}", String::from_utf8_lossy(&first.stderr), host.logs(&serving));

    let load = Orders::start(&host);
    for number in 2..=11 {
        let plan = match number {
            4 => Plan::SpoilsData,
            8 => Plan::NeverHealthy,
            _ => Plan::Good,
        };
        let (now, said) = host.deploy(number, plan, serving);
        serving = now;
        let as_expected = said.is_ok() == (plan == Plan::Good);
        assert!(as_expected, "version {number} ({}): {said:?}\n{}", plan.name(), host.logs(&serving));
    }
    let findings = load.finish(&host, &serving);

    assert_eq!(findings.broken(), Vec::<String>::new(), "{findings:#?}\n{}", host.logs(&serving));
    assert_eq!(findings.lives, 1 + 8 + 2 + 2, "the first, eight good ones, two bad ones and two brought back");
    assert_eq!(findings.undone.len(), 2);
    assert!(findings.orders > 1_000, "a load of {} orders", findings.orders);
    let records = host.handoffs();
    assert!(records.iter().skip(1).all(|record| record.kind == "exclusive"), "{records:#?}");
    let outcomes: Vec<&str> = records.iter().skip(1).map(|record| record.outcome.as_str()).collect();
    let back = "rolled back";
    assert_eq!(outcomes, ["done", "done", back, "done", "done", "done", back, "done", "done", "done"], "{records:#?}");
    println!("{} orders, longest hold {:.0} ms", findings.orders, findings.holds.worst_ms);
}

#[test]
fn the_first_deploy_that_brings_a_keeper_overlaps_and_says_so() {
    let Some(corner) = Corner::open("the first keeper") else { return };
    let host = Host::set_up(corner);
    let old = host.run(1, Plan::Good, Wrapped::Bare);
    assert!(host.ask_the_proxy(&old).status.success(), "{}", host.logs(&old));

    let (kept, said) = host.deploy(2, Plan::Good, old);
    let warning = said.expect("the deploy succeeds");
    assert!(warning.contains("Warning:") && warning.contains("overlap"), "{warning}\n{}", host.logs(&kept));

    let (next, said) = host.deploy(3, Plan::Good, kept);
    assert_eq!(said, Ok(String::new()), "{}", host.logs(&next));
    next.container.stop();
    let (_copy, storage) = host.storage(&next);
    let lives = lives(&stamps::read(&evidence_in(&storage).1).expect("stamps"));
    let versions: Vec<u32> = lives.iter().map(|life| life.version).collect();
    assert_eq!(versions, [1, 2, 3]);
    assert!(lives[1].last_us <= lives[2].main_us, "from the second keeper on apps take turns: {lives:#?}");
}

/// A load on the host's proxy, with its log.
struct Orders {
    load: Load,
    folder: tempfile::TempDir,
}

impl Orders {
    fn start(host: &Host) -> Orders {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let load = Load::start(Wish { address: host.address(), rate: RATE, seed: 1, log }).expect("a load");
        Orders { load, folder }
    }

    /// Ends the load, then the shop, and looks at what both left.
    fn finish(self, host: &Host, serving: &Version) -> Findings {
        self.load.finish().expect("the load ends");
        serving.container.stop();
        let (_copy, storage) = host.storage(serving);
        let (database, stamps) = evidence_in(&storage);
        let evidence = Evidence::gather(&self.folder.path().join("log"), &database, &stamps).expect("the evidence");
        check(&evidence)
    }
}
