//! The names of all settings, as flags, the file and the environment have them.

/// What kind of value a setting takes, as far as a flag must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// On or off.
    Switch,
    /// A whole number.
    Int,
    /// Go's duration syntax.
    Duration,
    /// Bytes, with an optional unit.
    Size,
    /// A path, an address, a word.
    Text,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Kebab-case: the key in the file, `--name` as a flag of `run`, `LOCKGATE_NAME` in the environment.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Whether `[service.NAME]` may set it too.
    pub per_service: bool,
    /// One line for `run --help`.
    pub help: &'static str,
}

/// All of them, in the order of the file that ships.
pub const KEYS: &[Key] = &[
    of_proxy("http-port", Kind::Int, "port for HTTP"),
    of_proxy("https-port", Kind::Int, "port for HTTPS (not served yet)"),
    of_proxy("metrics-port", Kind::Int, "port for metrics, 0 = off (not served yet)"),
    of_proxy("bind", Kind::Text, "address that the ports are bound on"),
    of_proxy("data", Kind::Text, "directory of the saved state"),
    of_proxy("admin-socket", Kind::Text, "unix socket that the other commands talk to"),
    of_proxy("workers", Kind::Int, "threads that serve requests, 0 = one per processor it may use"),
    of_proxy("access-log", Kind::Switch, "one line of JSON on stdout for each request"),
    of_proxy("debug", Kind::Switch, "include DEBUG lines in the log"),
    of_proxy("stop-timeout", Kind::Duration, "how long requests in flight may take when the proxy stops"),
    of_proxy("head-timeout", Kind::Duration, "how long a request's head may take from its first byte to its last"),
    of_proxy("idle-timeout", Kind::Duration, "how long a client's connection may lie idle"),
    of_proxy("held-body-each", Kind::Size, "bytes read ahead of one held request's body"),
    of_proxy("held-body-all", Kind::Size, "bytes read ahead of all held requests' bodies"),
    of_service("max-hold", Kind::Duration, "no request waits longer for a handoff"),
    of_service("handoff-timeout", Kind::Duration, "from closing the gate to release"),
    of_service("max-held", Kind::Int, "requests waiting at one gate"),
    of_service("release-concurrency", Kind::Int, "held requests in flight at once while the queue empties"),
    of_service("on-drain-timeout", Kind::Text, "abort or cut: what happens when a handoff's drain is over"),
    of_service("unhealthy-after", Kind::Duration, "how long a new app may answer, but not healthy, in a handoff"),
    of_service("on-busy", Kind::Text, "wait or fail: what a deploy does while another runs"),
    of_service("handoff", Kind::Text, "auto, overlap, drain or exclusive"),
    of_service("keeper", Kind::Text, "host:port of the new target's keeper"),
    of_service("keeper-token-file", Kind::Text, "file with the token that keepers require on every line"),
];

/// The setting of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Its variable in the environment.
#[must_use]
pub fn variable(name: &str) -> String {
    format!("LOCKGATE_{}", name.to_ascii_uppercase().replace('-', "_"))
}

const fn of_proxy(name: &'static str, kind: Kind, help: &'static str) -> Key {
    Key { name, kind, per_service: false, help }
}

const fn of_service(name: &'static str, kind: Kind, help: &'static str) -> Key {
    Key { name, kind, per_service: true, help }
}
