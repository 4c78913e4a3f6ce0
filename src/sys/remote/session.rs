//! One conversation with the remote, inside the worker: what it has, what of it the cache lacks, what we add.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use git2::transport::SmartSubtransport;
use git2::{Oid, Repository, RepositoryOpenFlags};

use super::address::Address;
use super::daemon::Daemon;
use super::hosts::{self, Listing};
use super::http::Http;
use super::local;
use super::one_pack;
use super::packs;
use super::push::{News, Place, Pushed, Way};
use super::receive::Conversation;
use super::request::{Limits, RemoteConfig, Request, shown};
use super::ssh::Ssh;
use super::token;
use super::traffic::{Failures, traffic};
use crate::domain::branch_path::{self, Layout};
use crate::domain::id::HostId;
use crate::domain::limits;
use crate::ports::RemoteError;
use crate::sys::cache::objects;

/// The cache's own name for what it last fetched.
const MIRROR: &str = "refs/mesh/remote";
/// The cache's own name for what it last pushed.
const OUTGOING: &str = "refs/mesh/push";
/// What a fetch brought.
pub(super) struct Fetched {
    /// The cache, which holds it.
    pub(super) cache: Repository,
    /// What the remote has.
    pub(super) listing: Listing,
    /// All of it as one tip.
    pub(super) tip: Option<Oid>,
}

/// A commit that was pushed.
pub(super) struct Made {
    /// The host whose ref it stands on; none on the shared branch.
    pub(super) host: Option<HostId>,
    pub(super) commit: Oid,
}

/// The remote, ready to be spoken to.
pub(super) struct Session<'a> {
    config: &'a RemoteConfig,
    limits: Limits,
    cache_path: &'a Path,
    branch_ref: String,
    /// None where the remote is a folder of this machine.
    way: Option<Way>,
    failures: Failures,
}

impl<'a> Session<'a> {
    pub(super) fn new(request: &'a Request) -> Result<Self, RemoteError> {
        let (config, limits) = (&request.config, request.limits);
        let branch_ref = format!("refs/heads/{}", config.branch);
        if config.branch.starts_with('-') || !git2::Reference::is_valid_name(&branch_ref) {
            return Err(RemoteError::Address(format!("{} is no branch name", shown(&config.branch))));
        }
        let (traffic, failures) = traffic(limits.bytes);
        let way = match &config.address {
            Address::Http(base) => {
                let token = config.token.as_ref().map(token::read).transpose()?;
                Some(way(Http::new(base, config, token, &limits, traffic.clone())?, true))
            }
            Address::Ssh { login, port, path } => {
                let (login, port, path) = (login.clone(), *port, path.clone());
                let options = config.ssh_options.clone();
                Some(way(Ssh { login, port, path, options, traffic: traffic.clone() }, false))
            }
            Address::Daemon { host, port, path } => {
                let (host, port, path) = (host.clone(), *port, path.clone());
                Some(way(Daemon { host, port, path, traffic: traffic.clone() }, false))
            }
            Address::Local(path) if !path.is_dir() => {
                return Err(RemoteError::Unreachable(format!("there is no directory {}", config.address)));
            }
            Address::Local(_) => None,
        };
        Ok(Self { config, limits, cache_path: &request.cache, branch_ref, way, failures })
    }

    pub(super) fn address(&self) -> &Address {
        &self.config.address
    }

    pub(super) fn branch_ref(&self) -> &str {
        &self.branch_ref
    }

    /// Whether what is `host`'s own stands on a ref of its own, or is to. Who has one keeps it, or what it holds would
    /// hide what the branch shows.
    pub(super) fn is_single(&self, host: HostId, listing: &Listing) -> bool {
        self.config.layout == Layout::Refs || listing.hosts.contains_key(&host)
    }

    pub(super) fn host_ref(&self, host: HostId) -> String {
        branch_path::host_ref(&self.config.branch, host)
    }

    pub(super) fn explain(&self, error: &git2::Error) -> RemoteError {
        self.failures.explain(error)
    }

    /// The branch's tip; the cache is not touched.
    pub(super) fn tip(&self) -> Result<Option<Oid>, RemoteError> {
        let listing = self.list()?;
        if listing.hosts.is_empty() {
            return Ok(listing.branch);
        }
        let known = hosts::joined(self.cache_path).filter(|(known, _)| *known == listing);
        Ok(Some(known.map_or_else(|| listing.name(), |(_, tip)| tip)))
    }

    fn list(&self) -> Result<Listing, RemoteError> {
        match (&self.config.address, &self.way) {
            (Address::Local(path), _) => local::list(path, &self.config.branch),
            (_, Some(way)) => {
                let conversation = way.converse(self.limits.objects, &self.failures)?;
                let listing = self.listing(&conversation);
                conversation.end();
                Ok(listing)
            }
            (_, None) => Err(self.is_here()),
        }
    }

    fn listing(&self, conversation: &Conversation<'_>) -> Listing {
        let refs = conversation.listed.refs.iter().map(|(name, oid)| (name.as_str(), *oid));
        Listing::of_names(refs, &self.config.branch)
    }

