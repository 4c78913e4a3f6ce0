//! Hosts of one mesh, each with a home of its own, and the clock of the test.

use std::path::PathBuf;

use base64::Engine as _;
use jiff::{SignedDuration, Timestamp};
use mesh::domain::branch_path;
use mesh::domain::chain::{PeerState, Position};
use mesh::domain::entry::{self, Retraction};
use mesh::domain::envelope::{Envelope, HostKey, Kind, pae};
use mesh::domain::head::Head;
use mesh::domain::id::{EntryId, HostId, MeshName, PeerName};
use mesh::domain::lesson::Lesson;
use mesh::domain::trust::{Grant, PeerLine};
use mesh::loops::exchange::{self, Exchange, ExchangeError, SyncReport};
use mesh::store::db::Db;
use mesh::store::home::Home;
use mesh::store::keyring::{self, Keyring};
use mesh::store::peer_log::{InboxRow, PeerRow};
use mesh::store::spool::Spool;
use tempfile::TempDir;

use super::memory_branch::{MemoryBranch, Way};
use super::sample;

/// A host with a home on disk.
pub(crate) struct Host {
    dir: TempDir,
    pub(crate) home: Home,
    pub(crate) name: PeerName,
    pub(crate) key: HostKey,
    pub(crate) keyring: Keyring,
    /// `None` only while it is restored.
    db: Option<Db>,
    pub(crate) spool: Spool,
    pub(crate) way: Way,
    pub(crate) machine: Option<String>,
    /// The key that it is to move to.
    pub(crate) next: Option<HostKey>,
}

/// Memory-backed where the system has such a place: every commit of a database waits for its disk.
pub(crate) fn temp_dir() -> TempDir {
    let shared = std::path::Path::new("/dev/shm");
    let made = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
    made.expect("a temp dir")
}

impl Host {
    /// A host that knows nobody. Its key is made from `seed`.
    pub(crate) fn new(name: &str, seed: u8, way: Way) -> Self {
        Self::at(temp_dir(), name, seed, way)
    }

    /// The same with its home in `dir`.
    pub(crate) fn at(dir: TempDir, name: &str, seed: u8, way: Way) -> Self {
        let home = Home::at(dir.path());
        home.create().expect("made");
        let name: PeerName = name.parse().expect("a name");
        let key = keyring::create_host_key(&home, &[seed; 32], &name).expect("made");
        let db = Some(Db::open(&home.database()).expect("made"));
        let (keyring, spool) = (Keyring::default(), Spool::of(&home));
        Self { dir, home, name, key, keyring, db, spool, way, machine: None, next: None }
    }

    pub(crate) fn id(&self) -> HostId {
        self.key.host()
    }

    pub(crate) fn db(&self) -> &Db {
        self.db.as_ref().expect("open")
    }

    pub(crate) fn db_mut(&mut self) -> &mut Db {
        self.db.as_mut().expect("open")
    }

    /// Trusts `other` from now on.
    pub(crate) fn enroll(&mut self, name: &PeerName, host: HostId) {
        let line = PeerLine { host, grant: Grant::Apply, scope: vec![], not_after: None, comment: String::new() };
        self.keyring.enroll(&self.home, name, line, false).expect("enrolled");
    }

    /// Closes the database and opens it again, as a new process would.
    pub(crate) fn reopen(&mut self) {
        self.db = None;
        self.db = Some(Db::open(&self.home.database()).expect("opened"));
        self.keyring = Keyring::load_with_roster(&self.home, self.db(), Timestamp::UNIX_EPOCH).expect("loaded");
    }

    /// A copy of the database, to be restored later.
    pub(crate) fn back_up(&mut self) -> PathBuf {
        // Closed, the database is one file: its log was taken into it.
        self.db = None;
        let copies = std::fs::read_dir(self.dir.path()).expect("listed").count();
        let copy = self.dir.path().join(format!("copy-{copies}.db"));
        std::fs::copy(self.home.database(), &copy).expect("copied");
        self.reopen();
        copy
    }

    /// Puts a copy back in the place of the database.
    pub(crate) fn restore(&mut self, copy: &std::path::Path) {
        self.db = None;
        for extra in ["-wal", "-shm"] {
            let mut path = self.home.database().into_os_string();
            path.push(extra);
            drop(std::fs::remove_file(path));
        }
        std::fs::copy(copy, self.home.database()).expect("copied");
        self.reopen();
    }

    /// Queues a lesson to be signed at the next sync.
    pub(crate) fn queue(&mut self, lesson: &Lesson, now: Timestamp) {
        let body = serde_json::to_string(lesson).expect("serialises");
        self.db_mut().queue_draft(Kind::Lesson.name(), lesson.id.as_str(), &body, now).expect("queued");
    }

