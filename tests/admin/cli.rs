//! The contract's cases of the command line (15.1), under the name that Kamal calls.

use crate::world::{Home, Proxy, Said, app};

#[test]
fn without_arguments_help_names_the_commands() {
    let said = Home::new().kamal(&[]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    for command in ["deploy", "help", "list", "pause", "remove", "resume", "rollout", "run", "stop"] {
        assert!(said.out.lines().any(|line| line.trim_start().starts_with(command)), "{command}: {}", said.out);
    }
    for args in [&["help"][..], &["--help"], &["-h"]] {
        assert_eq!(Home::new().kamal(args), said, "{args:?}");
    }
}

#[test]
fn every_command_has_help_on_stdout() {
    let home = Home::new();
    for args in [&["deploy", "--help"][..], &["help", "deploy"], &["deploy", "s1", "-h"]] {
        let said = home.kamal(args);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{args:?}");
        assert!(said.out.contains("--target strings") && said.out.contains("kamal-proxy deploy"), "{}", said.out);
    }
    for args in [&["rollout"][..], &["rollout", "bogus"]] {
        let said = home.kamal(args);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{args:?}");
        assert!(said.out.contains("rollout deploy"), "{}", said.out);
    }
}

#[test]
fn an_unknown_command_is_an_error_of_two_lines() {
    let said = Home::new().kamal(&["foo"]);
    let expected = "Error: unknown command \"foo\" for \"kamal-proxy\"\nRun 'kamal-proxy --help' for usage.\n";
    assert_eq!(said, Said { code: 1, out: String::new(), err: expected.into() });
    let said = Home::new().lockgate(&["stopp"]);
    let expected = "Error: unknown command \"stopp\" for \"lockgate\"\n\nDid you mean this?\n\tstop\n\n\
                    Run 'lockgate --help' for usage.\n";
    assert_eq!(said.err, expected);
}

#[test]
fn mistakes_are_named_before_anybody_is_asked() {
    let home = Home::new();
    let invalid = "service options invalid:";
    let no_unit = "invalid argument \"5\" for \"--drain-timeout\" flag: time: missing unit in duration \"5\"";
    for (args, error) in [
        ("list extra", "unknown command \"extra\" for \"kamal-proxy list\"".to_owned()),
        ("deploy", "accepts 1 arg(s), received 0".into()),
        ("deploy a b --target xx", "accepts 1 arg(s), received 2".into()),
        ("deploy s1", "required flag(s) \"target\" not set".into()),
        ("deploy s1 --bogus", "unknown flag: --bogus".into()),
        ("deploy s1 --target", "flag needs an argument: --target".into()),
        ("deploy s1 --target xx --drain-timeout 5", no_unit.into()),
        ("deploy s1 --target xx --tls", format!("{invalid} host must be set when using TLS")),
        ("deploy s1 --target xx --tls --host=", format!("{invalid} host must be set when using TLS")),
        ("deploy s1 --target xx --tls --host *.e.test --host=,", format!("{invalid} host must be set when using TLS")),
        (
            "deploy s1 --target xx --tls --tls-on-demand-url /x --host e.test",
            format!("{invalid} cannot set hosts when using a TLS on-demand URL"),
        ),
        (
            "deploy s1 --target xx --tls --tls-on-demand-url ftp://e/x",
            format!("{invalid} unsupported scheme \"ftp\" in tls-on-demand-url"),
        ),
        (
            "deploy s1 --target xx --tls-on-demand-url /x",
            format!("{invalid} TLS must be enabled to use a TLS on-demand URL"),
        ),
        (
            "deploy s1 --target xx --tls --host e.test --path-prefix /api",
            format!("{invalid} TLS settings must be specified on the root path service"),
        ),
        (
            "deploy s1 --target xx --host example.com --host www.example.com --canonical-host api.example.com",
            format!(
                "{invalid} canonical-host 'api.example.com' must be present in the hosts list: [example.com \
                 www.example.com]"
            ),
        ),
        ("deploy s1 --max-request-body 5", "max-request-body can only be set when request buffering is enabled".into()),
        (
            "deploy s1 --target xx --tls-certificate-path a",
            "if any flags in the group [tls-certificate-path tls-private-key-path] are set they must all be set; \
             missing [tls-private-key-path]"
                .into(),
        ),
        ("rollout set s1", "at least one of the flags in the group [percent list] is required".into()),
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        home.kamal(&args).fails(&error);
    }
}

#[test]
fn without_a_daemon_the_socket_is_named() {
    let home = Home::new();
    for args in ["list", "pause s1", "deploy s1 --target xx", "remove s1", "status", "handoffs", "rollout stop s1"] {
        let args: Vec<&str> = args.split(' ').collect();
        let path = home.socket();
        home.kamal(&args).fails(&format!("dial unix {}: connect: no such file or directory", path.display()));
    }
}

#[test]
fn the_sockets_path_follows_the_environment() {
    let home = Home::new();
    let failed = |pairs: &[(&str, &str)]| {
        let mut command = home.command(crate::world::KAMAL_PROXY);
        command.env_remove("KAMAL_PROXY_SOCKET").env_remove("TMPDIR").arg("list");
        command.envs(pairs.iter().copied());
        Said::from(command.output().expect("it starts")).err
    };
    let error = |path: &str| format!("Error: dial unix {path}: connect: no such file or directory\n");
    assert_eq!(failed(&[("KAMAL_PROXY_SOCKET", "/none/k"), ("XDG_RUNTIME_DIR", "/none")]), error("/none/k"));
    assert_eq!(failed(&[("XDG_RUNTIME_DIR", "/none"), ("TMPDIR", "/t")]), error("/none/kamal-proxy.sock"));
    assert_eq!(failed(&[("TMPDIR", "/none/t")]), error("/none/t/kamal-proxy.sock"));
}

#[test]
fn a_socket_that_nobody_serves_is_a_refused_connection() {
    let home = Home::new();
    drop(std::os::unix::net::UnixListener::bind(home.socket()).expect("bound"));
    home.kamal(&["list"]).fails(&format!("dial unix {}: connect: connection refused", home.socket().display()));
}

#[test]
fn a_daemon_that_dies_mid_call_is_an_unexpected_end() {
    let home = Home::new();
    let listener = std::os::unix::net::UnixListener::bind(home.socket()).expect("bound");
    let death = std::thread::spawn(move || drop(listener.accept().expect("a client")));
    home.kamal(&["list"]).fails("unexpected EOF");
    death.join().expect("it died");
}

#[test]
fn every_command_makes_the_data_directory() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    home.kamal(&["help"]);
    let data = std::fs::metadata(home.path().join(".config/kamal-proxy")).expect("made");
    assert_eq!(data.permissions().mode() & 0o777, 0o700);
}

