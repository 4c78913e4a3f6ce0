//! A shared branch in memory, for several hosts at once, that can be made to lie to any of them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use mesh::domain::branch_path;
use mesh::domain::id::HostId;
use mesh::domain::limits;
use mesh::ports::{Blob, Branch, ChangedHosts, LogSlice, Remote, RemoteError, Tip};

/// Path to bytes.
pub(crate) type Tree = BTreeMap<String, Arc<[u8]>>;

/// What a server does to the next pushes, one each.
#[derive(Clone)]
pub(crate) enum Push {
    /// The ref is refused.
    Refuse,
    /// The push lands, and the line breaks before the answer.
    LoseAnswer,
    /// These files of others land first.
    Race(BTreeMap<String, Vec<u8>>),
    /// The branch is set back to this tip before the push lands on it.
    SetBack(Tip),
    /// The push is kept back: it is not on the branch, and the pusher sees a broken line.
    Capture,
}

/// What the server knows of one client.
#[derive(Default)]
struct Client {
    /// What is served instead of the truth.
    pinned: Option<Tip>,
    /// What is in the client's cache.
    fetched: BTreeSet<[u8; 20]>,
    pushes: VecDeque<Push>,
    captured: Option<BTreeMap<String, Vec<u8>>>,
    down: bool,
    calls: Vec<String>,
    unreadable: BTreeSet<HostId>,
}

#[derive(Default)]
struct State {
    commits: HashMap<[u8; 20], Arc<Tree>>,
    order: Vec<Tip>,
    tip: Option<Tip>,
    clients: BTreeMap<u8, Client>,
}

/// The server.
#[derive(Clone, Default)]
pub(crate) struct MemoryBranch(Arc<Mutex<State>>);

/// One client's way to the server, and its cache.
#[derive(Clone)]
pub(crate) struct Way {
    server: MemoryBranch,
    number: u8,
}

impl State {
    fn client(&mut self, number: u8) -> &mut Client {
        self.clients.entry(number).or_default()
    }

    fn commit(&mut self, tree: Tree) -> Tip {
        let mut hash = [0; 20];
        let number = u64::try_from(self.order.len()).expect("few commits") + 1;
        hash[..8].copy_from_slice(&number.to_be_bytes());
        self.commits.insert(hash, Arc::new(tree));
        self.order.push(Tip(hash));
        Tip(hash)
    }

    fn tree(&self, tip: Option<Tip>) -> Tree {
        tip.map_or_else(Tree::new, |tip| self.commits[&tip.0].as_ref().clone())
    }

    fn served(&mut self, number: u8) -> Option<Tip> {
        let truth = self.tip;
        self.client(number).pinned.or(truth)
    }
}

