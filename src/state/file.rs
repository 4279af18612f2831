//! The file: read entry by entry, written whole or not at all.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::de::{DeserializeSeed, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::saved::SavedService;

/// The state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Reading or writing failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What a file held. A bad entry costs the others nothing.
#[derive(Debug, Default, PartialEq)]
pub struct Loaded {
    /// The services, as they stood.
    pub services: Vec<SavedService>,
    /// Entries that are no services: kept as they are, to be written again, with what is wrong with each.
    pub bad: Vec<(Value, String)>,
    /// Why the file ended before its end, if it did.
    pub cut_short: Option<String>,
}

/// Reads the file; `None` where there is none.
///
/// # Errors
/// [`StateError`] where there is one and it cannot be read.
pub fn load(path: &Path) -> Result<Option<Loaded>, StateError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(parse(&bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::Io { path: path.to_owned(), source }),
    }
}

fn parse(bytes: &[u8]) -> Loaded {
    let (entries, cut_short) = entries(bytes);
    let mut loaded = Loaded { cut_short, ..Loaded::default() };
    for entry in entries {
        match service(entry.clone()) {
            Ok(service) => loaded.services.push(service),
            Err(why) => loaded.bad.push((entry, why)),
        }
    }
    loaded
}

/// The array's entries up to the first byte that is no JSON, and what was wrong there.
fn entries(bytes: &[u8]) -> (Vec<Value>, Option<String>) {
    struct Collect<'a>(&'a mut Vec<Value>);

    impl<'de> DeserializeSeed<'de> for Collect<'_> {
        type Value = ();
        fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_seq(self)
        }
    }

    impl<'de> Visitor<'de> for Collect<'_> {
        type Value = ();
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an array of services")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
            while let Some(entry) = seq.next_element()? {
                self.0.push(entry);
            }
            Ok(())
        }
    }

    let mut found = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let end = Collect(&mut found).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    (found, end.err().map(|error| error.to_string()))
}

fn service(entry: Value) -> Result<SavedService, String> {
    let Value::Object(mut object) = with_known_keys(entry) else { return Err("not an object".into()) };
    legacy(&mut object);
    let service: SavedService = serde_json::from_value(Value::Object(object)).map_err(|error| error.to_string())?;
    if service.active_targets.is_empty() { Err("no active_targets".into()) } else { Ok(service) }
}

/// Objects whose keys are ours to know.
const OBJECTS: [&str; 5] = ["options", "target_options", "health_check_config", "pause_controller", "lockgate"];

/// Keys match whatever their case, as in the program that this format comes from; a known key's `null` counts as absent.
fn with_known_keys(value: Value) -> Value {
    let Value::Object(object) = value else { return value };
    let mut known = Map::new();
    for (key, value) in object {
        let lower = key.to_ascii_lowercase();
        if !is_known(&lower) {
            known.insert(key, value);
        } else if !value.is_null() {
            let value = if OBJECTS.contains(&lower.as_str()) { with_known_keys(value) } else { value };
            known.insert(lower, value);
        }
    }
    known.into()
}

/// Whether the default service, written out, has this key somewhere, or old versions had it.
fn is_known(key: &str) -> bool {
    static KEYS: LazyLock<HashSet<String>> = LazyLock::new(|| {
        let old = ["active_target", "rollout_target", "lockgate", "hosts", "path_prefixes"];
        let mut keys: HashSet<String> = old.map(str::to_owned).into();
        collect_keys(&serde_json::to_value(SavedService::default()).unwrap_or_default(), &mut keys);
        keys
    });
    KEYS.contains(key)
}

fn collect_keys(value: &Value, keys: &mut HashSet<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        keys.insert(key.clone());
        collect_keys(value, keys);
    }
}

/// Files of old versions: one target, hosts and prefixes beside the options.
fn legacy(service: &mut Map<String, Value>) {
    let missing = |of: Option<&Value>| of.and_then(Value::as_array).is_none_or(Vec::is_empty);
    for (old, new) in [("active_target", "active_targets"), ("rollout_target", "rollout_targets")] {
        let Some(Value::String(target)) = service.remove(old) else { continue };
        if !target.is_empty() && missing(service.get(new)) {
            service.insert(new.into(), vec![target].into());
        }
    }
    for key in ["hosts", "path_prefixes"] {
        let Some(list) = service.remove(key) else { continue };
        let options = service.entry("options").or_insert_with(|| Map::new().into());
        if let Value::Object(options) = options
            && missing(options.get(key))
        {
            options.insert(key.into(), list);
        }
    }
}

/// Writes the file anew: beside it, synced, then renamed over it, so that a crash leaves the old or the new one.
///
/// # Errors
/// [`StateError`]; the file is then as it was.
pub fn save(path: &Path, services: &[SavedService], bad: &[Value]) -> Result<(), StateError> {
    let written = write(path, services, bad);
    written.map_err(|source| StateError::Io { path: path.to_owned(), source })
}