    /// Queues the sample lesson under another name.
    pub(crate) fn publish_lesson(&mut self, id: &str, now: Timestamp) {
        self.queue(&sample::lesson(id), now);
    }

    /// Queues the end of a lesson.
    pub(crate) fn queue_retraction(&mut self, entry: EntryId, lesson: &str, now: Timestamp) {
        let body = Retraction { entry, lesson: lesson.parse().expect("a slug"), reason: "it was wrong".to_owned() };
        let body = serde_json::to_string(&body).expect("serialises");
        self.db_mut().queue_draft(Kind::Retract.name(), lesson, &body, now).expect("queued");
    }

    /// One sync.
    pub(crate) fn sync(&mut self, now: Timestamp) -> Result<SyncReport, ExchangeError> {
        let (mut remote, branch, mesh) = (self.way.clone(), self.way.clone(), mesh_name());
        let mut exchange = Exchange {
            mesh: &mesh,
            key: &self.key,
            name: &self.name,
            next: self.next.as_ref().map(HostKey::host),
            keyring: &mut self.keyring,
            db: self.db.as_mut().expect("open"),
            spool: &self.spool,
            remote: &mut remote,
            branch: &branch,
            machine: self.machine.clone(),
        };
        let report = exchange::sync(&mut exchange, now)?;
        let Some(next) = &self.next else { return Ok(report) };
        if exchange::switch(self.db.as_mut().expect("open"), &mesh, &self.key, next, now)? {
            self.key = self.next.take().expect("there is one");
        }
        Ok(report)
    }

    /// What is known of the host with this key.
    pub(crate) fn peer(&self, host: HostId) -> PeerRow {
        self.db().peer(host).expect("read").unwrap_or_else(|| PeerRow::unseen(host, Timestamp::UNIX_EPOCH))
    }

    pub(crate) fn state_of(&self, host: HostId) -> PeerState {
        self.peer(host).state
    }

    /// Lessons of one host as they are listed here, by seq.
    pub(crate) fn lessons_of(&self, host: HostId) -> Vec<InboxRow> {
        let mut rows: Vec<InboxRow> =
            self.db().inbox().expect("read").into_iter().filter(|row| row.host == host).collect();
        rows.sort_by_key(|row| row.seq);
        rows
    }

    /// Verified entries of one host, in order.
    pub(crate) fn entries_of(&self, host: HostId) -> Vec<EntryId> {
        self.db().peer_entries(host, 1, u32::MAX).expect("read").into_iter().map(|entry| entry.id).collect()
    }

    /// What this host signed, in order.
    pub(crate) fn signed(&self) -> Vec<EntryId> {
        self.db().own_entries().expect("read").into_iter().map(|entry| entry.id).collect()
    }
}

pub(crate) fn mesh_name() -> MeshName {
    "home".parse().expect("a name")
}

/// Entries of `key` from `from` on, each a lesson of its own, as envelope files by path.
pub(crate) fn chain_files(
    key: &HostKey,
    from: Position,
    count: u64,
    now: Timestamp,
) -> (Vec<(String, Vec<u8>)>, Position) {
    let mut position = from;
    let mut files = Vec::new();
    let mut lesson = sample::lesson("flood");
    for _ in 0..count {
        let header = position.next_header(&mesh_name(), key.host(), now);
        lesson.id = format!("flood-{}", header.seq).parse().expect("a slug");
        let envelope = Envelope::seal(key, Kind::Lesson, entry::payload(&header, &lesson).expect("small"));
        files.push((branch_path::entry(key.host(), header.seq), envelope.to_file()));
        position = position.after(envelope.entry_id());
    }
    (files, position)
}

/// An envelope file of any payload type, signed by the key made from `seed`.
pub(crate) fn sign_raw(seed: u8, payload_type: &str, payload: &str) -> Vec<u8> {
    use ed25519_dalek::Signer as _;
    let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
    let signature = key.sign(&pae(payload_type, payload.as_bytes())).to_bytes();
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let keyid = HostKey::from_seed(&[seed; 32]).host().to_string();
    let signatures = [serde_json::json!({ "keyid": keyid, "sig": encode(&signature) })];
    serde_json::json!({ "payload": encode(payload.as_bytes()), "payloadType": payload_type, "signatures": signatures })
        .to_string()
        .into_bytes()
}

/// A head, signed.
pub(crate) fn head_file(key: &HostKey, head: &Head) -> Vec<u8> {
    Envelope::seal(key, Kind::Head, serde_json::to_vec_pretty(head).expect("serialises")).to_file()
}