    fn is_here(&self) -> RemoteError {
        RemoteError::Address(format!("{} is on this machine", self.config.address))
    }

    /// Brings what the remote has into the cache, which is made anew once when it turns out to be damaged.
    pub(super) fn fetch(&self) -> Result<Fetched, RemoteError> {
        let listing = match open_cache(self.cache_path).and_then(|cache| self.fetch_into(&cache)) {
            Err(RemoteError::Cache(_)) => self.fetch_into(&packs::make_anew(self.cache_path)?)?,
            listing => listing?,
        };
        // Opened again: libgit2 would go on with what it knew before of where the history is cut off.
        let cache = open_repository(self.cache_path);
        let cache = cache.map_err(|error| cache_error(self.cache_path, error.message()))?;
        let tip = match hosts::joined(self.cache_path) {
            Some((known, tip)) if known == listing && is_readable(self.cache_path, tip) => Some(tip),
            _ => hosts::join(&cache, &listing)?,
        };
        Ok(Fetched { cache, listing, tip })
    }

    /// What was fetched last, if all of it is here; the remote is not asked.
    pub(super) fn last_fetched(&self) -> Option<Fetched> {
        let cache = self.way.as_ref().and_then(|_| open_repository(self.cache_path).ok())?;
        let branch = cache.refname_to_id(MIRROR).ok();
        let (listing, tip) = match hosts::joined(self.cache_path) {
            Some((joined, tip)) if joined.branch == branch => (joined, tip),
            Some(_) => return None,
            None => (Listing { branch, hosts: BTreeMap::new() }, branch?),
        };
        let whole = !packs::are_unvetted(self.cache_path) && is_readable(self.cache_path, tip);
        whole.then_some(Fetched { cache, listing, tip: Some(tip) })
    }

    /// What was fetched last with what was `made` on top of it, if the remote lists just that. What others pushed meanwhile to
    /// refs of their own is for the next fetch.
    pub(super) fn read_back(&self, made: &[Made]) -> Result<Option<Fetched>, RemoteError> {
        let Some(Fetched { cache, mut listing, .. }) = self.last_fetched().filter(|_| !made.is_empty()) else {
            return Ok(None);
        };
        let remote = self.list()?;
        for Made { host, commit } in made {
            let shown = host.map_or(remote.branch, |host| remote.hosts.get(&host).copied());
            // A ref that came meanwhile hides what was put on the branch beside it.
            let hidden = || host.is_none() && remote.hosts.keys().any(|host| !listing.hosts.contains_key(host));
            if shown != Some(*commit) || hidden() {
                return Ok(None);
            }
            if let Some(host) = host {
                listing.hosts.insert(*host, *commit);
            } else {
                self.mirror(&cache, *commit)?;
                listing.branch = Some(*commit);
            }
        }
        let tip = hosts::join(&cache, &listing)?;
        Ok(Some(Fetched { cache, listing, tip }))
    }

    fn fetch_into(&self, cache: &Repository) -> Result<Listing, RemoteError> {
        if let Address::Local(path) = &self.config.address {
            return self.copy_into(cache, path);
        }
        let way = self.way.as_ref().ok_or_else(|| self.is_here())?;
        let conversation = way.converse(self.limits.objects, &self.failures)?;
        let listing = self.listing(&conversation);
        let known = self.known_hosts();
        let news = unknown(&known, &listing);
        let branch = Self::unfetched(cache, &listing);
        let wanted: BTreeSet<Oid> = news.values().copied().chain(branch).collect();
        if wanted.is_empty() {
            conversation.end();
            return Ok(listing);
        }
        let known_packs = packs::tidy(self.cache_path);
        packs::expect_new(self.cache_path)?;
        let held = held(cache, news.keys().filter_map(|host| known.get(host).copied()));
        let wanted = Vec::from_iter(wanted);
        let received = conversation.receive(cache, &wanted, &held, self.limits.objects);
        let oversized = packs::hold_oversized(self.cache_path, &known_packs)?;
        if !oversized {
            packs::all_vetted(self.cache_path)?;
        }
        received?;
        if oversized {
            packs::replace_by_tips(self.cache_path, MIRROR, &listing)?;
            return self.readable(listing);
        }
        let listing = self.readable(listing)?;
        let pushed = cache.refname_to_id(OUTGOING).ok();
        let cut_off = packs::cut_off(self.cache_path, listing.tips().chain(pushed));
        cut_off.map_err(|error| cache_error(self.cache_path, &error.to_string()))?;
        if let Some(tip) = branch {
            self.mirror(cache, tip)?;
        }
        Ok(listing)
    }

    fn mirror(&self, cache: &Repository, tip: Oid) -> Result<(), RemoteError> {
        let mirrored = cache.reference(MIRROR, tip, true, "mesh").map(drop);
        mirrored.map_err(|error| cache_error(self.cache_path, error.message()))
    }

    /// The branch's tip, where it is not what was fetched last.
    fn unfetched(cache: &Repository, listing: &Listing) -> Option<Oid> {
        listing.branch.filter(|tip| cache.refname_to_id(MIRROR).ok() != Some(*tip))
    }

