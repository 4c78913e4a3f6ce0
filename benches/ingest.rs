//! Ingest of 100,000 entries against its floor: the same entries parsed, verified and inserted, and no more.
//!
//! Run by `scripts/bench/ingest.sh`. Prints both times and their ratio, three runs in turns.

#![expect(clippy::print_stdout, reason = "what a benchmark is for")]
#![expect(dead_code, reason = "the support of the tests has more than is needed here")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use mesh::domain::chain::{PeerState, Position};
use mesh::domain::envelope::{HostKey, pae};
use mesh::domain::lesson::Lesson;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use support::host::{Host, World, chain_files, publish_chain};

const PEERS: u8 = 5;
const ENTRIES_PER_PEER: u64 = 20_000;
const RUNS: usize = 3;

type Files = Vec<(String, Vec<u8>)>;

#[derive(Deserialize)]
struct SignatureFile {
    sig: String,
}

#[derive(Deserialize)]
struct EnvelopeFile {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<SignatureFile>,
}

#[derive(Deserialize)]
struct Header {
    seq: u64,
}

/// Payloads have the chain header beside the lesson; it is taken off as any reader must.
fn read_lesson(payload: &[u8]) -> (Header, Lesson) {
    let header: Header = serde_json::from_slice(payload).expect("own header");
    let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(payload).expect("own payload");
    for name in ["mesh", "host", "seq", "prev", "issued_at"] {
        fields.remove(name);
    }
    (header, Lesson::deserialize(serde_json::Value::Object(fields)).expect("own lesson"))
}

/// The floor: what nobody can leave out, in the loop that does it and nothing else. One transaction for as
/// many entries as a sync takes of a peer, each waited for until the disk has it, as in the exchange.
fn floor(chains: &[(HostKey, Files)], limit: usize, dir: &Path) -> Duration {
    let mut connection = rusqlite::Connection::open(dir.join("floor.db")).expect("opened");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE entries (host BLOB NOT NULL, seq INTEGER NOT NULL, id BLOB NOT NULL, payload_type TEXT NOT NULL,
                envelope BLOB NOT NULL, received_at INTEGER NOT NULL, PRIMARY KEY (host, seq)) STRICT, WITHOUT ROWID;
             CREATE INDEX entries_by_id ON entries (id);",
        )
        .expect("made");
    let start = Instant::now();
    for (key, files) in chains {
        let host = key.host();
        let public = VerifyingKey::from_bytes(host.as_bytes()).expect("a key");
        for cycle in files.chunks(limit) {
            let transaction = connection.transaction().expect("begun");
            {
                let mut insert =
                    transaction.prepare_cached("INSERT INTO entries VALUES (?1, ?2, ?3, ?4, ?5, 0)").expect("prepared");
                for (_, file) in cycle {
                    let envelope: EnvelopeFile = serde_json::from_slice(file).expect("own envelope");
                    let payload = STANDARD.decode(&envelope.payload).expect("base64");
                    let signature = STANDARD.decode(&envelope.signatures[0].sig).expect("base64");
                    let pae = pae(&envelope.payload_type, &payload);
                    let signature = Signature::from_slice(&signature).expect("64 bytes");
                    public.verify_strict(&pae, &signature).expect("own signature");
                    let id: [u8; 32] = Sha256::digest(&pae).into();
                    let (header, lesson) = read_lesson(&payload);
                    assert_eq!(lesson.rev, 1);
                    let seq = i64::try_from(header.seq).expect("small");
                    insert
                        .execute(rusqlite::params![host.as_bytes(), seq, id, envelope.payload_type, file])
                        .expect("inserted");
                }
            }
            transaction.commit().expect("on disk");
        }
    }
    start.elapsed()
}

/// Syncs until nothing is left to read.
fn exchange(chains: &[(HostKey, Files)], world: &mut World) -> (Duration, Host) {
    let mut reader = Host::at(temp_dir_on_disk(), "reader", 99, world.server.client(99));
    for (number, (key, _)) in chains.iter().enumerate() {
        reader.enroll(&format!("peer-{number}").parse().expect("a name"), key.host());
    }
    let total: u64 = chains.iter().map(|(_, files)| u64::try_from(files.len()).expect("small")).sum();
    let (start, mut received) = (Instant::now(), 0);
    while received < total {
        let report = reader.sync(world.now).expect("works");
        assert!(report.received > 0 && report.refused.is_empty() && report.remote.is_none(), "{report:?}");
        received += report.received;
    }
    let took = start.elapsed();
    for (key, _) in chains {
        assert_eq!(reader.state_of(key.host()), PeerState::Ok);
    }
    (took, reader)
}

fn temp_dir_on_disk() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temp dir")
}

fn main() {
    let per_peer = std::env::var("ENTRIES_PER_PEER").ok().and_then(|n| n.parse().ok()).unwrap_or(ENTRIES_PER_PEER);
    let mut world = World::of(0);
    let mut chains: Vec<(HostKey, Files)> = Vec::new();
    for number in 0..PEERS {
        let seed = number + 1;
        let key = HostKey::from_seed(&[seed; 32]);
        let (files, end) = chain_files(&key, Position::default(), per_peer, world.now);
        publish_chain(&world, seed, &files, end, 1);
        chains.push((key, files));
    }
    world.wait(jiff::SignedDuration::from_mins(1));
    let entries: usize = chains.iter().map(|(_, files)| files.len()).sum();
    let bytes: usize = chains.iter().flat_map(|(_, files)| files).map(|(_, file)| file.len()).sum();
    println!("{entries} lessons of {} peers, {} bytes each", chains.len(), bytes / entries);
    let limit = usize::try_from(mesh::domain::limits::ENTRIES_PER_PEER_PER_CYCLE).expect("small");
    // Each run leaves its files until the last one is over: some file systems look long for room for a new file where many were
    // deleted a moment ago.
    let (mut ratios, mut left) = (Vec::new(), Vec::new());
    for run in 1..=RUNS {
        // Each begins with a disk that has all of what came before: gigabytes are written here.
        rustix::fs::sync();
        let dir = temp_dir_on_disk();
        let floor = floor(&chains, limit, dir.path()).as_secs_f64();
        rustix::fs::sync();
        let (exchange, reader) = exchange(&chains, &mut world);
        let exchange = exchange.as_secs_f64();
        left.push((dir, reader));
        ratios.push(exchange / floor);
        println!("run {run}: floor {floor:.2} s, exchange {exchange:.2} s, ratio {:.2}", exchange / floor);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2} (target: at most 1.4)", ratios[RUNS / 2]);
}