/// The payload of an entry with nothing in it but the header and one text.
pub(crate) fn bare_payload(host: HostId, from: &Position, text: &str, now: Timestamp) -> String {
    let header = from.next_header(&mesh_name(), host, now);
    let mut value = serde_json::to_value(&header).expect("serialises");
    value["text"] = text.into();
    format!("{value:#}\n")
}

/// Hosts that all know each other, one server, one clock.
pub(crate) struct World {
    pub(crate) server: MemoryBranch,
    pub(crate) hosts: Vec<Host>,
    pub(crate) now: Timestamp,
}

impl World {
    /// `count` hosts named a, b, c, ..., in that order, which all enrolled each other.
    pub(crate) fn of(count: u8) -> Self {
        let server = MemoryBranch::default();
        let mut hosts: Vec<Host> = (0..count)
            .map(|number| Host::new(&char::from(b'a' + number).to_string(), number + 1, server.client(number)))
            .collect();
        let known: Vec<(PeerName, HostId)> = hosts.iter().map(|host| (host.name.clone(), host.id())).collect();
        for host in &mut hosts {
            let me = host.id();
            for (name, id) in known.iter().filter(|(_, id)| *id != me) {
                host.enroll(name, *id);
            }
        }
        Self { server, hosts, now: "2026-11-22T10:00:00Z".parse().expect("a time") }
    }

    pub(crate) fn id(&self, host: usize) -> HostId {
        self.hosts[host].id()
    }

    /// Advances the clock.
    pub(crate) fn wait(&mut self, span: SignedDuration) {
        self.now += span;
    }

    /// One sync of one host, a minute after the last.
    pub(crate) fn try_sync(&mut self, host: usize) -> Result<SyncReport, ExchangeError> {
        self.wait(SignedDuration::from_mins(1));
        self.hosts[host].sync(self.now)
    }

    /// One sync of one host, which must be able to work.
    pub(crate) fn sync(&mut self, host: usize) -> SyncReport {
        self.try_sync(host).expect("this host's own state is sound")
    }

    /// Signs and publishes lessons of these names on one host.
    pub(crate) fn publish(&mut self, host: usize, lessons: &[&str]) {
        let now = self.now;
        for lesson in lessons {
            self.hosts[host].publish_lesson(lesson, now);
        }
        let report = self.sync(host);
        assert!(report.remote.is_none(), "{report:?}");
        assert_eq!(report.signed.len(), lessons.len());
    }

    /// What `reader` says of `host`.
    pub(crate) fn state(&self, reader: usize, host: usize) -> PeerState {
        self.hosts[reader].state_of(self.id(host))
    }

    /// Names of the lessons of `host` that `reader` verified.
    pub(crate) fn lessons(&self, reader: usize, host: usize) -> Vec<String> {
        self.hosts[reader].lessons_of(self.id(host)).into_iter().map(|row| row.slug).collect()
    }
}

fn names(count: u32) -> Vec<String> {
    (1..=count).map(|n| format!("lesson-{n}")).collect()
}

/// A world in which host A has published so many lessons, and nobody has read them.
pub(crate) fn with_lessons_of_a(hosts: u8, count: u32) -> World {
    let mut world = World::of(hosts);
    let names = names(count);
    world.publish(0, &names.iter().map(String::as_str).collect::<Vec<_>>());
    world
}

/// A chain of entries that are cheap to make.
pub(crate) fn bare_chain(seed: u8, from: Position, count: u64, now: Timestamp) -> (Vec<(String, Vec<u8>)>, Position) {
    let host = HostKey::from_seed(&[seed; 32]).host();
    let (mut position, mut files) = (from, Vec::new());
    for _ in 0..count {
        let payload = bare_payload(host, &position, "flood", now);
        let file = sign_raw(seed, &Kind::Attestation.payload_type(), &payload);
        let id = Envelope::parse(&file).expect("well-formed").entry_id();
        files.push((branch_path::entry(host, position.next_seq()), file));
        position = position.after(id);
    }
    (files, position)
}

/// Puts a chain and a head that names its end on the branch.
pub(crate) fn publish_chain(world: &World, seed: u8, files: &[(String, Vec<u8>)], end: Position, n: u64) {
    let key = HostKey::from_seed(&[seed; 32]);
    let head = head_file(&key, &Head::next(&mesh_name(), key.host(), n, &end, vec![], world.now));
    world.server.rewrite(|tree| {
        tree.extend(files.iter().map(|(path, bytes)| (path.clone(), bytes.as_slice().into())));
        tree.insert(branch_path::head(key.host()), head.into());
    });
}