fn write(path: &Path, services: &[SavedService], bad: &[Value]) -> io::Result<()> {
    let mut entries = Vec::with_capacity(services.len() + bad.len());
    for service in services {
        entries.push(serde_json::to_string(service)?);
    }
    entries.extend(bad.iter().map(Value::to_string));
    let text = format!("[{}]\n", entries.join(","));

    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let mut file = File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::saved::{KnownKeeper, Ours, PauseState, meet};
    use super::*;
    use crate::spec;

    /// The contract's own example, case 169.
    const EXAMPLE: &str = concat!(
        r#"[{"name":"s1","options":{"hosts":[""],"path_prefixes":["/"],"tls_enabled":false,"tls_certificate_path":"","#,
        r#""tls_private_key_path":"","tls_on_demand_url":"","tls_redirect":true,"canonical_host":"","acme_directory":"","#,
        r#""acme_cache_path":"/home/kamal-proxy/.config/kamal-proxy/certs","error_page_path":"","strip_prefix":true,"#,
        r#""writer_affinity_timeout":1000000000,"read_targets_accept_websockets":false,"exclude_metrics_paths":null,"#,
        r#""client_ip_header":""},"target_options":{"health_check_config":{"path":"/up","port":0,"interval":1000000000,"#,
        r#""timeout":5000000000,"host":""},"response_timeout":30000000000,"buffer_requests":false,"#,
        r#""buffer_responses":false,"max_memory_buffer_size":1048576,"max_request_body_size":0,"#,
        r#""max_response_body_size":0,"log_request_headers":["Cache-Control","X-Foo"],"log_response_headers":null,"#,
        r#""forward_headers":true,"scope_cookie_paths":false},"active_targets":["127.0.0.1:19101"],"#,
        r#""active_readers":[],"rollout_targets":null,"rollout_readers":null,"#,
        r#""pause_controller":{"state":0,"stop_message":"","fail_after":0},"rollout_controller":null}]"#,
        "\n"
    );

    fn saved_again(services: &[SavedService], bad: &[Value]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kamal-proxy.state");
        save(&path, services, bad).unwrap();
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn writes_what_it_read_key_for_key_in_the_contracts_order() {
        let loaded = parse(EXAMPLE.as_bytes());
        assert_eq!((loaded.bad.len(), loaded.cut_short), (0, None));
        assert_eq!(saved_again(&loaded.services, &[]), EXAMPLE);
        assert_eq!(saved_again(&[], &[]), "[]\n");
    }

    #[test]
    fn the_options_of_a_deploy_survive_the_file() {
        let mut service = parse(EXAMPLE.as_bytes()).services.remove(0);
        let options = spec::Options::from(&service.options);
        let target_options = spec::TargetOptions::from(&service.target_options);
        assert_eq!(target_options.health_check, spec::HealthCheck::default());
        service.options = (&options).into();
        service.target_options = (&target_options).into();
        assert_eq!(saved_again(&[service], &[]), EXAMPLE);
    }

    #[test]
    fn one_bad_entry_never_costs_the_others_and_stays_in_the_file() {
        let good = EXAMPLE.trim().trim_start_matches('[').trim_end_matches(']');
        let text = format!(r#"[{{"name":"broken","options":{{"hosts":7}}}},{good}]"#);
        let loaded = parse(text.as_bytes());
        assert_eq!(loaded.services.len(), 1);
        let (bad, why) = &loaded.bad[0];
        assert!(why.contains("invalid type"), "{why}");
        assert!(saved_again(&loaded.services, std::slice::from_ref(bad)).contains(r#""name":"broken""#));
    }

    #[test]
    fn a_torn_file_gives_the_services_before_the_tear() {
        let text = format!("{},{{\"name\":\"s2\",\"opt", EXAMPLE.trim().trim_end_matches(']'));
        let loaded = parse(text.as_bytes());
        assert_eq!(loaded.services.len(), 1);
        assert!(loaded.cut_short.unwrap().contains("EOF"));
        assert!(parse(b"").cut_short.is_some());
    }

    #[test]
    fn reads_files_of_old_versions() {
        let text = r#"[{"Name":"app","hosts":["app.example.com"],"active_target":"localhost:3000",
            "rollout_target":"","target_options":{"response_timeout":3000000000},"Later":{"A":null}}]"#;
        let loaded = parse(text.as_bytes());
        let service = &loaded.services[0];
        assert_eq!(service.active_targets, ["localhost:3000"]);
        assert_eq!(service.rollout_targets, None);
        let options = spec::Options::from(&service.options);
        assert_eq!((options.hosts, options.path_prefixes), (vec!["app.example.com".into()], vec!["/".into()]));
        assert!(!options.strip_prefix && !options.tls_redirect);
        assert!(saved_again(&loaded.services, &[]).contains(r#""Later":{"A":null}"#));
    }

    #[test]
    fn ours_is_written_only_where_it_differs_and_a_pause_survives() {
        let mut service = parse(EXAMPLE.as_bytes()).services.remove(0);
        service.pause_controller.state = PauseState::Paused;
        service.lockgate = Ours { keeper: Some("app:8647".into()), ..Ours::default() };
        for number in 0..20 {
            let id = format!("c{number}:8647");
            meet(&mut service.lockgate.keepers, KnownKeeper { control: id.clone(), id, ..KnownKeeper::default() });
        }
        let text = saved_again(std::slice::from_ref(&service), &[]);
        assert!(text.contains(r#""state":1"#) && text.contains(r#""lockgate":{"keeper":"app:8647","keepers":["#));
        assert_eq!(parse(text.as_bytes()).services, [service.clone()]);
        assert_eq!(service.lockgate.keepers.len(), Ours::KEEPERS);
        assert_eq!(service.lockgate.keepers[0].id, "c4:8647");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        save(&path, &[], &[]).unwrap();
        fs::create_dir(directory.path().join("state.new")).unwrap();
        assert!(save(&path, &parse(EXAMPLE.as_bytes()).services, &[]).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "[]\n");
    }
}