#[test]
fn an_unknown_service_is_not_found() {
    let home = Home::new();
    let _proxy = Proxy::at(&home);
    for args in [
        "pause nope",
        "stop nope",
        "resume nope",
        "remove nope",
        "status nope",
        "abort nope",
        "rollout stop nope",
        "rollout set nope --percent 5",
        "rollout deploy nope --target xx",
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        home.kamal(&args).fails("service not found");
    }
}

#[test]
fn a_bad_target_is_refused_by_the_daemon() {
    let home = Home::new();
    let _proxy = Proxy::at(&home);
    for target in ["a:80", "http://x:80", "[::1]:80", "foo/bar", "_", "/"] {
        home.kamal(&["deploy", "s1", "--target", target]).fails(&format!("{target} :invalid host pattern"));
    }
    for target in ["ab:0", "ab:99999"] {
        let said = home.kamal(&["deploy", "s1", "--target", target]);
        said.fails("target failed to become healthy within configured timeout (30s)");
        assert!(said.err.contains(&format!("{target}: its port must be 1 to 65535")), "{said:?}");
    }
}

#[test]
fn a_command_warns_where_its_result_could_not_be_saved() {
    let (home, app) = (Home::new(), app());
    let _proxy = Proxy::at(&home);
    let state = home.path().join(".config/kamal-proxy/kamal-proxy.state");
    let in_the_way = state.with_extension("state.new");
    std::fs::create_dir(&in_the_way).expect("made");
    let error = format!("not saved, a restart of the proxy would undo it: {}: Is a directory", state.display());
    for args in [&["deploy", "s1", "--target", &app][..], &["stop", "s1"], &["resume", "s1"], &["remove", "s1"]] {
        let said = home.kamal(args);
        assert!(said.code == 0 && said.err.starts_with(&format!("Warning: {error}")), "{args:?}: {said:?}");
    }
    std::fs::remove_dir(&in_the_way).expect("removed");
    assert_eq!(home.kamal(&["deploy", "s1", "--target", &app]).err, "");
}