impl MemoryBranch {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds the server")
    }

    /// The way of client `number` to this server.
    pub(crate) fn client(&self, number: u8) -> Way {
        Way { server: self.clone(), number }
    }

    /// The files of the branch as it really is.
    pub(crate) fn tree(&self) -> Tree {
        let state = self.state();
        state.tree(state.tip)
    }

    /// The tip of the branch as it really is.
    pub(crate) fn tip(&self) -> Option<Tip> {
        self.state().tip
    }

    /// Rewrites the branch for everybody: a forced push.
    pub(crate) fn rewrite(&self, change: impl FnOnce(&mut Tree)) {
        let mut state = self.state();
        let mut tree = state.tree(state.tip);
        change(&mut tree);
        state.tip = Some(state.commit(tree));
    }

    /// Removes the branch.
    pub(crate) fn wipe(&self) {
        self.state().tip = None;
    }

    /// Serves client `number` a branch that is the true one but for `change`, until told otherwise.
    pub(crate) fn lie_to(&self, number: u8, change: impl FnOnce(&mut Tree)) {
        let mut state = self.state();
        let truth = state.tip;
        let mut tree = state.tree(truth);
        change(&mut tree);
        let forged = state.commit(tree);
        state.client(number).pinned = Some(forged);
    }

    /// Serves client `number` the branch as it was at `tip`.
    pub(crate) fn serve_old(&self, number: u8, tip: Tip) {
        self.state().client(number).pinned = Some(tip);
    }

    /// Serves client `number` the truth again.
    pub(crate) fn be_honest_to(&self, number: u8) {
        self.state().client(number).pinned = None;
    }

    /// What happens to the next push of client `number`; called again, to the one after it.
    pub(crate) fn next_push(&self, number: u8, push: Push) {
        self.state().client(number).pushes.push_back(push);
    }

    /// Files of the last push that was kept back.
    pub(crate) fn captured(&self, number: u8) -> BTreeMap<String, Vec<u8>> {
        self.try_captured(number).expect("a push was kept back")
    }

    /// Files of the last push that was kept back, if there was one.
    pub(crate) fn try_captured(&self, number: u8) -> Option<BTreeMap<String, Vec<u8>>> {
        self.state().client(number).captured.take()
    }

    /// Lets the next pushes of client `number` pass.
    pub(crate) fn forget_pushes(&self, number: u8) {
        self.state().client(number).pushes.clear();
    }

    /// Takes the server down for client `number`, or up again.
    pub(crate) fn set_down(&self, number: u8, down: bool) {
        self.state().client(number).down = down;
    }

    /// Makes everything of `host` fail to be read from the cache of client `number`.
    pub(crate) fn set_unreadable(&self, number: u8, host: HostId, unreadable: bool) {
        let mut state = self.state();
        let hosts = &mut state.client(number).unreadable;
        if unreadable {
            hosts.insert(host)
        } else {
            hosts.remove(&host)
        };
    }

    /// Throws the cache of client `number` away.
    pub(crate) fn drop_cache(&self, number: u8) {
        self.state().client(number).fetched.clear();
    }

    /// The calls of client `number` so far, and forgets them.
    pub(crate) fn calls(&self, number: u8) -> Vec<String> {
        std::mem::take(&mut self.state().client(number).calls)
    }
}

impl Way {
    fn unreachable(&self, state: &mut State) -> Result<(), RemoteError> {
        if state.client(self.number).down {
            return Err(RemoteError::Unreachable("the server is down".to_owned()));
        }
        Ok(())
    }

    fn cached(&self, tip: Tip) -> Result<Arc<Tree>, RemoteError> {
        let mut state = self.server.state();
        if !state.client(self.number).fetched.contains(&tip.0) {
            return Err(RemoteError::Cache("no such commit".to_owned()));
        }
        Ok(Arc::clone(&state.commits[&tip.0]))
    }

    fn readable(&self, host: HostId) -> Result<(), RemoteError> {
        if self.server.state().client(self.number).unreadable.contains(&host) {
            return Err(RemoteError::Cache("object is damaged".to_owned()));
        }
        Ok(())
    }
}

impl Remote for Way {
    fn tip(&mut self) -> Result<Option<Tip>, RemoteError> {
        let mut state = self.server.state();
        state.client(self.number).calls.push("tip".to_owned());
        self.unreachable(&mut state)?;
        Ok(state.served(self.number))
    }

    fn fetch(&mut self) -> Result<Option<Tip>, RemoteError> {
        let mut state = self.server.state();
        state.client(self.number).calls.push("fetch".to_owned());
        self.unreachable(&mut state)?;
        let served = state.served(self.number);
        if let Some(tip) = served {
            state.client(self.number).fetched.insert(tip.0);
        }
        Ok(served)
    }

    fn publish(&mut self, files: &BTreeMap<String, Vec<u8>>, message: &str) -> Result<Tip, RemoteError> {
        let mut state = self.server.state();
        state.client(self.number).calls.push(format!("publish {message}"));
        self.unreachable(&mut state)?;
        for path in files.keys() {
            assert!(branch_path::is_constructed(path), "{path} is pushed");
        }
        let broken = || RemoteError::Unreachable("the line broke".to_owned());
        let push = state.client(self.number).pushes.pop_front();
        if let Some(Push::SetBack(tip)) = &push {
            state.tip = Some(*tip);
        }
        let mut truth = state.tree(state.tip);
        match &push {
            Some(Push::Refuse) => return Err(RemoteError::Refused("not now".to_owned())),
            Some(Push::Capture) => {
                state.client(self.number).captured = Some(files.clone());
                return Err(broken());
            }
            Some(Push::Race(others)) => put(&mut truth, others),
            Some(Push::LoseAnswer | Push::SetBack(_)) | None => {}
        }
        let (name, content) = branch_path::FORMAT_FILE;
        truth.insert(name.to_owned(), content.as_bytes().into());
        put(&mut truth, files);
        let landed = state.commit(truth);
        state.tip = Some(landed);
        if matches!(push, Some(Push::LoseAnswer)) {
            return Err(broken());
        }
        let mut shown = landed;
        if let Some(pinned) = state.client(self.number).pinned {
            // To this client the server goes on lying, with the client's own files on top.
            let mut tree = state.tree(Some(pinned));
            put(&mut tree, files);
            shown = state.commit(tree);
            state.client(self.number).pinned = Some(shown);
        }
        state.client(self.number).fetched.insert(shown.0);
        Ok(shown)
    }
}

