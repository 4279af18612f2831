use std::os::unix::fs::MetadataExt;

use lockgate::wire::Role;

use super::world::{Keeper, KeeperBuilder, descendants, is_alive, until};
use super::{Home, is_root};

#[test]
fn the_first_keeper_takes_the_lease_at_once_and_is_confirmed_at_birth() {
    let home = Home::new();
    let keeper = home.holder();
    let status = keeper.status();
    assert_eq!((status.role, status.epoch, status.confirmed), (Role::Holder, 1, true));
    assert_eq!(status.holder.unwrap().id, status.id);
    assert_eq!(status.last_confirmed.unwrap(), status.id);
}

#[test]
fn the_second_keeper_stands_by_and_says_whom_it_waits_for() {
    let home = Home::new();
    let first = home.holder();
    let mut second = home.keeper().start();
    let id = first.status().id;
    second.says(&format!("stands by: waits for {id} (epoch 1, control {})", first.control()));
    let status = second.status();
    assert_eq!((status.role, status.epoch), (Role::Standby, 1));
    assert_eq!(status.holder.unwrap().control, first.control());
    assert_eq!(status.lease, first.status().lease);
    assert!(second.app_said().is_empty());
}

#[test]
fn a_standby_with_the_holders_own_id_says_so_loudly() {
    let home = Home::new();
    let first = home.holder();
    let other = first.control().replace("127.0.0.1", "127.0.0.2");
    let mut second = home.keeper().option("--control", other).start();
    let id = first.status().id;
    second.says(&format!("a keeper with this one's own id, {id} (control {}): give", first.control()));
    assert_eq!(second.status().holder.unwrap().control, first.control());
}

#[test]
fn the_greeting_never_shows_a_standby_that_is_about_to_acquire() {
    let home = Home::new();
    let keeper = home.keeper().start();
    assert_ne!(keeper.status().role, Role::Standby);
}

#[test]
fn a_database_that_does_not_exist_yet_can_be_kept() {
    let home = tempfile::tempdir().unwrap();
    let database = home.path().join("new.sqlite3");
    let mut keeper = Keeper::of(&database);
    keeper.app_says("up 1");
    assert!(home.path().join("new.sqlite3.lockgate/lease").exists());
}

#[test]
fn the_exit_code_is_the_apps_or_128_and_its_signal() {
    for (app, code) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137)] {
        let home = Home::new();
        let (status, _, _) = home.keeper().app(app).run();
        assert_eq!(status, Some(code), "{app}");
    }
}

#[test]
fn a_command_that_cannot_be_executed_ends_with_127_or_126() {
    let home = Home::new();
    let (code, _, words) = home.keeper().command(["/no/such/app"]).run();
    assert_eq!(code, Some(127));
    assert!(words.contains("error: cannot execute /no/such/app: "), "{words}");
    let (code, _, _) = home.keeper().command(["no-such-app-anywhere"]).run();
    assert_eq!(code, Some(127));
    let file = home.path().join("plain");
    std::fs::write(&file, "x").unwrap();
    let (code, _, _) = home.keeper().command([file.to_str().unwrap()]).run();
    assert_eq!(code, Some(126));
}

#[test]
fn errors_of_its_own_end_with_1_and_name_what_is_wrong() {
    let home = Home::new();
    let database = home.database();
    for (keeper, text) in [
        (KeeperBuilder::of(&database).option("--grace", "soon"), "--grace: \"soon\" is not valid"),
        (KeeperBuilder::plain(), "no --database given"),
        (KeeperBuilder::of("/no/such/volume/a.db".as_ref()), "cannot look in /no/such/volume"),
        (KeeperBuilder::of(home.path()), "this is a directory; name the database file in it"),
        (KeeperBuilder::of(&home.path().join("[")), "this pattern matches no file: nothing closes its ["),
        (
            KeeperBuilder::of(&database).option("--lease", "/no/such/place/l"),
            "cannot use the lease directory /no/such/place/l",
        ),
        (
            KeeperBuilder::of(&database).option("--token-file", "/no/such/token"),
            "cannot read the token file /no/such/token",
        ),
        (KeeperBuilder::of(&database).option("--lease", "/dev/shm/lockgate-test-lease"), "on different file systems"),
    ] {
        let (code, _, words) = keeper.run();
        assert_eq!(code, Some(1), "{words}");
        assert!(words.contains(text), "{words}");
    }
}

