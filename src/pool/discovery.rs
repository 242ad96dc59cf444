//! Which servers there are to be: the configured list, and the addresses of names that stand for several (pure).
//!
//! **Invariants:** no two members are one server, as far as addresses tell; a server that is on its way out and wanted
//! again stays the member that it was, so that its calls and the new ones share its slots. An answer without addresses
//! changes nothing, and an address leaves when two answers in a row are without it.
//! **Choice:** of a name with IPv4 and IPv6 addresses the IPv4 ones count: the same machines usually have both, and a
//! server with two addresses would be taken for two servers.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use super::{
    endpoint::{Endpoint, Upstream, is_of_a_server},
    roster::UpstreamId,
};

/// The most servers behind one name; further addresses are left out.
pub const MAX_ADDRESSES: usize = 256;
/// Answers in a row without an address after which its server leaves.
const MISSING_LIMIT: u8 = 2;

/// One entry of the configured list. Its endpoint's name does not matter: the directory gives names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// The server, or what all servers of its name have in common.
    pub upstream: Upstream,
    /// Whether every address of its name is a server of its own.
    pub discovered: bool,
}

impl From<Upstream> for Seed {
    fn from(upstream: Upstream) -> Self {
        Self { upstream, discovered: false }
    }
}

/// One entry, for as long as it is on the list; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(u32);

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A server comes, or one that is on its way out stays.
    Join(UpstreamId, Box<Upstream>),
    /// A server takes no more calls, and goes when its last one is over.
    Part(UpstreamId),
    /// This address belongs to another member already: nothing comes of it.
    Twice(String),
}

/// What a new list came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configured {
    /// What is to be done.
    pub changes: Vec<Change>,
    /// Entries that are new, by their addresses.
    pub joined: Vec<String>,
    /// Entries that are on the list no more.
    pub parted: Vec<String>,
    /// Entries of which something else is said than before; they stay as they were.
    pub changed: Vec<String>,
}

/// The list, and who of it is a member.
#[derive(Debug, Default)]
pub struct Directory {
    sources: Vec<Source>,
    listed: Vec<Listed>,
    ids: u32,
}

#[derive(Debug)]
struct Source {
    id: SourceId,
    /// How its servers are called.
    number: usize,
    seed: Seed,
    /// Addresses that another member has; told once.
    twice: BTreeSet<IpAddr>,
    /// Whether the last answer had no address.
    failing: bool,
}

#[derive(Debug)]
struct Listed {
    id: UpstreamId,
    source: SourceId,
    /// As its entry says.
    upstream: Upstream,
    /// Where it is instead, as its machine's provider says.
    moved: Option<Endpoint>,
    missing: u8,
    leaving: bool,
}

impl Directory {
    /// Takes a new list in place of the old one. Entries that stay keep their names.
    pub fn configure(&mut self, seeds: Vec<Seed>) -> Configured {
        let mut configured = Configured::default();
        let wanted = |source: &Source| seeds.iter().any(|seed| is_same_entry(seed, &source.seed));
        let (stay, gone): (Vec<Source>, Vec<Source>) = std::mem::take(&mut self.sources).into_iter().partition(wanted);
        self.sources = stay;
        for source in gone {
            configured.parted.push(source.seed.upstream.endpoint.address());
            for listed in self.listed.iter_mut().filter(|listed| listed.source == source.id && !listed.leaving) {
                listed.leaving = true;
                configured.changes.push(Change::Part(listed.id));
            }
        }
        for (index, seed) in seeds.iter().enumerate() {
            if !self.sources.iter().any(|source| is_same_entry(seed, &source.seed)) {
                configured.joined.push(seed.upstream.endpoint.address());
                let (id, number) = (SourceId(self.next()), self.number(index + 1));
                self.sources.push(Source { id, number, seed: seed.clone(), twice: BTreeSet::new(), failing: false });
            }
        }
        configured.changes.extend(self.admit_static());
        let differs = |seed: &&Seed| self.is_otherwise(seed);
        configured.changed = seeds.iter().filter(differs).map(|seed| seed.upstream.endpoint.address()).collect();
        // Who leaves under one entry and comes under another has not moved.
        let come = |change: &Change| if let Change::Join(id, _) = change { Some(*id) } else { None };
        let part = |change: &Change| if let Change::Part(id) = change { Some(*id) } else { None };
        let comes: BTreeSet<UpstreamId> = configured.changes.iter().filter_map(come).collect();
        let parts: BTreeSet<UpstreamId> = configured.changes.iter().filter_map(part).collect();
        let moved = |change: &Change| {
            come(change).or(part(change)).is_some_and(|id| comes.contains(&id) && parts.contains(&id))
        };
        configured.changes.retain(|change| !moved(change));
        configured
    }