#[test]
fn an_empty_list_is_its_header() {
    let home = Home::new();
    let _proxy = Proxy::at(&home);
    let said = home.kamal(&["list"]);
    let header = ["Service", "Host", "Path", "Target", "State", "TLS"].map(|cell| format!("\x1b[3;94m{cell}\x1b[0m  "));
    assert_eq!(said, Said { code: 0, out: header.concat() + "\n", err: String::new() });
    assert_eq!(home.kamal(&["list", "--json"]).out, "[]\n");
}

#[test]
fn services_are_listed_as_the_contract_shows_them() {
    let (home, app) = (Home::new(), app());
    let _proxy = Proxy::at(&home);
    home.kamal(&["deploy", "s2", "--target", &app]).succeeds();
    let hosts = ["--host", "a.test,b.test", "--host", "c.test", "--path-prefix", "/api/", "--path-prefix=x"];
    home.kamal(&[&["deploy", "s1", "--target", &app][..], &hosts].concat()).succeeds();
    home.kamal(&["stop", "s1"]).succeeds();
    let cell = |text: &str, width: usize| format!("\x1b[m{text}\x1b[0m{}", " ".repeat(width - text.len() + 2));
    let first = |text: &str| format!("\x1b[1;34m{text}\x1b[0m{}", " ".repeat(7));
    let row = |name, host, path, state| {
        first(name) + &cell(host, 20) + &cell(path, 7) + &cell(&app, app.len()) + &cell(state, 7) + &cell("no", 3)
    };
    let expected = [row("s1", "a.test,b.test,c.test", "/api,/x", "stopped"), row("s2", "*", "/", "running")];
    for command in ["list", "ls"] {
        let said = home.kamal(&[command]);
        assert_eq!(said.out.lines().skip(1).collect::<Vec<_>>(), expected, "{command}");
    }
}

#[test]
fn services_may_have_any_name() {
    let (home, app) = (Home::new(), app());
    let _proxy = Proxy::at(&home);
    for name in ["", "a b/c\"é", "..", "%41"] {
        home.kamal(&["deploy", name, "--target", &app]).succeeds();
        let listed: serde_json::Value = serde_json::from_str(&home.kamal(&["list", "--json"]).out).expect("JSON");
        assert_eq!(listed[0]["service"], name);
        home.kamal(&["pause", name]).succeeds();
        home.kamal(&["resume", name]).succeeds();
        assert!(home.lockgate(&["handoffs", name]).code == 0);
        home.kamal(&["remove", name]).succeeds();
        assert_eq!(home.kamal(&["list", "--json"]).out, "[]\n");
    }
}

#[test]
fn flags_may_stand_anywhere_and_aliases_work() {
    let (home, app) = (Home::new(), app());
    let _proxy = Proxy::at(&home);
    let target = format!("--target={app}");
    home.kamal(&["deploy", "s1", &target, "--force=true", "--tls=false", "--drain-timeout=1h2m3.5s"]).succeeds();
    home.kamal(&["deploy", "--target", &app, "--", "s1"]).succeeds();
    home.kamal(&["rm", "s1"]).succeeds();
}

