//! Commands against keepers and apps of this process.

mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use world::{App, Fault, Keeper, Lease, World, deploy, until};

use crate::config::Settings;
use crate::control::FailureKind;
use crate::gate::{Limits, Reason};
use crate::spec::{Deploy, OnBusy, Pause, Selection, Stop, Target};
use crate::state::{KnownKeeper, meet};

fn deploy_of(keeper: &Keeper) -> Deploy {
    Deploy { keeper: Some(Target::parse(&keeper.control).unwrap()), ..deploy(&keeper.app.address) }
}

/// One keeper that holds and is deployed, and another that stands by.
async fn kept(fault: Fault, status: u16) -> (World, Arc<Keeper>, Arc<Keeper>) {
    let (world, lease) = (World::new(), Arc::new(Lease::default()));
    let old = Keeper::new(&lease, App::new(200).await, Fault::None).await;
    world.deploy(deploy_of(&old)).await.unwrap();
    let new = Keeper::new(&lease, App::new(status).await, fault).await;
    (world, old, new)
}

#[tokio::test]
async fn a_first_deploy_waits_for_health_and_saves_the_service() {
    let (world, app) = (World::new(), App::running(200).await);
    assert_eq!(world.deploy(deploy(&app.address)).await.unwrap().warnings, [""; 0]);
    let status = world.status();
    assert_eq!((status.targets, status.state.as_str()), (vec![app.address.clone()], "running"));
    assert!(status.closed.is_empty());
    assert!(world.state_file().contains(&format!(r#""active_targets":["{}"],"active_readers":[]"#, app.address)));
    assert!(!world.state_file().contains("lockgate"));
    let record = world.control.handoffs("shop", 1).await.unwrap().remove(0);
    assert_eq!((record.kind.as_str(), record.outcome.as_str()), ("overlap", "done"));
}

#[tokio::test]
async fn a_first_deploy_is_shown_can_be_aborted_and_is_remembered() {
    let (world, dead) = (World::new(), App::new(200).await);
    let deploying = world.begin(deploy(&dead.address));
    until("it is shown", || world.control.status("shop").is_ok_and(|status| status.phase.is_some())).await;
    assert!(world.status().targets.is_empty());
    world.control.abort("shop".into()).await.unwrap();
    let failure = deploying.await.unwrap().unwrap_err();
    assert_eq!((failure.error.as_str(), failure.kind), ("aborted", FailureKind::Conflict));
    assert!(world.control.list().is_empty() && world.control.abort("shop".into()).await.is_err());
    assert_eq!(world.control.all_handoffs(5).await.unwrap()[0].reason, "aborted");
}

#[tokio::test]
async fn a_first_deploy_is_given_up_when_the_proxy_stops() {
    let (world, dead) = (World::new(), App::new(200).await);
    let deploying = world.begin(deploy(&dead.address));
    until("it has begun", || world.control.status("shop").is_ok_and(|status| status.phase.is_some())).await;
    world.control.shutdown(Instant::now() + Duration::from_secs(10)).await;
    assert_eq!(deploying.await.unwrap().unwrap_err().error, "the proxy is shutting down");
}

#[tokio::test]
async fn a_deploy_that_was_given_up_leaves_the_hold_as_long_as_it_was() {
    let (world, app, dead) = (World::new(), App::running(200).await, App::new(200).await);
    world.deploy(Deploy { max_hold: Some(Duration::from_secs(9)), ..deploy(&app.address) }).await.unwrap();
    let short = Deploy { max_hold: Some(Duration::from_secs(1)), ..deploy(&dead.address) };
    world.deploy(Deploy { deploy_timeout: Duration::from_millis(50), ..short }).await.unwrap_err();
    let entry = world.control.entry("shop").unwrap();
    assert_eq!(entry.set_limits(Limits::default()).max_hold, Duration::from_secs(9));
}

#[tokio::test]
async fn a_target_that_never_gets_healthy_fails_in_the_contracts_words_and_changes_nothing() {
    let (world, good, bad) = (World::new(), App::running(200).await, App::running(500).await);
    world.deploy(deploy(&good.address)).await.unwrap();
    let bad = Deploy { deploy_timeout: Duration::from_millis(1500), ..deploy(&bad.address) };
    let failure = world.deploy(bad).await.unwrap_err();
    assert_eq!(failure.error, "target failed to become healthy within configured timeout (1.5s)");
    assert!(failure.hints[0].ends_with("unexpected status (500)"), "{:?}", failure.hints);
    assert!(failure.hints.iter().any(|hint| hint.contains("no keeper was found at 127.0.0.1:8647")));
    assert_eq!(failure.kind, FailureKind::App);
    assert_eq!(world.status().targets, std::slice::from_ref(&good.address));
}

#[tokio::test]
async fn places_that_another_service_has_are_refused_before_the_health_wait() {
    let (world, app, dead) = (World::new(), App::running(200).await, App::new(200).await);
    world.deploy(deploy(&app.address)).await.unwrap();
    let other = Deploy { service: "other".into(), ..deploy(&dead.address) };
    let began = Instant::now();
    let failure = world.deploy(other).await.unwrap_err();
    assert_eq!(failure.error, "host settings conflict with another service");
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn one_deploy_at_a_time_the_next_waits_or_fails_as_it_asked() {
    let (world, dead, app) = (World::new(), App::new(200).await, App::running(200).await);
    let slow = world.begin(deploy(&dead.address));
    until("the first has its turn", || !world.control.claims.lock().unwrap().is_empty()).await;
    let busy = Deploy { on_busy: OnBusy::Fail, ..deploy(&app.address) };
    assert_eq!(world.deploy(busy).await.unwrap_err().kind, FailureKind::Conflict);
    dead.start().await;
    world.deploy(deploy(&app.address)).await.unwrap();
    assert!(slow.await.unwrap().is_ok());
    assert_eq!(world.status().targets, std::slice::from_ref(&app.address));
}

#[tokio::test]
async fn a_deploy_to_a_stopped_service_succeeds_and_says_that_it_stays_stopped() {
    let (mut world, app) = (World::new(), App::running(200).await);
    world.deploy(deploy(&app.address)).await.unwrap();
    let services = Selection::Named(vec!["shop".into()]);
    let stop = Stop { services, drain_timeout: Duration::ZERO, message: "Back soon".into() };
    world.control.stop(stop).await.unwrap();
    assert!(world.state_file().contains(r#"{"state":2,"stop_message":"Back soon","fail_after":0}"#));
    let outcome = world.deploy(deploy(&app.address)).await.unwrap();
    assert_eq!(outcome.warnings, ["the service stays stopped"]);
    world.restart().await;
    assert_eq!((world.status().state.as_str(), world.status().closed), ("stopped", vec!["stopped".into()]));
    world.control.resume(Selection::All).await.unwrap();
    assert_eq!(world.status().state, "running");
}

#[tokio::test]
async fn an_unknown_name_among_several_closes_nothing() {
    let (world, app) = (World::new(), App::running(200).await);
    world.deploy(deploy(&app.address)).await.unwrap();
    let services = Selection::Named(vec!["shop".into(), "nope".into()]);
    let pause = Pause { services, drain_timeout: Duration::ZERO, max_pause: Duration::from_secs(30) };
    let failure = world.control.pause(pause).await.unwrap_err();
    assert_eq!((failure.error.as_str(), failure.kind), ("service not found", FailureKind::NotFound));
    assert_eq!(world.status().state, "running");
}

#[tokio::test]
async fn a_pause_survives_a_restart_and_a_removed_service_does_not() {
    let (mut world, app) = (World::new(), App::running(200).await);
    world.deploy(deploy(&app.address)).await.unwrap();
    let pause = Pause { services: Selection::All, drain_timeout: Duration::ZERO, max_pause: Duration::from_secs(7) };
    world.control.pause(pause).await.unwrap();
    world.restart().await;
    assert_eq!(world.status().state, "paused");
    assert!(world.state_file().contains(r#""state":1,"stop_message":"","fail_after":7000000000"#));
    world.control.remove("shop".into()).await.unwrap();
    assert_eq!(world.state_file(), "[]\n");
    assert!(world.control.list().is_empty());
    assert!(world.control.remove("shop".into()).await.is_err());
}

#[tokio::test]
async fn an_exclusive_handoff_starts_the_new_app_after_the_old_one_has_gone() {
    let (world, old, new) = kept(Fault::None, 200).await;
    assert_eq!(world.deploy(deploy_of(&new)).await.unwrap().warnings, [""; 0]);
    assert!(new.app.is_live() && !old.app.is_live());
    assert_eq!(old.told(), ["show", "yield"]);
    assert_eq!(new.told(), ["prepare", "take", "confirm"]);
    let status = world.status();
    assert_eq!((status.targets, status.epoch), (vec![new.app.address.clone()], Some(2)));
    assert_eq!((status.keeper, status.closed.len()), (Some(new.control.clone()), 0));
    assert!(world.state_file().contains(&format!(r#""lockgate":{{"keeper":"{}""#, new.control)));
    let record = world.control.handoffs("shop", 1).await.unwrap().remove(0);
    assert_eq!((record.kind.as_str(), record.outcome.as_str(), record.epoch), ("exclusive", "done", Some(2)));
    assert_eq!(record.snapshot.unwrap().bytes, 10);
    let own: f64 =
        record.phases.iter().filter(|p| ["drain", "yield", "acquire"].contains(&&*p.phase)).map(|p| p.ms).sum();
    assert!(own < 1000.0, "{:?}", record.phases);
}

#[tokio::test]
async fn a_new_app_that_exits_while_booting_is_rolled_back() {
    let (world, old, new) = kept(Fault::Exits, 200).await;
    let failure = world.deploy(deploy_of(&new)).await.unwrap_err();
    assert_eq!(failure.error, "target failed to become healthy within configured timeout (5s)");
    assert!(failure.hints[0].contains("no such table: orders"), "{:?}", failure.hints);
    assert!(failure.hints.iter().any(|hint| hint == "the old app was brought back and serves on"));
    assert!(old.app.is_live() && !new.app.is_live());
    let status = world.status();
    assert_eq!((status.targets, status.closed.len()), (vec![old.app.address.clone()], 0));
    let record = world.control.handoffs("shop", 1).await.unwrap().remove(0);
    assert_eq!((record.outcome.as_str(), record.restored, record.epoch), ("rolled back", Some(2), Some(3)));
}

#[tokio::test]
async fn a_new_app_that_answers_but_is_not_healthy_is_rolled_back() {
    let (world, old, new) = kept(Fault::None, 500).await;
    let bad = Deploy { deploy_timeout: Duration::from_millis(300), ..deploy_of(&new) };
    let failure = world.deploy(bad).await.unwrap_err();
    assert!(failure.hints[0].contains("unexpected status (500)"), "{:?}", failure.hints);
    assert!(old.app.is_live() && !new.app.is_live());
    assert!(world.status().closed.is_empty());
}

#[tokio::test]
async fn a_service_removed_before_yield_gives_its_handoff_up_and_the_deploy_says_why() {
    let (world, app, dead) = (World::new(), App::running(200).await, App::new(200).await);
    world.deploy(deploy(&app.address)).await.unwrap();
    let deploying = world.begin(deploy(&dead.address));
    until("the handoff has begun", || world.status().phase.is_some()).await;
    world.control.remove("shop".into()).await.unwrap();
    let failure = deploying.await.unwrap().unwrap_err();
    assert_eq!(failure.error, "the service was removed during its deploy");
    assert_eq!(failure.hints, ["the old app is live, but requests do not go there"]);
    assert_eq!(failure.kind, FailureKind::Conflict);
    assert!(world.control.list().is_empty());
}

#[tokio::test]
async fn a_service_removed_before_its_first_deploy_has_ended_never_comes_to_be() {
    let (world, dead) = (World::new(), App::new(200).await);
    let deploying = world.begin(deploy(&dead.address));
    until("the handoff has begun", || !world.control.list().is_empty()).await;
    world.control.remove("shop".into()).await.unwrap();
    let failure = deploying.await.unwrap().unwrap_err();
    assert_eq!(failure.error, "the service was removed during its deploy");
    assert_eq!(failure.hints, ["nothing was changed"]);
    assert!(world.control.list().is_empty());
}

#[tokio::test]
async fn keys_of_another_version_outlive_a_deploy() {
    let (mut world, app) = (World::new(), App::running(200).await);
    world.deploy(deploy(&app.address)).await.unwrap();
    let mut page: serde_json::Value = serde_json::from_str(&world.state_file()).unwrap();
    for place in ["", "/options", "/target_options", "/target_options/health_check_config"] {
        page[0].pointer_mut(place).unwrap()["later"] = 7.into();
    }
    std::fs::write(world.data.path().join("kamal-proxy.state"), page.to_string()).unwrap();
    world.restart().await;
    world.deploy(deploy(&app.address)).await.unwrap();
    assert_eq!(world.state_file().matches(r#""later":7"#).count(), 4, "{}", world.state_file());
}

#[tokio::test]
async fn a_state_file_that_cannot_be_read_or_not_to_its_end_is_set_aside_and_never_written_over() {
    let (mut world, app) = (World::new(), App::running(200).await);
    let path = world.data.path().join("kamal-proxy.state");
    std::fs::create_dir(&path).unwrap();
    world.restart().await;
    world.deploy(deploy(&app.address)).await.unwrap();
    assert!(path.with_extension("state.unreadable").is_dir());
    for copy in ["state.damaged", "state.damaged.1"] {
        std::fs::write(&path, copy).unwrap();
        world.restart().await;
        world.deploy(deploy(&app.address)).await.unwrap();
        assert_eq!(std::fs::read_to_string(path.with_extension(copy)).unwrap(), copy);
    }
    assert!(world.state_file().contains(r#""name":"shop""#));
}

#[tokio::test]
async fn a_service_removed_past_yield_fails_its_deploy_and_stays_removed() {
    let (world, old, new) = kept(Fault::BootsOn, 200).await;
    let deploying = world.begin(deploy_of(&new));
    until("the new app boots", || world.status().phase.as_deref() == Some("boot")).await;
    world.control.remove("shop".into()).await.unwrap();
    new.app.start().await;
    let failure = deploying.await.unwrap().unwrap_err();
    assert_eq!(failure.error, "the service was removed during its deploy");
    assert_eq!(failure.hints, ["the new app is live, but requests do not go there"]);
    assert!(new.app.is_live() && !old.app.is_live());
    assert!(world.control.list().is_empty());
    assert_eq!(world.state_file(), "[]\n");
    assert_eq!(world.control.handoffs("shop", 1).await.unwrap()[0].outcome, "done");
}

#[tokio::test]
async fn a_standby_that_refuses_costs_nobody_anything() {
    let (world, old, new) = kept(Fault::Refuses, 200).await;
    let failure = world.deploy(deploy_of(&new)).await.unwrap_err();
    assert!(failure.error.contains("the lease directory is read-only"), "{failure:?}");
    assert!(old.app.is_live());
    assert!(old.told().iter().all(|word| word != "yield"));
}

#[tokio::test]
async fn a_standby_beside_a_reader_or_another_target_is_refused_and_the_old_app_serves_on() {
    let (world, old, new) = kept(Fault::None, 200).await;
    let beside = Target::parse("127.0.0.1:9").unwrap();
    let alone = deploy_of(&new);
    let two = Deploy { targets: vec![alone.targets[0].clone(), beside.clone()], ..alone.clone() };
    for deploy in [Deploy { readers: vec![beside], ..alone }, two] {
        let failure = world.deploy(deploy).await.unwrap_err();
        let error = "a target whose keeper stands by may be only the sole target of a deploy, readers counted";
        assert_eq!((failure.error.as_str(), failure.kind), (error, FailureKind::App));
        assert_eq!(failure.hints, ["nothing was changed, the old app serves on"]);
    }
    assert!(new.told().is_empty() && old.app.is_live());
    assert_eq!(world.status().targets, std::slice::from_ref(&old.app.address));
}

#[tokio::test]
async fn readers_are_kept_in_the_saved_state() {
    let (world, app) = (World::new(), App::running(200).await);
    let readers = vec![Target::parse("reader:3000").unwrap()];
    world.deploy(Deploy { readers, ..deploy(&app.address) }).await.unwrap();
    assert!(world.state_file().contains(r#""active_readers":["reader:3000"]"#));
}

#[tokio::test]
async fn a_confirmation_whose_answer_is_lost_is_asked_for_and_not_guessed() {
    let (world, old, new) = kept(Fault::LosesConfirmed, 200).await;
    world.deploy(deploy_of(&new)).await.unwrap();
    assert!(new.app.is_live() && !old.app.is_live());
    assert!(world.status().closed.is_empty());
}

#[tokio::test]
async fn a_successor_that_is_lost_at_take_gives_way_to_the_old_one() {
    let (world, old, new) = kept(Fault::BreaksAtTake, 200).await;
    world.deploy(deploy_of(&new)).await.unwrap_err();
    until("the gate is open on the old one", || world.status().closed.is_empty() && old.app.is_live()).await;
    assert_eq!(world.status().targets, std::slice::from_ref(&old.app.address));
}

#[tokio::test]
async fn after_a_restart_requests_are_held_until_a_keeper_says_who_is_live() {
    let (mut world, old, new) = kept(Fault::None, 200).await;
    let before = world.state_file();
    world.deploy(deploy_of(&new)).await.unwrap();
    // The proxy died before it could save: its state is that of the deploy before, and knows the new keeper from
    // preflight only.
    let met = format!(r#"{{"id":"keeper1:8647","control":"{}","target":"{}"}},"#, new.control, new.app.address);
    let stale = before.replace(r#""keepers":["#, &format!(r#""keepers":[{met}"#));
    assert_ne!(stale, before);
    std::fs::write(world.data.path().join("kamal-proxy.state"), stale).unwrap();
    world.restart().await;
    assert_eq!(world.status().closed, ["unavailable"]);
    until("the gate is open", || world.status().closed.is_empty()).await;
    assert_eq!(world.status().targets, std::slice::from_ref(&new.app.address));
    assert!(!old.app.is_live());
}

#[tokio::test]
async fn a_deploy_of_a_service_that_is_followed_is_not_aborted_by_the_next_one() {
    let (world, old, _standby) = kept(Fault::None, 200).await;
    let (app, entry) = (App::new(200).await, world.control.entry("shop").unwrap());
    old.free();
    entry.service.gate.close(Reason::Unavailable);
    world.control.follow(&entry);
    until("it is followed", || world.status().note.contains("no keeper holds")).await;
    let first = world.begin(deploy(&app.address));
    until("the first has begun", || world.status().phase.is_some()).await;
    let next = Deploy { on_busy: OnBusy::Fail, ..deploy(&app.address) };
    let busy = world.deploy(next).await.unwrap_err();
    assert_eq!(busy.error, "another deploy of this service is under way");
    app.start().await;
    first.await.unwrap().unwrap();
    assert_eq!(world.status().targets, std::slice::from_ref(&app.address));
}

#[tokio::test]
async fn a_keeper_of_the_same_service_at_another_lease_is_not_followed() {
    let (world, old, _standby) = kept(Fault::None, 200).await;
    let elsewhere = Keeper::new(&Arc::new(Lease::default()), App::new(200).await, Fault::None).await;
    let entry = world.control.entry("shop").unwrap();
    let (id, control, target) = ("elsewhere:1".into(), elsewhere.control.clone(), elsewhere.app.address.clone());
    meet(&mut entry.now().known, KnownKeeper { id, control, target });
    old.free();
    entry.service.gate.close(Reason::Unavailable);
    world.control.follow(&entry);
    until("it is looked for", || world.status().note.contains("no keeper holds") || world.status().closed.is_empty())
        .await;
    assert_eq!(
        (world.status().targets, world.status().closed),
        (vec![old.app.address.clone()], vec!["unavailable".into()])
    );
}

#[tokio::test]
async fn a_keeper_of_another_service_is_an_error_that_says_so() {
    let (world, _old, new) = kept(Fault::None, 200).await;
    let other = Deploy { service: "other".into(), ..deploy_of(&new) };
    let options = crate::spec::Options { hosts: vec!["other.test".into()], ..Default::default() };
    let failure = world.deploy(Deploy { options, ..other }).await.unwrap_err();
    assert_eq!(failure.error, "the target's keeper serves shop, not other");
}

#[tokio::test]
async fn a_token_that_cannot_be_read_is_said_and_waited_for() {
    let (mut world, old, _new) = kept(Fault::None, 200).await;
    let token = world.data.path().join("token");
    let mut settings = Settings::default();
    settings.service.keeper_token_file = Some(token.clone());
    world.restart_with(settings).await;
    until("it is said", || world.status().note.starts_with("reading the keepers' token from")).await;
    assert!(old.told().is_empty(), "no keeper is asked for anything without it");
    std::fs::write(token, "word").unwrap();
    until("the gate is open", || world.status().closed.is_empty()).await;
}

/// In the place of the journal a pipe: who opens one end of it waits for somebody at the other.
fn hanging_journal(world: &World) -> std::path::PathBuf {
    let directory = world.data.path().join("lockgate/handoffs");
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("shop.jsonl");
    let _ = std::fs::remove_file(&path);
    mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    path
}

#[tokio::test]
async fn a_journal_that_hangs_keeps_no_gate_closed() {
    let (world, old, _new) = kept(Fault::None, 200).await;
    let journal = hanging_journal(&world);
    let entry = world.control.entry("shop").unwrap();
    entry.service.gate.close(Reason::Unavailable);
    world.control.follow(&entry);
    until("the gate is open", || world.status().closed.is_empty()).await;
    assert_eq!(world.status().targets, std::slice::from_ref(&old.app.address));
    until("the record is being written", || entry.now().phase.is_none()).await;
    // Lets go of all that wait there, and of whoever would.
    let other_end = std::fs::OpenOptions::new().read(true).write(true).open(&journal).unwrap();
    std::fs::remove_file(journal).unwrap();
    drop(other_end);
}

#[tokio::test]
async fn a_journal_that_takes_its_time_keeps_nobody_waiting() {
    let world = World::new();
    let path = hanging_journal(&world);
    let other_end = async { drop(std::fs::OpenOptions::new().write(true).open(&path).unwrap()) };
    let (records, ()) = tokio::join!(world.control.handoffs("shop", 1), other_end);
    assert!(records.unwrap().is_empty());
}
