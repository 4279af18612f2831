//! Precedence, places of errors, and the file that ships.

use super::*;

const SHIPPED: &str = include_str!("../../config/lockgate.toml");

fn file(text: &str) -> File {
    File { path: "lockgate.toml".into(), text: text.into() }
}

fn load(text: &str) -> Result<Settings, String> {
    Settings::load(&BTreeMap::new(), &|_| None, Some(&file(text))).map_err(|error| error.to_string())
}

fn flags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_file_that_ships_holds_every_setting_with_its_default() {
    let shipped = load(SHIPPED).expect("it loads");
    assert_eq!(shipped, Settings::default());
    let file = file(SHIPPED);
    let table = reader::parse(&file).expect("it parses");
    let in_file: Vec<&str> = table.keys().map(|key| key.get_ref().as_ref()).filter(|key| *key != "service").collect();
    let mut listed: Vec<&str> = keys::KEYS.iter().map(|key| key.name).collect();
    listed.sort_unstable();
    assert_eq!(in_file, listed, "the file and the list name the same settings");
    let flags = BTreeMap::new();
    let mut reader = Reader::top(None, None, Over { flags: &flags, env: &|_| None });
    Settings::read(&mut reader, &|_| None).expect("the defaults hold");
    assert_eq!(reader.asked(), listed, "the code asks for what is listed");
}

#[test]
fn every_setting_of_the_file_that_ships_has_a_comment() {
    let mut commented = false;
    for line in SHIPPED.lines() {
        match line.trim() {
            "" => commented = false,
            text if text.starts_with('#') => commented = true,
            text if text.contains(" = ") => assert!(commented, "{text} has no comment"),
            _ => {}
        }
    }
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_the_default() {
    let port = |flag: &[(&str, &str)], env: &'static str, text: &str| {
        let env = move |name: &str| (name == "LOCKGATE_HTTP_PORT" && !env.is_empty()).then(|| env.to_owned());
        Settings::load(&flags(flag), &env, Some(&file(text))).expect("valid").http_port
    };
    assert_eq!(port(&[("http-port", "1")], "2", "http-port = 3"), 1);
    assert_eq!(port(&[], "2", "http-port = 3"), 2);
    assert_eq!(port(&[], "", "http-port = 3"), 3);
    assert_eq!(port(&[], "", ""), 80);
}

#[test]
fn kamal_proxys_own_names_count_as_the_contract_says() {
    let port = |pairs: &'static [(&'static str, &'static str)]| {
        let env = move |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Settings::load(&BTreeMap::new(), &env, None).expect("valid").http_port
    };
    assert_eq!(port(&[("HTTP_PORT", "81")]), 81);
    assert_eq!(port(&[("KAMAL_PROXY_HTTP_PORT", "82"), ("HTTP_PORT", "81")]), 82);
    assert_eq!(port(&[("KAMAL_PROXY_HTTP_PORT", "zz"), ("HTTP_PORT", "81")]), 80);
    assert_eq!(port(&[("LOCKGATE_HTTP_PORT", "83"), ("KAMAL_PROXY_HTTP_PORT", "82")]), 83);
    assert_eq!(port(&[("WORKERS", "3")]), 80, "no other name is read without a prefix");
}

#[test]
fn a_variable_of_ours_that_is_empty_counts_as_not_set() {
    let env = |name: &str| name.starts_with("LOCKGATE_").then(String::new);
    let settings = Settings::load(&BTreeMap::new(), &env, Some(&file("workers = 3"))).expect("valid");
    assert_eq!(settings, load("workers = 3").expect("valid"));
}

#[test]
fn a_variable_of_ours_that_cannot_be_read_is_an_error() {
    let env = |name: &str| (name == "LOCKGATE_MAX_HOLD").then(|| "5".to_owned());
    let error = Settings::load(&BTreeMap::new(), &env, None).unwrap_err().to_string();
    assert_eq!(error, "LOCKGATE_MAX_HOLD: max-hold: time: missing unit in duration \"5\"");
}

#[test]
fn a_flag_is_refused_as_it_was_written() {
    let error = Settings::load(&flags(&[("stop-timeout", "-1m")]), &|_| None, None).unwrap_err().to_string();
    assert_eq!(error, "stop-timeout: time: negative duration \"-1m\"");
}

