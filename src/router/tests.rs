use std::sync::Arc;

use super::{Places, Router, strip};

fn places(hosts: &[&str], prefixes: &[&str]) -> Places {
    let own = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect();
    Places { hosts: own(hosts), prefixes: own(prefixes) }
}

fn router(services: &[(&'static str, &[&str], &[&str])]) -> Router<&'static str> {
    let router = Router::new();
    for (name, hosts, prefixes) in services {
        router.install(name, places(hosts, prefixes), Arc::new(*name)).unwrap();
    }
    router
}

fn found(router: &Router<&'static str>, url: &str) -> String {
    let slash = url.find('/').unwrap_or(url.len());
    let (host, path) = url.split_at(slash);
    let remote = router.find(host, path).map(|route| *route.service);
    let local = super::Local::of(router).find(router, host, path).map(|route| *route.service);
    assert_eq!(remote, local);
    remote.unwrap_or("404").to_owned()
}

#[test]
fn the_longest_prefix_of_the_first_host_with_an_entry_decides() {
    let router = router(&[
        ("1", &["e.test"], &["/"]),
        ("2", &["e.test"], &["/api"]),
        ("3", &["e.test"], &["/api/special"]),
        ("4", &["other.e.test"], &["/api"]),
        ("5", &[""], &["/api"]),
        ("6", &[""], &["/"]),
    ]);
    for (url, service) in [
        ("e.test/", "1"),
        ("e.test/random", "1"),
        ("e.test/apiary", "1"),
        ("e.test/api", "2"),
        ("e.test/api/", "2"),
        ("e.test/%61pi/x", "2"),
        ("e.test/api%2Fx", "2"),
        ("e.test/API/x", "1"),
        ("e.test/api/../zz", "2"),
        ("e.test/api/special", "3"),
        ("other.e.test/api/test", "4"),
        ("other.e.test/", "404"),
        ("second.e.test/api/test", "5"),
        ("second.e.test/non-api/test", "6"),
        ("/", "6"),
        ("[::1]:80/", "6"),
    ] {
        assert_eq!(found(&router, url), service, "{url}");
    }
    assert!(router.find("e.test", "*").is_none());
}

#[test]
fn a_wildcard_stands_for_exactly_one_label() {
    let router = router(&[("w", &["*.e.test"], &["/"]), ("exact", &["a.e.test"], &["/"]), ("any", &[""], &["/"])]);
    for (url, service) in [
        ("x.e.test/", "w"),
        ("a.e.test/", "exact"),
        ("x.y.e.test/", "any"),
        ("e.test/", "any"),
        ("X.E.Test:8080/", "w"),
        ("x.e.test./", "w"),
    ] {
        assert_eq!(found(&router, url), service, "{url}");
    }
}

#[test]
fn a_pair_of_host_and_prefix_belongs_to_one_service() {
    let router = router(&[("s1", &["app.test"], &["/"]), ("s3", &["app.test"], &["/api"])]);
    let conflict = |name, hosts: &[&str], prefixes: &[&str]| {
        router.install(name, places(hosts, prefixes), Arc::new("new")).err().map(|c| c.with)
    };
    assert_eq!(conflict("s5", &["APP.test"], &["/"]).as_deref(), Some("s1"));
    assert_eq!(conflict("s6", &["x.test", "app.test"], &["/api"]).as_deref(), Some("s3"));
    assert_eq!(conflict("s3", &["app.test"], &["/api"]), None, "a service does not conflict with itself");
    assert_eq!(conflict("s7", &[""], &["/"]), None);
    assert_eq!(found(&router, "app.test/"), "s1", "a refused change changes nothing");
}

#[test]
fn a_service_leaves_the_places_it_is_not_installed_at_any_more() {
    let router = router(&[("s", &["1.test", "2.test"], &["/"])]);
    router.install("s", places(&["2.test", "3.test"], &["/"]), Arc::new("s")).unwrap();
    assert_eq!(["1.test/", "2.test/", "3.test/"].map(|url| found(&router, url)), ["404", "s", "s"]);
    assert_eq!(router.remove("s").as_deref(), Some(&"s"));
    assert_eq!(found(&router, "2.test/"), "404");
    assert!(router.remove("s").is_none());
}

#[test]
fn a_stripped_path_keeps_the_encoding_of_its_rest() {
    for (path, rest) in [
        ("/api", "/"),
        ("/api/", "/"),
        ("/api/users", "/users"),
        ("/api//x", "//x"),
        ("/api/../zz", "/../zz"),
        ("/%61pi/x", "/x"),
        ("/api%2Fx", "/x"),
        ("/api/a%2Fb", "/a%2Fb"),
        ("/api/[x](y)!*'~%41", "/[x](y)!*'~%41"),
    ] {
        assert_eq!(strip(path, "/api").as_deref(), Some(rest), "{path}");
    }
    assert_eq!(strip("/api", "/"), None);
}