    /// Whether an entry that is there, or a server of it, is known by something else than this says. A server that came
    /// back before it was gone is known by what its former entry said.
    fn is_otherwise(&self, seed: &Seed) -> bool {
        let source = self.sources.iter().find(|source| is_same_entry(seed, &source.seed));
        source.is_some_and(|source| {
            let servers = self.listed.iter().filter(|listed| listed.source == source.id && !listed.leaving);
            let mut known: Vec<&Upstream> = servers.map(|listed| &listed.upstream).collect();
            // What comes from now on is known by what the entry said.
            if source.seed.discovered || known.is_empty() {
                known.push(&source.seed.upstream);
            }
            known.into_iter().any(|upstream| !says_the_same(upstream, &seed.upstream))
        })
    }

    /// The server of this name, and the entry that it is there for: none if it is on its way out.
    pub fn named(&self, name: &str) -> Option<(UpstreamId, Option<&Seed>)> {
        let listed = self.listed.iter().find(|listed| listed.upstream.endpoint.name == name)?;
        let source = self.sources.iter().find(|source| source.id == listed.source && !listed.leaving);
        Some((listed.id, source.map(|source| &source.seed)))
    }

    /// The names to be looked up, with their ports.
    pub fn names(&self) -> Vec<(SourceId, String, u16)> {
        let of = |source: &Source| {
            let endpoint = &source.seed.upstream.endpoint;
            (source.id, endpoint.host.clone(), endpoint.port)
        };
        self.sources.iter().filter(|source| source.seed.discovered).map(of).collect()
    }

    /// A look-up came to nothing: what is known stays. Says whether that is news, and of which name.
    pub fn unresolved(&mut self, id: SourceId) -> Option<String> {
        let source = self.sources.iter_mut().find(|source| source.id == id)?;
        let news = !std::mem::replace(&mut source.failing, true);
        news.then(|| source.seed.upstream.endpoint.address())
    }

    /// A look-up came to these addresses, at least one.
    pub fn resolved(&mut self, id: SourceId, addresses: &[IpAddr]) -> Vec<Change> {
        let mut found: BTreeSet<IpAddr> = addresses.iter().map(IpAddr::to_canonical).filter(is_of_a_server).collect();
        let Some(source) = self.sources.iter_mut().find(|source| source.id == id && !found.is_empty()) else {
            return Vec::new();
        };
        source.failing = false;
        source.twice.retain(|address| found.contains(address));
        // While a server of one kind of address is a member, the other kind might be the same servers again.
        let name = &source.seed.upstream.endpoint;
        let of_name = |known: &Endpoint| known.host == name.host && known.port == name.port;
        let mut known = self.listed.iter().map(|listed| &listed.upstream.endpoint).filter(|known| of_name(known));
        let kind = known.find_map(|known| known.address.map(|address| address.is_ipv4()));
        let ipv4 = kind.unwrap_or_else(|| found.iter().any(IpAddr::is_ipv4));
        found.retain(|address| address.is_ipv4() == ipv4);
        let mut changes = self.miss(id, &found);
        for address in found.into_iter().take(MAX_ADDRESSES) {
            changes.extend(self.admit(id, Some(address)));
        }
        changes
    }

    /// The last call of a server that was leaving is over. Who had to wait for that comes now.
    pub fn gone(&mut self, id: UpstreamId) -> Vec<Change> {
        // Who is wanted again in the meantime is on its way back under this id.
        self.listed.retain(|listed| listed.id != id || !listed.leaving);
        self.admit_static()
    }

    /// The server of a machine is elsewhere than its entry says, until it is said again. Says whether that can be: not
    /// where another member is.
    pub fn moved(&mut self, id: UpstreamId, endpoint: &Endpoint) -> bool {
        let is_other = |listed: &Listed| listed.id != id && is_same_server(listed.place(), endpoint);
        if self.listed.iter().any(is_other) {
            return false;
        }
        if let Some(listed) = self.listed.iter_mut().find(|listed| listed.id == id) {
            listed.moved = Some(endpoint.clone());
        }
        true
    }

    /// Counts which servers of a name are missing, and lets go of those that were missing before.
    fn miss(&mut self, id: SourceId, found: &BTreeSet<IpAddr>) -> Vec<Change> {
        let mut changes = Vec::new();
        for listed in self.listed.iter_mut().filter(|listed| listed.source == id && !listed.leaving) {
            let is_there = listed.upstream.endpoint.address.is_some_and(|address| found.contains(&address));
            listed.missing = if is_there { 0 } else { listed.missing + 1 };
            if listed.missing >= MISSING_LIMIT {
                listed.leaving = true;
                changes.push(Change::Part(listed.id));
            }
        }
        changes
    }

