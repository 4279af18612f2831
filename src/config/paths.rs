//! Where things are when nobody says: the contract's rules (2.1, 2.2) with our additions.

use std::path::PathBuf;

/// The environment, handed in so that tests need not change their own.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// This process's environment; what is not UTF-8 counts as not set.
#[must_use]
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Where the unit of systemd has it.
const SYSTEM_SOCKET: &str = "/run/lockgate/admin.sock";

/// `$TMPDIR` or `/tmp`.
#[must_use]
pub fn temp_dir(env: Env<'_>) -> PathBuf {
    set(env, "TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
}

/// `$LOCKGATE_DATA`, else `$HOME/.config/kamal-proxy`; without `HOME` below the temp directory.
#[must_use]
pub fn data_dir(env: Env<'_>) -> PathBuf {
    if let Some(path) = set(env, "LOCKGATE_DATA") {
        return path.into();
    }
    set(env, "HOME").map_or_else(|| temp_dir(env), PathBuf::from).join(".config/kamal-proxy")
}

/// The admin socket as a command looks for it: where the first of the places is at which a proxy may have made one, unless
/// the environment names it.
#[must_use]
pub fn admin_socket_to_dial(env: Env<'_>) -> PathBuf {
    let own = admin_socket(env);
    let named = ["LOCKGATE_ADMIN_SOCKET", "KAMAL_PROXY_SOCKET"].iter().any(|name| set(env, name).is_some());
    // A login sets XDG_RUNTIME_DIR, the system's own proxy knows nothing of it.
    let others = [PathBuf::from(SYSTEM_SOCKET), temp_dir(env).join("kamal-proxy.sock")];
    if named || own.exists() { own } else { others.into_iter().find(|other| other.exists()).unwrap_or(own) }
}

/// The admin socket: `$LOCKGATE_ADMIN_SOCKET`, `$KAMAL_PROXY_SOCKET`, `$XDG_RUNTIME_DIR/kamal-proxy.sock`,
/// `/run/lockgate/admin.sock` if it exists, else in the temp directory.
#[must_use]
pub fn admin_socket(env: Env<'_>) -> PathBuf {
    if let Some(path) = set(env, "LOCKGATE_ADMIN_SOCKET").or_else(|| set(env, "KAMAL_PROXY_SOCKET")) {
        return path.into();
    }
    if let Some(dir) = set(env, "XDG_RUNTIME_DIR") {
        return PathBuf::from(dir).join("kamal-proxy.sock");
    }
    let system = PathBuf::from(SYSTEM_SOCKET);
    if system.exists() { system } else { temp_dir(env).join("kamal-proxy.sock") }
}

/// Creates the data directory (0700) as every invocation of kamal-proxy does; errors are left for whoever needs it.
pub fn create_data_dir(path: &std::path::Path) {
    use std::os::unix::fs::DirBuilderExt as _;
    let _ = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
}

fn set(env: Env<'_>, name: &str) -> Option<String> {
    env(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn the_socket_follows_the_contracts_order() {
        let all = env(&[("KAMAL_PROXY_SOCKET", "/k"), ("XDG_RUNTIME_DIR", "/x"), ("TMPDIR", "/t")]);
        assert_eq!(admin_socket(&all), PathBuf::from("/k"));
        let empty = env(&[("KAMAL_PROXY_SOCKET", ""), ("XDG_RUNTIME_DIR", "/x")]);
        assert_eq!(admin_socket(&empty), PathBuf::from("/x/kamal-proxy.sock"));
        let ours = env(&[("LOCKGATE_ADMIN_SOCKET", "/l"), ("KAMAL_PROXY_SOCKET", "/k")]);
        assert_eq!(admin_socket(&ours), PathBuf::from("/l"));
    }

    #[test]
    fn a_command_finds_the_proxy_that_knows_nothing_of_its_login() {
        let temp = tempfile::tempdir().unwrap();
        let socket = temp.path().join("kamal-proxy.sock");
        let login = |name: &str| match name {
            "XDG_RUNTIME_DIR" => Some("/nowhere".to_owned()),
            "TMPDIR" => Some(temp.path().display().to_string()),
            _ => None,
        };
        let none_found = admin_socket_to_dial(&login);
        assert!(none_found == admin_socket(&login) || none_found == std::path::Path::new(SYSTEM_SOCKET));
        std::fs::write(&socket, "").unwrap();
        assert_ne!(admin_socket_to_dial(&login), admin_socket(&login));
        let named = |name: &str| if name == "LOCKGATE_ADMIN_SOCKET" { Some("/l".to_owned()) } else { login(name) };
        assert_eq!(admin_socket_to_dial(&named), PathBuf::from("/l"));
    }

    #[test]
    fn without_a_home_the_data_lie_in_the_temp_directory() {
        assert_eq!(data_dir(&env(&[("TMPDIR", "/t")])), PathBuf::from("/t/.config/kamal-proxy"));
        assert_eq!(data_dir(&env(&[("HOME", "/h")])), PathBuf::from("/h/.config/kamal-proxy"));
        assert_eq!(data_dir(&env(&[("HOME", "/h"), ("LOCKGATE_DATA", "/d")])), PathBuf::from("/d"));
    }
}