#[test]
fn several_services_are_commanded_at_once() {
    let (home, app) = (Home::new(), app());
    let _proxy = Proxy::at(&home);
    for (name, host) in [("s1", "a.test"), ("s2", "b.test"), ("s3", "c.test")] {
        home.lockgate(&["deploy", name, "--target", &app, "--host", host]).succeeds();
    }
    let states = || {
        let listed: Vec<serde_json::Value> =
            serde_json::from_str(&home.lockgate(&["status", "--json"]).out).expect("JSON");
        listed.iter().map(|service| service["state"].as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    home.lockgate(&["pause", "s1", "s3"]).succeeds();
    assert_eq!(states(), ["paused", "running", "paused"]);
    home.lockgate(&["stop", "s2", "nope"]).fails("service not found");
    assert_eq!(states(), ["paused", "running", "paused"], "nothing was closed");
    home.lockgate(&["resume", "--all"]).succeeds();
    assert_eq!(states(), ["running", "running", "running"]);
}

#[test]
fn options_without_effect_yet_are_said_in_one_line() {
    let (home, app) = (Home::new(), app());
    let _proxy = Proxy::at(&home);
    let said = home.kamal(&["deploy", "s1", "--target", &app, "--read-target", "ab", "--error-pages", "/x"]);
    assert_eq!(said.err, "Warning: no effect yet: --error-pages, --read-target\n");
    assert_eq!(said.code, 0);
    let said = home.kamal(&["deploy", "s2", "--target", &app, "--host", "e.test", "--tls"]);
    assert_eq!(said.err, "Warning: --tls: HTTPS is not served yet, HTTP is not redirected\n");
}

#[test]
fn phases_are_shown_only_if_asked_where_nobody_looks() {
    let (home, app) = (Home::new(), app());
    let _proxy = Proxy::at(&home);
    let quiet = home.lockgate(&["deploy", "s1", "--target", &app]);
    assert_eq!((quiet.code, quiet.err.as_str()), (0, ""));
    let plain = home.lockgate(&["deploy", "s1", "--target", &app, "--progress=plain"]);
    assert!(plain.err.lines().any(|line| line.contains("s flip")), "{plain:?}");
}

#[test]
fn what_happened_is_shown() {
    let (home, app) = (Home::new(), app());
    let _proxy = Proxy::at(&home);
    home.lockgate(&["deploy", "s1", "--target", &app]).succeeds();
    home.lockgate(&["deploy", "s1", "--target", &app]).succeeds();
    let records: Vec<serde_json::Value> =
        serde_json::from_str(&home.lockgate(&["handoffs", "--json"]).out).expect("JSON");
    assert_eq!(records[0]["service"], "s1");
    assert_eq!(records[0]["kind"], "overlap");
    assert!(records[0]["asked_by"].as_str().expect("text").starts_with("uid "), "{records:?}");
    let shown = home.lockgate(&["handoffs", "s1", "--phases"]);
    assert!(shown.out.contains("overlap") && shown.out.starts_with("BEGAN"), "{shown:?}");
    let status = home.lockgate(&["status", "s1"]);
    assert!(status.out.lines().nth(1).is_some_and(|line| line.starts_with("s1")), "{status:?}");
}

#[test]
fn a_services_section_decides_unless_the_flag_does() {
    let (home, app) = (Home::new(), app());
    let file = home.path().join("lockgate.toml");
    std::fs::write(&file, "[service.'s*']\nhandoff = \"drain\"\n").expect("written");
    let mut command = home.command(crate::world::LOCKGATE);
    command.args(["run", "--http-port=0", "--config"]).arg(&file);
    let _proxy = Proxy::spawn(&home, command);
    let kind = |flags: &[&str]| {
        home.lockgate(&[&["deploy", "s1", "--target", &app][..], flags].concat()).succeeds();
        let records: Vec<serde_json::Value> =
            serde_json::from_str(&home.lockgate(&["handoffs", "s1", "--json"]).out).expect("JSON");
        records[0]["kind"].as_str().expect("text").to_owned()
    };
    kind(&[]); // the first has nothing to hand over
    assert_eq!(kind(&[]), "drain");
    assert_eq!(kind(&["--handoff=auto"]), "overlap");
}