    /// Where the refs of hosts led that were joined last.
    fn known_hosts(&self) -> BTreeMap<HostId, Oid> {
        hosts::joined(self.cache_path).map(|(known, _)| known.hosts).unwrap_or_default()
    }

    fn copy_into(&self, cache: &Repository, remote: &Path) -> Result<Listing, RemoteError> {
        let listing = self.list()?;
        let news = unknown(&self.known_hosts(), &listing);
        let branch = Self::unfetched(cache, &listing);
        for tip in branch.iter().chain(news.values()) {
            local::copy(remote, cache, *tip, &self.limits)?;
        }
        if let Some(tip) = branch {
            self.mirror(cache, tip)?;
        }
        self.readable(listing)
    }

    fn readable(&self, listing: Listing) -> Result<Listing, RemoteError> {
        match listing.branch.filter(|tip| !is_readable(self.cache_path, *tip)) {
            None => Ok(listing),
            Some(tip) => Err(RemoteError::Protocol(format!(
                "it sent a branch whose commit {tip} has no readable root directory"
            ))),
        }
    }

    /// Offers `news`, which stand in the cache on top of `from`, as the branch's new tip.
    pub(super) fn push(&self, cache: &Repository, news: &News, from: Option<Oid>) -> Result<Pushed, RemoteError> {
        self.push_as(cache, news, &Place { name: &self.branch_ref, from })
    }

    /// Puts `news` in the place of `from` on the ref of `host`.
    pub(super) fn push_single(
        &self,
        cache: &Repository,
        host: HostId,
        news: &News,
        from: Option<Oid>,
    ) -> Result<Pushed, RemoteError> {
        self.push_as(cache, news, &Place { name: &self.host_ref(host), from })
    }

    fn push_as(&self, cache: &Repository, news: &News, place: &Place<'_>) -> Result<Pushed, RemoteError> {
        let Some(way) = &self.way else {
            return Err(self.is_here());
        };
        // When it is read back, the server is told that it is here.
        let held = cache.reference(OUTGOING, news.commit, true, "mesh");
        held.map_err(|error| cache_error(self.cache_path, error.message()))?;
        way.push(cache, news, place, self.limits.objects, &self.failures)
    }
}

/// Refs of hosts whose commit is not the one that is known.
fn unknown(known: &BTreeMap<HostId, Oid>, listing: &Listing) -> BTreeMap<HostId, Oid> {
    let news = listing.hosts.iter().filter(|(host, oid)| known.get(host) != Some(oid));
    news.map(|(host, oid)| (*host, *oid)).collect()
}

/// What is here: of the branch, of what was pushed last, and `more`.
fn held(cache: &Repository, more: impl Iterator<Item = Oid>) -> Vec<Oid> {
    let named = [MIRROR, OUTGOING].into_iter().filter_map(|name| cache.refname_to_id(name).ok());
    BTreeSet::from_iter(named.chain(more)).into_iter().collect()
}

fn way(transport: impl SmartSubtransport, stateless: bool) -> Way {
    Way { transport: Box::new(transport), stateless }
}

fn cache_error(path: &Path, why: &str) -> RemoteError {
    RemoteError::Cache(format!("{}: {}", shown(&path.display().to_string()), shown(why)))
}

fn is_readable(cache: &Path, tip: Oid) -> bool {
    objects::open(cache)
        .is_ok_and(|odb| objects::root_of(&odb, tip).is_ok_and(|root| objects::tree(&odb, root).is_ok()))
}

/// `Repository::open_bare` would not learn that the history is cut off.
fn open_repository(path: &Path) -> Result<Repository, git2::Error> {
    let here = RepositoryOpenFlags::BARE | RepositoryOpenFlags::NO_SEARCH | RepositoryOpenFlags::NO_DOTGIT;
    Repository::open_ext(path, here, &[] as &[&Path])
}

fn open_cache(path: &Path) -> Result<Repository, RemoteError> {
    let Ok(cache) = open_repository(path) else { return packs::make_anew(path) };
    let whole = match cache.refname_to_id(MIRROR) {
        Ok(tip) => is_readable(path, tip),
        Err(error) => error.code() == git2::ErrorCode::NotFound,
    };
    if !whole || packs::are_unvetted(path) {
        drop(cache);
        return packs::make_anew(path);
    }
    if one_pack::counted(path) > limits::CACHE_PACKS || packs::loose(path) > limits::CACHE_LOOSE {
        let mut tips: Vec<Oid> = cache.refname_to_id(MIRROR).into_iter().collect();
        if let Some((listing, tip)) = hosts::joined(path) {
            tips.extend(listing.hosts.values().copied().chain([tip]));
        }
        // Where that fails, all is here as before, and the next fetch tries again.
        drop(one_pack::make(&cache, &tips, limits::JOINED_OBJECTS));
        drop(cache);
        // Opened again: what it knew of packs is no longer so.
        return open_repository(path).map_err(|error| cache_error(path, error.message()));
    }
    Ok(cache)
}