#[test]
fn a_control_port_that_is_taken_ends_it_before_it_has_touched_the_lease() {
    let (home, other) = (Home::new(), Home::new());
    let first = home.holder();
    let builder = KeeperBuilder::of(&other.database()).option("--control", first.control());
    let (code, said, words) = builder.run();
    assert_eq!((code, said.as_str()), (Some(1), ""));
    assert!(words.contains("it is taken by another process"), "{words}");
    Keeper::of(&other.database()).app_says("up 1");
}

#[test]
fn what_does_not_match_when_and_everything_while_off_runs_without_the_lease() {
    let home = Home::new();
    let _keeper = home.holder();
    let builder = || home.keeper().option("--when", "*server*");
    let (code, said, words) = builder().app("echo console; exit 3").run();
    assert_eq!((code, said.as_str()), (Some(3), "console\n"));
    assert!(words.contains("runs without the lease"), "{words}");
    let (code, said, _) = builder().environment("LOCKGATE_KEEP", "off").app("echo server; exit 4").run();
    assert_eq!((code, said.as_str()), (Some(4), "server\n"));
}

#[test]
fn every_option_may_come_from_the_environment() {
    let home = Home::new();
    let mut keeper = KeeperBuilder::plain()
        .environment("LOCKGATE_KEEP_DATABASE", home.database().to_str().unwrap())
        .environment("LOCKGATE_KEEP_SERVICE", "shop")
        .environment("LOCKGATE_MAX_HOLD", "9s")
        .start();
    keeper.app_says("up 1");
    let status = keeper.status();
    assert_eq!(status.service.as_deref(), Some("shop"));
    assert_eq!(status.wishes.get("max-hold").map(String::as_str), Some("9s"));
}

#[test]
fn the_app_inherits_the_lock_high_up_and_nothing_else() {
    let home = Home::new();
    let (code, said, _) = home.keeper().command(["ls", "-l", "/proc/self/fd"]).run();
    assert_eq!(code, Some(0));
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("lockgate")).collect();
    let [line] = ours.as_slice() else { panic!("{said}") };
    let number: i32 = line.split(" -> ").next().unwrap().split_whitespace().next_back().unwrap().parse().unwrap();
    assert!(line.ends_with("/live") && number >= 900, "{line}");
}

#[test]
fn the_app_starts_with_clean_signals() {
    let home = Home::new();
    let command = ["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"];
    let (_, said, _) = home.keeper().command(command).run();
    for line in said.lines() {
        let set = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
        // The C library keeps 32 and 33 for itself: whoever started us may have them set.
        assert_eq!(set & !(0b11 << 31), 0, "{said}");
    }
    assert_eq!(said.lines().count(), 2);
}

#[test]
fn where_few_descriptors_are_allowed_the_highest_is_inherited() {
    let home = Home::new();
    let script = "ls -l /proc/$$/fd | grep lockgate; exec sleep 1000";
    let builder = home.keeper().app(script);
    let mut keeper = builder.by(["sh", "-c", "ulimit -n 64; exec \"$@\"", "sh"]).start();
    assert!(keeper.app_says("/live").contains(" 63 -> "));
}

#[test]
fn told_to_stop_it_stops_its_app_marks_the_record_and_exits_0() {
    let home = Home::new();
    let app = "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.05; done";
    let mut keeper = home.keeper().app(app).start();
    keeper.app_says("up");
    keeper.signal(libc::SIGTERM);
    keeper.app_says("bye");
    assert_eq!(keeper.ends(), 0);
    assert!(home.record().left);
    home.keeper().start().app_says("up 2");
    assert!(!home.record().left, "a new epoch");
}

