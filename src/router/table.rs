//! The table of routes: never changed, replaced as a whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Conflict, Places, Router, host, path};

/// A service as it was found: by this prefix.
pub struct Route<S> {
    /// The service.
    pub service: Arc<S>,
    /// The prefix that matched: `/`, `/api`.
    pub prefix: Box<str>,
}

type Hosts<S> = HashMap<Box<str>, Vec<Arc<Route<S>>>>;

pub(super) struct Table<S> {
    services: BTreeMap<String, (Places, Arc<S>)>,
    hosts: Hosts<S>,
}

impl<S> Default for Table<S> {
    fn default() -> Self {
        Self { services: BTreeMap::new(), hosts: HashMap::new() }
    }
}

impl<S> Table<S> {
    pub(super) fn check(&self, name: &str, places: &Places) -> Result<(), Conflict> {
        let taken = |(other, (theirs, _)): (&String, &(Places, Arc<S>))| {
            (other != name && places.meet(theirs)).then(|| other.clone())
        };
        self.services.iter().find_map(taken).map_or(Ok(()), |with| Err(Conflict { with }))
    }

    pub(super) fn with(&self, name: &str, places: Places, service: Arc<S>) -> Self {
        let mut services = self.services.clone();
        services.insert(name.to_owned(), (places, service));
        Self { hosts: index(&services), services }
    }

    pub(super) fn without(&self, name: &str) -> Self {
        let mut services = self.services.clone();
        services.remove(name);
        Self { hosts: index(&services), services }
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<S>> {
        self.services.get(name).map(|(_, service)| service.clone())
    }

    pub(super) fn list(&self) -> Vec<(String, Places, Arc<S>)> {
        let services = self.services.iter();
        services.map(|(name, (places, service))| (name.clone(), places.clone(), service.clone())).collect()
    }

    pub(super) fn find(&self, host: &str, path: &str) -> Option<Arc<Route<S>>> {
        find(&self.hosts, host, path)
    }
}

/// One worker's copy of the routes: what it hands out is counted on no other worker's cache lines.
pub struct Local<S> {
    copied: Arc<Table<S>>,
    hosts: Hosts<S>,
}

impl<S> Local<S> {
    /// A copy of the router's routes.
    #[must_use]
    pub fn of(router: &Router<S>) -> Self {
        let copied = router.table.load_full();
        Self { hosts: index(&copied.services), copied }
    }

    /// As [`Router::find`], by the newest routes.
    pub fn find(&mut self, router: &Router<S>, host: &str, path: &str) -> Option<Arc<Route<S>>> {
        if !std::ptr::eq(Arc::as_ptr(&self.copied), Arc::as_ptr(&router.table.load())) {
            *self = Self::of(router);
        }
        find(&self.hosts, host, path)
    }
}

fn index<S>(services: &BTreeMap<String, (Places, Arc<S>)>) -> Hosts<S> {
    let mut hosts: Hosts<S> = HashMap::new();
    for (places, service) in services.values() {
        for host in &places.hosts {
            let routes = hosts.entry(host::normal(host).into()).or_default();
            let new = places.prefixes.iter().map(|p| Route { service: service.clone(), prefix: p.as_str().into() });
            routes.extend(new.map(Arc::new));
        }
    }
    for routes in hosts.values_mut() {
        routes.sort_by_key(|route| std::cmp::Reverse(route.prefix.len()));
    }
    hosts
}

/// The first host that has an entry decides; none of the others is asked where no prefix of it matches.
fn find<S>(hosts: &Hosts<S>, host: &str, path: &str) -> Option<Arc<Route<S>>> {
    let host = host::of_request(host);
    let exact = hosts.get(&*host);
    let wildcard = || hosts.get(&*format!("*{}", host::after_first_label(&host)?));
    let routes = match exact {
        Some(routes) => routes,
        None if hosts.len() == 1 => hosts.get("").or_else(wildcard)?,
        None => wildcard().or_else(|| hosts.get(""))?,
    };
    let decoded = path::decode(path);
    routes.iter().find(|route| path::matches(&decoded, &route.prefix)).cloned()
}