#[test]
fn errors_name_line_and_column() {
    for (text, error) in [
        ("\n  max-holdd = \"5s\"", "2:3: unknown setting `max-holdd`, did you mean `max-hold`?"),
        ("workers = 2\nhttp-port = \"80\"", "2:13: http-port: expected a port, not \"80\""),
        ("max-hold = \"0\"", "1:12: max-hold: must be above 0, else no request could wait"),
        ("release-concurrency = 20\nmax-held = 10", "1:23: release-concurrency: must not be above max-held"),
        ("max-held = 10", "1:12: release-concurrency: must not be above max-held"),
        ("max-hold = \"10s\"\nhandoff-timeout = \"9s\"", "2:19: handoff-timeout: must not be below max-hold"),
        ("head-timeout = \"0s\"", "1:16: head-timeout: must be above 0, else no request could come"),
        ("head-timeout = \"80s\"", "1:16: head-timeout: must not be above idle-timeout"),
        ("held-body-each = \"1GiB\"", "1:18: held-body-each: must not be above held-body-all"),
        ("http-port = 70000", "1:13: listen tcp: address 70000: invalid port"),
        ("keeper = \"app:0\"", "1:10: keeper: expected host:port, not \"app:0\""),
        ("on-busy = 3", "1:11: on-busy: expected wait or fail, not the integer 3"),
        ("bind = [\"::\"]", "1:8: bind: expected an IP address, not a value of the type array"),
        ("service = 3", "1:11: service: expected tables such as [service.shop]"),
        ("[service]\nshop = 1", "2:8: service.shop: expected a table"),
        ("[service.shop]\nhttp-port = 1", "2:1: `http-port` is a setting of the proxy, not of a service"),
        ("[service.shop]\nkeper = \"a:1\"", "2:1: unknown setting `keper` of a service, did you mean `keeper`?"),
        ("[service.'é*']\nmax-hold = \"é\"", "2:12: service.é*.max-hold: time: invalid duration \"é\""),
        ("workers = 2\n[service.\"[a\"]", "2:10: service.[a: a [ that nothing closes"),
        ("workers = 100000000", "1:11: workers: must not be above 1024: each is a thread"),
        ("max-hold = \"-5s\"", "1:12: max-hold: time: negative duration \"-5s\""),
        (
            "[service.shop]\nmax-hold = \"0s\"",
            "2:12: service.shop.max-hold: must be above 0, else no request could wait",
        ),
    ] {
        assert_eq!(load(text).unwrap_err(), format!("lockgate.toml:{error}"), "{text}");
    }
}

#[test]
fn a_syntax_error_names_line_and_column_too() {
    let error = load("workers = 2\nmax-hold = ").unwrap_err();
    assert!(error.starts_with("lockgate.toml:2:"), "{error}");
    let twice = load("workers = 2\nworkers = 2").unwrap_err();
    assert_eq!(twice, "lockgate.toml:2:1: duplicate key");
}

#[test]
fn the_most_exact_service_section_wins_and_inherits_the_general_settings() {
    let settings = load(
        "max-held = 500\n[service.'*']\nmax-hold = \"30s\"\n[service.'shop-*']\nhandoff = \"drain\"\n\
         [service.shop-web]\nkeeper = \"127.0.0.1:8647\"\n",
    )
    .expect("valid");
    assert_eq!(settings.for_service("blog").max_hold, Duration::from_secs(30));
    assert_eq!(settings.for_service("blog").handoff_timeout, Duration::from_secs(30), "it follows max-hold");
    assert_eq!(settings.for_service("shop-jobs").handoff, Handoff::Drain);
    assert_eq!(settings.for_service("shop-jobs").max_hold, Duration::from_secs(25));
    let web = settings.for_service("shop-web");
    assert_eq!(web.keeper.as_ref().map(Target::as_str), Some("127.0.0.1:8647"));
    assert_eq!((web.handoff, web.max_held), (Handoff::Auto, 500));
}

#[test]
fn a_file_that_was_named_must_exist() {
    let error = find_file(Some("/nowhere/lockgate.toml"), &BTreeMap::new(), &|_| None).unwrap_err();
    assert_eq!(error.to_string(), "/nowhere/lockgate.toml: No such file or directory (os error 2)");
}

#[test]
fn the_file_lies_beside_the_data_unless_named() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("lockgate.toml"), "workers = 7").expect("written");
    let data = flags(&[("data", dir.path().to_str().expect("text"))]);
    let found = find_file(None, &data, &|_| None).expect("readable").expect("found");
    assert_eq!(Settings::load(&data, &|_| None, Some(&found)).expect("valid").workers, 7);
}