#[test]
fn a_standby_told_to_stop_exits_at_once_and_a_waiting_one_takes_over_what_was_left() {
    let home = Home::new();
    let mut first = home.holder();
    let mut standby = home.keeper().start();
    standby.says("stands by");
    let mut heir = home.keeper().start();
    standby.signal(libc::SIGTERM);
    assert_eq!(standby.ends(), 0);
    first.signal(libc::SIGINT);
    assert_eq!(first.ends(), 0);
    heir.app_says("up 2");
    assert!(heir.status().confirmed);
}

#[test]
fn other_signals_are_passed_on() {
    let home = Home::new();
    let app = "trap 'echo hup' HUP; trap 'echo usr1' USR1; echo up; while :; do sleep 0.05; done";
    let mut keeper = home.keeper().app(app).start();
    keeper.app_says("up");
    keeper.signal(libc::SIGHUP);
    keeper.app_says("hup");
    keeper.signal(libc::SIGUSR1);
    keeper.app_says("usr1");
}

#[test]
fn the_stop_signal_can_be_chosen() {
    let home = Home::new();
    let app = "trap 'echo quit; exit 0' QUIT; trap '' TERM; echo up; while :; do sleep 0.05; done";
    let mut keeper = home.keeper().option("--stop-signal", "QUIT").app(app).start();
    keeper.app_says("up");
    keeper.signal(libc::SIGTERM);
    keeper.app_says("quit");
    assert_eq!(keeper.ends(), 0);
}

#[test]
fn orphans_are_taken_in() {
    let home = Home::new();
    let app = "(sleep 0.1 & echo orphan $!) ; echo up; exec sleep 1000";
    let mut keeper = home.keeper().app(app).start();
    let orphan: i32 = keeper.app_says("orphan").split(' ').nth(1).unwrap().parse().unwrap();
    keeper.app_says("up");
    until("the orphan's end, without a zombie", || !std::path::Path::new(&format!("/proc/{orphan}")).exists());
    assert_eq!(keeper.status().role, Role::Holder);
}

#[test]
fn as_pid_1_it_ends_everything_in_its_container() {
    if !is_root() {
        return eprintln!("skipped: needs root for a pid namespace");
    }
    let home = Home::new();
    let builder = home.keeper().app("setsid sleep 998 & echo up; exec sleep 999");
    let mut keeper = builder.by(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]).start();
    keeper.app_says("up");
    let inside = *descendants(keeper.pid()).first().unwrap();
    // A console beside the app, as by `docker exec`: no child of PID 1.
    let enter = ["--pid", "--mount", "--target", &inside.to_string(), "sleep", "997"].map(str::to_owned);
    let mut console = std::process::Command::new("nsenter").args(enter).spawn().unwrap();
    until("the console", || !descendants(console.id().try_into().unwrap()).is_empty());
    rustix::process::kill_process(rustix::process::Pid::from_raw(inside).unwrap(), rustix::process::Signal::TERM)
        .unwrap();
    let line = keeper.says("processes outlived the app, killed: ");
    assert_eq!(line.matches('(').count(), 2, "the daemon and the console: {line}");
    assert_eq!(keeper.ends(), 0);
    assert!(!console.wait().unwrap().success());
    assert!(!is_alive(inside));
}

#[test]
fn the_lease_directory_is_owned_like_the_databases_directory() {
    if !is_root() {
        return eprintln!("skipped: needs root to give files away");
    }
    let home = Home::new();
    std::os::unix::fs::chown(home.path(), Some(1000), Some(1000)).unwrap();
    std::os::unix::fs::chown(home.database(), Some(1000), Some(1000)).unwrap();
    let _keeper = home.holder();
    for name in ["", "lease", "live", "ticket"] {
        assert_eq!(std::fs::metadata(home.lease().join(name)).unwrap().uid(), 1000, "{name}");
    }
}
