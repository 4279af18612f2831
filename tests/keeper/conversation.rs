use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lockgate::wire::{Role, Saying, Verb};

use super::openers::Ending;
use super::world::{Talk, hand_over, prepare, signal_process, until};
use super::{Home, Pair};

#[test]
fn a_handoff_moves_the_lease_and_is_confirmed() {
    let home = Home::new();
    let Pair { mut old, mut new, mut from, mut to } = home.pair();
    let (leased, snapshot) = hand_over(&mut from, &mut to);
    assert_eq!(leased, Saying::Leased { epoch: 2, restored: None, confirmed: false, restore_ms: 0 });
    assert!(matches!(snapshot, Saying::Snapshot { bytes, .. } if bytes > 0), "{snapshot:?}");
    new.app_says("up 2");
    old.says("the lease is free");
    assert_eq!(old.status().role, Role::Standby);
    assert!(!new.status().confirmed);
    assert_eq!(to.ask(Verb::Confirm { epoch: 2 }), Saying::Confirmed { epoch: 2 });
    assert_eq!(to.ask(Verb::Confirm { epoch: 2 }), Saying::Confirmed { epoch: 2 }, "asked again");
    let status = new.status();
    assert!(status.confirmed);
    assert_eq!(status.last_confirmed.unwrap(), status.id);
}

#[test]
fn a_rollback_puts_every_byte_back() {
    let home = Home::new();
    let Pair { mut old, mut new, mut from, mut to } = home.pair();
    home.sql("INSERT INTO orders VALUES (2)");
    std::fs::write(home.path().join("shop.sqlite3-journal"), b"a hot journal").unwrap();
    let before = home.bytes();
    hand_over(&mut from, &mut to);
    new.app_says("up 2");
    std::fs::remove_file(home.path().join("shop.sqlite3-journal")).unwrap();
    home.sql("DROP TABLE orders; CREATE TABLE spoiled (x); INSERT INTO spoiled VALUES (1)");
    std::fs::write(home.path().join("shop.sqlite3-wal"), b"a foreign log").unwrap();
    std::fs::write(home.path().join("shop.sqlite3-mj00FF"), b"a foreign super-journal").unwrap();
    assert_ne!(home.bytes(), before);
    let (leased, snapshot) = hand_over(&mut to, &mut from);
    assert!(matches!(leased, Saying::Leased { epoch: 3, restored: Some(2), confirmed: true, .. }), "{leased:?}");
    assert!(matches!(snapshot, Saying::Snapshot { bytes: 0, .. }), "own code, own data: {snapshot:?}");
    old.app_says("up 3");
    assert_eq!(home.bytes(), before);
    assert!(home.lease().join("aside/2/shop.sqlite3-wal").exists(), "what was undone is kept aside");
    assert!(old.status().confirmed);
}