fn put(tree: &mut Tree, files: &BTreeMap<String, Vec<u8>>) {
    tree.extend(files.iter().map(|(path, bytes)| (path.clone(), bytes.as_slice().into())));
}

fn blob(bytes: &Arc<[u8]>, max: usize) -> Blob {
    if bytes.len() > max { Blob::Refused(format!("{} bytes", bytes.len())) } else { Blob::Found(bytes.to_vec()) }
}

/// The host whose directory `path` is in; `None` for a name that no mesh makes.
fn host_of(path: &str) -> Option<HostId> {
    let mut parts = path.strip_prefix("hosts/")?.split('/');
    let (prefix, id) = (parts.next()?, parts.next()?);
    let host: HostId = id.parse().ok()?;
    (id.starts_with(prefix) && prefix.len() == 2).then_some(host)
}

/// The files of one host.
type Files<'a> = Vec<(&'a String, &'a Arc<[u8]>)>;

fn by_host(tree: &Tree) -> BTreeMap<HostId, Files<'_>> {
    let mut hosts: BTreeMap<HostId, Files<'_>> = BTreeMap::new();
    for (path, bytes) in tree {
        if let Some(host) = host_of(path) {
            hosts.entry(host).or_default().push((path, bytes));
        }
    }
    hosts
}

impl Branch for Way {
    fn changed_hosts(&self, old: Option<Tip>, new: Tip) -> Result<ChangedHosts, RemoteError> {
        let new_tree = self.cached(new)?;
        let old_tree = old.map(|old| self.cached(old)).transpose()?.unwrap_or_default();
        let ignored = new_tree.keys().filter(|path| path.starts_with("hosts/") && host_of(path).is_none()).count();
        let mut changes = ChangedHosts { ignored: u64::try_from(ignored).expect("few"), ..ChangedHosts::default() };
        if Arc::ptr_eq(&new_tree, &old_tree) {
            return Ok(changes);
        }
        let (old, new) = (by_host(&old_tree), by_host(&new_tree));
        changes.changed =
            new.iter().filter(|(host, files)| old.get(host) != Some(files)).map(|(host, _)| *host).collect();
        changes.gone = old.keys().filter(|host| !new.contains_key(host)).copied().collect();
        Ok(changes)
    }

    fn file(&self, tip: Tip, path: &str, max: usize) -> Result<Blob, RemoteError> {
        if let Some(host) = host_of(path) {
            self.readable(host)?;
        }
        Ok(self.cached(tip)?.get(path).map_or(Blob::Missing, |bytes| blob(bytes, max)))
    }

    fn log(&self, tip: Tip, host: HostId, from: u64, count: u64) -> Result<LogSlice, RemoteError> {
        self.readable(host)?;
        let tree = self.cached(tip)?;
        let mut blobs = Vec::new();
        for seq in from..from.saturating_add(count) {
            let Some(bytes) = tree.get(&branch_path::entry(host, seq)) else {
                let prefix = format!("{}/", branch_path::log(host));
                let later =
                    tree.range(branch_path::entry(host, seq)..).take_while(|(path, _)| path.starts_with(&prefix));
                let name = |path: &str| path.rsplit('/').next().unwrap_or_default().as_bytes().to_vec();
                let beyond_gap = later.filter_map(|(path, _)| branch_path::seq_of_entry_name(&name(path))).min();
                return Ok(LogSlice { blobs, beyond_gap });
            };
            blobs.push(blob(bytes, limits::ENVELOPE_BYTES));
        }
        Ok(LogSlice { blobs, beyond_gap: None })
    }
}