    /// Every entry that is one server becomes a member, unless that server is one already.
    fn admit_static(&mut self) -> Vec<Change> {
        let is_single = |source: &&Source| !source.seed.discovered;
        let ids: Vec<SourceId> = self.sources.iter().filter(is_single).map(|source| source.id).collect();
        ids.into_iter().filter_map(|id| self.admit(id, None)).collect()
    }

    /// Makes the server at an address of this entry a member, unless it is one.
    fn admit(&mut self, id: SourceId, address: Option<IpAddr>) -> Option<Change> {
        let source = self.sources.iter().find(|source| source.id == id)?;
        let mut upstream = source.seed.upstream.clone();
        upstream.endpoint.address = address;
        let is_there = |listed: &&mut Listed| {
            let places = [Some(&listed.upstream.endpoint), listed.moved.as_ref()];
            places.into_iter().flatten().any(|place| is_same_server(place, &upstream.endpoint))
        };
        match self.listed.iter_mut().find(is_there) {
            Some(listed) if listed.leaving => {
                (listed.leaving, listed.missing, listed.source) = (false, 0, id);
                Some(Change::Join(listed.id, Box::new(listed.upstream.clone())))
            }
            Some(listed) if listed.source == id => None,
            Some(_) => {
                let told = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
                let source = self.sources.iter_mut().find(|source| source.id == id)?;
                source.twice.insert(told).then(|| Change::Twice(upstream.endpoint.address()))
            }
            None => {
                upstream.endpoint.name = self.name(source.number, address.is_some());
                let id_of_upstream = UpstreamId(self.next());
                let listed =
                    Listed { id: id_of_upstream, source: id, upstream, moved: None, missing: 0, leaving: false };
                let change = Change::Join(listed.id, Box::new(listed.upstream.clone()));
                self.listed.push(listed);
                Some(change)
            }
        }
    }

    fn next(&mut self) -> u32 {
        self.ids += 1;
        self.ids
    }

    /// The number of a new entry: its place on the list if nobody is called so, else the lowest that is free.
    fn number(&self, place: usize) -> usize {
        let called = |name: &str| name.split('.').next().and_then(|number| number.parse().ok());
        let taken = self.sources.iter().map(|source| source.number);
        let taken: BTreeSet<usize> =
            taken.chain(self.listed.iter().filter_map(|listed| called(&listed.upstream.endpoint.name))).collect();
        std::iter::once(place).chain(1..).find(|number| !taken.contains(number)).unwrap_or(place)
    }

    /// What a new member is called: `2` alone, `2.1` and so on behind a name.
    fn name(&self, number: usize, is_one_of_several: bool) -> String {
        let free = |name: &String| !self.listed.iter().any(|listed| listed.upstream.endpoint.name == *name);
        let several = (1..).map(|part: u32| format!("{number}.{part}")).find(free);
        several.filter(|_| is_one_of_several).unwrap_or_else(|| number.to_string())
    }
}

impl Listed {
    /// Where it is.
    fn place(&self) -> &Endpoint {
        self.moved.as_ref().unwrap_or(&self.upstream.endpoint)
    }
}

/// Whether the same is said of two servers, whatever they are called and wherever their names lead.
fn says_the_same(one: &Upstream, other: &Upstream) -> bool {
    let plain = |upstream: &Upstream| {
        let mut upstream = upstream.clone();
        upstream.endpoint.name.clear();
        upstream.endpoint.address = None;
        upstream
    };
    plain(one) == plain(other)
}

/// Whether two entries stand for the same server or servers, whatever else is said of them.
fn is_same_entry(one: &Seed, other: &Seed) -> bool {
    let place = |seed: &Seed| {
        let Endpoint { host, port, path_prefix, .. } = seed.upstream.endpoint.clone();
        (host, port, path_prefix, seed.discovered)
    };
    place(one) == place(other)
}

/// Whether two endpoints are one server, as far as their addresses tell.
fn is_same_server(one: &Endpoint, other: &Endpoint) -> bool {
    let same_place = one.port == other.port && one.path_prefix == other.path_prefix;
    same_place
        && match (ip(one), ip(other)) {
            // This machine has many addresses, and a server usually listens on all of them.
            (Some(a), Some(b)) if one.address.is_none() || other.address.is_none() => {
                a == b || (a.is_loopback() && b.is_loopback())
            }
            (Some(a), Some(b)) => a == b,
            (None, None) => one.host == other.host,
            _ => false,
        }
}

/// The address of an endpoint, if it is known here.
fn ip(endpoint: &Endpoint) -> Option<IpAddr> {
    let host = endpoint.host.trim_matches(['[', ']']).trim_end_matches('.');
    let written = || match host {
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        _ => host.parse::<IpAddr>().ok().map(|address| address.to_canonical()),
    };
    endpoint.address.or_else(written)
}

#[cfg(test)]
mod tests;