#[test]
fn a_snapshot_of_no_database_at_all_is_put_back_too() {
    let home = Home::new();
    std::fs::remove_file(home.database()).unwrap();
    let Pair { old: _old, new: _new, mut from, mut to } = home.pair();
    hand_over(&mut from, &mut to);
    home.sql("CREATE TABLE orders (id)");
    hand_over(&mut to, &mut from);
    assert_eq!(home.bytes().into_keys().collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn forged_repeated_and_late_lines_do_no_harm() {
    let home = Home::new();
    let Pair { old, new, mut from, mut to } = home.pair();
    let forged = || Verb::Yield { ticket: "0123456789abcdef".into() };
    assert!(from.refused(forged()).contains("not the ticket"));
    assert!(from.refused(Verb::Yield { ticket: String::new() }).contains("not the ticket"));
    assert!(from.refused(Verb::Confirm { epoch: 7 }).contains("the epoch is 1, not 7"));
    assert!(from.refused(Verb::Take { budget_ms: 1 }).contains("holds the lease"));
    assert!(from.refused(prepare("shop")).contains("holds the lease"));
    assert!(to.refused(Verb::Take { budget_ms: 1 }).contains("not prepared"));
    assert!(to.refused(Verb::Show { ticket: "x".into() }).contains("stands by"));
    assert!(to.refused(Verb::Confirm { epoch: 1 }).contains("stands by"));
    let ticket = to.prepare();
    assert_eq!(to.prepare(), ticket, "prepared twice by the same conversation");
    assert!(new.talk().refused(Verb::Take { budget_ms: 1 }).contains("not prepared by this"));
    from.hand_over(&ticket);
    assert_eq!(from.ask(Verb::Yield { ticket: ticket.clone() }), Saying::Free { ms: 0 }, "yield again");
    to.take();
    assert!(to.refused(Verb::Take { budget_ms: 1 }).contains("holds the lease"));
    assert!(to.refused(Verb::Yield { ticket }).contains("not the ticket"), "a ticket serves once");
    assert_eq!((old.status().role, new.status().role), (Role::Standby, Role::Holder));
}

#[test]
fn the_ticket_ends_with_its_conversation() {
    let home = Home::new();
    let Pair { old, new, mut to, .. } = home.pair();
    let ticket = to.prepare();
    assert!(new.status().prepared);
    assert_eq!(old.talk().ask(Verb::Show { ticket: ticket.clone() }), Saying::Ok {});
    drop(to);
    until("nobody to be prepared", || !new.status().prepared);
    assert!(old.talk().refused(Verb::Show { ticket: ticket.clone() }).contains("not the ticket"));
    assert!(old.talk().refused(Verb::Yield { ticket }).contains("not the ticket"));
    assert_eq!(old.status().role, Role::Holder);
}

#[test]
fn a_frozen_holder_that_thaws_obeys_no_yield_whose_standby_is_gone() {
    let home = Home::new();
    let Pair { old, new, mut from, mut to } = home.pair();
    let ticket = to.prepare();
    signal_process(old.pid(), libc::SIGSTOP);
    from.order(Verb::Yield { ticket });
    drop(to);
    until("nobody to be prepared", || !new.status().prepared);
    signal_process(old.pid(), libc::SIGCONT);
    assert!(matches!(from.hear(), Some(Saying::Refused { .. })));
    assert_eq!(old.status().role, Role::Holder);
}

#[test]
fn a_prepared_conversation_ends_when_nothing_is_said_in_it() {
    let home = Home::new();
    let Pair { old: _old, new, mut to, .. } = home.pair();
    let prepare = Verb::Prepare { handoff: "h".into(), service: "shop".into(), idle_ms: 50 };
    assert!(matches!(to.ask(prepare), Saying::Ready { .. }));
    assert_eq!(to.hear(), None);
    until("nobody to be prepared", || !new.status().prepared);
}

#[test]
fn garbage_ends_only_its_own_connection() {
    let home = Home::new();
    let keeper = home.holder();
    for garbage in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"{\"verb\":\"restore\"}\n".to_vec(),
        b"{\"verb\":\"confirm\"}\n".to_vec(),
        b"\xff\xfe\n".to_vec(),
        vec![b'x'; 65 * 1024 + 1],
    ] {
        let mut talk = keeper.talk();
        talk.raw(&garbage);
        while talk.hear().is_some() {}
    }
    // Connections that say nothing keep nobody out.
    let silent: Vec<Talk> = (0..100).map(|_| keeper.talk()).collect();
    assert_eq!(
        keeper.talk().ask(Verb::Show { ticket: "x".into() }),
        Saying::Refused { why: "this is not the ticket of a living standby at this lease".into() }
    );
    drop(silent);
    assert_eq!(keeper.status().role, Role::Holder);
}

#[test]
fn connections_that_only_ask_for_the_status_keep_nobody_out_and_end_no_handoff() {
    let home = Home::new();
    let Pair { old, new, mut from, mut to } = home.pair();
    let ticket = to.prepare();
    assert_eq!(from.ask(Verb::Show { ticket: ticket.clone() }), Saying::Ok {});
    let mut crowd = Vec::new();
    for keeper in [&old, &new] {
        for _ in 0..100 {
            let mut talk = keeper.talk();
            assert!(matches!(talk.ask(Verb::Status {}), Saying::Status(_)));
            crowd.push(talk);
        }
    }
    from.hand_over(&ticket);
    assert!(matches!(to.take().0, Saying::Leased { epoch: 2, .. }));
    assert_eq!(crowd[0].hear(), None, "the oldest gave way");
    assert!(matches!(crowd[199].ask(Verb::Status {}), Saying::Status(_)));
}

#[test]
fn several_conversations_are_served_at_once() {
    let home = Home::new();
    let keeper = home.holder();
    let mut talks: Vec<Talk> = (0..10).map(|_| keeper.talk()).collect();
    for talk in &mut talks {
        assert!(matches!(talk.ask(Verb::Status {}), Saying::Status(_)));
    }
}

#[test]
fn unknown_fields_are_ignored() {
    let home = Home::new();
    let keeper = home.keeper().start();
    let mut talk = keeper.talk();
    talk.raw(b"{\"verb\":\"status\",\"later\":{\"x\":1}}\n");
    assert!(matches!(talk.hear(), Some(Saying::Status(_))));
}

#[test]
fn where_a_token_is_required_every_line_must_have_it() {
    let home = Home::new();
    let file = home.path().join("token");
    std::fs::write(&file, "open sesame\n").unwrap();
    let keeper = home.keeper().option("--token-file", &file).start();
    for token in [None, Some("open"), Some("open sesamf")] {
        let mut talk = keeper.talk();
        talk.token = token.map(str::to_owned);
        assert!(talk.refused(Verb::Status {}).contains("token"));
        assert_eq!(talk.hear(), None);
    }
    let mut talk = keeper.talk();
    talk.token = Some("open sesame".into());
    assert!(matches!(talk.ask(Verb::Status {}), Saying::Status(_)));
}

#[test]
fn a_take_waits_for_the_lease_within_its_budget() {
    let home = Home::new();
    let Pair { old, new, mut from, mut to } = home.pair();
    let ticket = to.prepare();
    let by = format!("the lease is held by {} (epoch 1, control {})", old.status().id, old.control());
    assert_eq!(to.ask(Verb::Take { budget_ms: 30 }), Saying::Held { by });
    // Its ticket is spent; the conversation can prepare again.
    assert!(from.refused(Verb::Show { ticket }).contains("not the ticket"));
    let ticket = to.prepare();
    to.order(Verb::Take { budget_ms: 10_000 });
    new.talk().until_it_takes();
    assert!(new.talk().refused(prepare("shop")).contains("acquiring"));
    from.hand_over(&ticket);
    assert!(matches!(to.hear(), Some(Saying::Leased { epoch: 2, .. })));
}

#[test]
fn a_take_whose_conversation_is_gone_writes_no_epoch() {
    let home = Home::new();
    let Pair { mut old, mut new, mut to, .. } = home.pair();
    to.prepare();
    to.order(Verb::Take { budget_ms: 10_000 });
    new.talk().until_it_takes();
    drop(to);
    until("nobody to be prepared", || !new.status().prepared);
    old.signal(libc::SIGTERM);
    assert_eq!(old.ends(), 0);
    // What it takes then it takes unasked.
    new.app_says("up 2");
    assert!(new.status().confirmed);
}

#[test]
fn a_take_whose_conversation_goes_while_the_snapshot_is_copied_writes_no_epoch() {
    let home = Home::new();
    home.sql("CREATE TABLE large (x); INSERT INTO large VALUES (zeroblob(150000000))");
    let Pair { mut old, mut new, mut from, mut to } = home.pair();
    let ticket = to.prepare();
    from.hand_over(&ticket);
    to.order(Verb::Take { budget_ms: 15_000 });
    let copy = home.lease().join("snapshots/2/00-shop.sqlite3");
    until("the copy to be begun", || copy.exists());
    drop(to);
    old.app_says("up 2");
    assert!(new.app_said().is_empty());
    assert!(old.status().confirmed);
}

#[test]
fn one_that_is_acquiring_does_not_yield_to_its_own_ticket() {
    let home = Home::new();
    let Pair { old: _old, new, mut from, mut to } = home.pair();
    let ticket = to.prepare();
    // It waits a second for this opener.
    let open = std::fs::File::open(home.database()).unwrap();
    from.hand_over(&ticket);
    to.order(Verb::Take { budget_ms: 15_000 });
    let mut talk = new.talk();
    until("it has the lease", || talk.ask(Verb::Yield { ticket: ticket.clone() }) != Saying::Free { ms: 0 });
    assert!(talk.refused(Verb::Yield { ticket }).contains("not the ticket"));
    drop(open);
    assert!(matches!(to.hear(), Some(Saying::Leased { epoch: 2, .. })));
}

#[test]
fn a_second_conversation_prepares_only_once_the_first_has_ended() {
    let home = Home::new();
    let Pair { old, new, to: mut one, .. } = home.pair();
    let mut other = new.talk();
    let first = one.prepare();
    assert!(other.refused(prepare("shop")).contains("another conversation"));
    assert_eq!(old.talk().ask(Verb::Show { ticket: first.clone() }), Saying::Ok {});
    drop(one);
    let second = other.prepare();
    assert!(old.talk().refused(Verb::Show { ticket: first }).contains("not the ticket"));
    assert_eq!(old.talk().ask(Verb::Show { ticket: second }), Saying::Ok {});
}

#[test]
fn one_that_only_waits_for_the_lease_is_a_standby_and_has_nothing_to_yield() {
    let home = Home::new();
    let Pair { old: _old, new, mut to, .. } = home.pair();
    to.prepare();
    to.order(Verb::Take { budget_ms: 10_000 });
    new.talk().until_it_takes();
    assert_eq!(new.status().role, Role::Standby);
    assert_eq!(new.talk().ask(Verb::Yield { ticket: "any".into() }), Saying::Free { ms: 0 });
    assert!(new.talk().refused(prepare("shop")).contains("acquiring"));
}

#[test]
fn one_that_is_acquiring_obeys_a_yield_between_two_steps() {
    let home = Home::new();
    let mut first = home.holder();
    first.signal(libc::SIGTERM);
    assert_eq!(first.ends(), 0);
    // It acquires unasked, and waits a second for this opener.
    let open = std::fs::File::open(home.database()).unwrap();
    let mut acquiring = home.keeper().start();
    let mut standby = home.keeper().option("--defer", "1h").start();
    let mut to = standby.talk();
    let mut talk = acquiring.talk();
    // Between two attempts it stands by: nobody is prepared beside the opener, and there is nothing to yield.
    let mut ticket = String::new();
    until("a standby is prepared", || match to.ask(prepare("shop")) {
        Saying::Ready { ticket: laid, .. } => {
            ticket = laid;
            true
        }
        _ => false,
    });
    let mut yields = |ticket: &str| talk.ask(Verb::Yield { ticket: ticket.to_owned() });
    until("a forged yield is refused", || matches!(yields("forged"), Saying::Refused { .. }));
    until("it obeys", || matches!(yields(&ticket), Saying::Stopping { .. }));
    assert_eq!(talk.hear(), Some(Saying::Free { ms: 0 }));
    drop(open);
    assert!(matches!(to.take().0, Saying::Leased { epoch: 2, .. }));
    standby.app_says("up 2");
    assert!(acquiring.app_said().is_empty());
}

#[test]
fn one_that_is_acquiring_shows_itself_as_who_holds_not_the_one_before() {
    let home = Home::new();
    let mut first = home.holder();
    first.signal(libc::SIGTERM);
    assert_eq!(first.ends(), 0);
    // It acquires unasked, and waits a second for this opener.
    let _open = std::fs::File::open(home.database()).unwrap();
    let acquiring = home.keeper().start();
    until("acquiring", || acquiring.status().role == Role::Acquiring);
    let status = acquiring.status();
    assert_eq!((status.holder.unwrap().id, status.epoch), (status.id, 1), "whose epoch is not written yet");
}

#[test]
fn who_only_looks_again_and_again_keeps_nobody_from_a_free_lease() {
    let home = Home::new();
    let mut first = home.holder();
    first.signal(libc::SIGTERM);
    assert_eq!(first.ends(), 0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ending = Ending(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let look = std::fs::File::open(home.lease().join("lease")).unwrap();
                let _free = look.try_lock_shared();
                // A look that takes long, as on a machine that is busy.
                std::thread::sleep(Duration::from_millis(200));
                drop(look);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        home.keeper().start().app_says("up 2");
    });
}

#[test]
fn a_second_service_on_the_same_database_is_refused_and_told_whose_it_is() {
    let home = Home::new();
    let mut shop = home.keeper().option("--service", "shop").start();
    shop.app_says("up 1");
    let mut blog = home.keeper().option("--service", "blog").option("--defer", "10ms").start();
    blog.says("this lease belongs to the service shop");
    assert!(blog.talk().refused(prepare("blog")).contains("this lease belongs to the service shop, not blog"));
    assert!(blog.talk().refused(prepare("shop")).contains("this keeper is of the service blog, not shop"));
    assert!(blog.status().note.contains("belongs to the service shop"));
    shop.signal(libc::SIGTERM);
    assert_eq!(shop.ends(), 0);
    until("the lease to be free", || blog.status().holder.is_none());
    assert!(blog.app_said().is_empty());
    // Another keeper of the shop goes on.
    home.keeper().option("--service", "shop").start().app_says("up 2");
    assert!(blog.app_said().is_empty());
}

#[test]
fn only_the_last_confirmed_keeper_acts_unasked_while_it_is_prepared() {
    let home = Home::new();
    let mut first = home.holder();
    let mut prepared = home.keeper().option("--defer", "10ms").start();
    prepared.says("stands by");
    let mut to = prepared.talk();
    to.prepare();
    let mut unasked = home.keeper().option("--defer", "300ms").start();
    unasked.says("stands by");
    signal_process(first.pid(), libc::SIGKILL);
    first.ends();
    for pid in
        std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
    {
        // The heir keeps `live` as long as it lives.
        let links = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let ours =
            |link: std::fs::DirEntry| std::fs::read_link(link.path()).is_ok_and(|to| to == home.lease().join("live"));
        if links.into_iter().any(ours) {
            signal_process(pid, libc::SIGKILL);
        }
    }
    unasked.app_says("up 2");
    assert!(prepared.app_said().is_empty());
}
