//! Bytes of anybody, bent out of good ones: no reader panics, hangs or takes in what it could not write again.
//!
//! Each target starts from the files in tests/corpus/<target>/. In a usual test run it bends them a few hundred times;
//! scripts/fuzz.sh gives each as many seconds as it is told. A failing input is printed and belongs into the corpus.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use git2::{ObjectType, Odb, Oid};
use mesh::domain::branch_path;
use mesh::domain::chain::{self, Position};
use mesh::domain::envelope::{Envelope, HostKey, Kind, PublicKey};
use mesh::domain::expr::Claim;
use mesh::domain::fork::ForkProof;
use mesh::domain::head::Head;
use mesh::domain::id::EntryId;
use mesh::domain::join::Join;
use mesh::domain::lesson::Lesson;
use mesh::domain::trust::{PeerLine, Revoked};
use mesh::domain::{entry, openssh, roster, strict_json};
use mesh::ports::{Branch as _, Tip};
use mesh::store::authored;
use mesh::store::config::Config;
use mesh::store::home::Home;
use mesh::sys::cache::BranchCache;
use mesh::sys::remote::packets;

use crate::support::host::{mesh_name, sign_raw, temp_dir};

/// How often a target bends its corpus when nobody says for how long.
const USUAL: u32 = 300;

/// Random numbers from a seed that a failing run prints.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        // xorshift64*: good enough to bend bytes with.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).expect("small")).expect("below `end`")
    }
}

/// Pieces that parsers have stumbled over.
const PIECES: [&str; 24] = [
    "\u{feff}",
    "\0",
    "\u{202e}",
    "\\ud800",
    "9007199254740992",
    "-1",
    "1e9",
    "18446744073709551616",
    "null",
    "{}",
    "[]",
    "\"\"",
    "[[[[[[[[[[[[[[[[[[",
    "{\"a\":{\"a\":{\"a\":",
    "..",
    "/",
    "../../etc/passwd",
    "\u{1b}[2J",
    "\r\n",
    "((((((((((((((((",
    "a{1000}{1000}",
    "'''",
    "\"\"\"",
    "\u{0}\u{10ffff}",
];

/// One of the good documents, bent.
fn bend(dice: &mut Dice, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[dice.below(corpus.len())].clone();
    for _ in 0..=dice.below(6) {
        let at = dice.below(bytes.len() + 1);
        match dice.below(7) {
            0 if at < bytes.len() => bytes[at] = u8::try_from(dice.below(256)).expect("a byte"),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.truncate(at),
            3 => {
                let piece = PIECES[dice.below(PIECES.len())].as_bytes();
                bytes.splice(at..at, piece.iter().copied());
            }
            4 => {
                // A part of the document once more, somewhere else.
                let (from, to) = (dice.below(bytes.len() + 1), dice.below(bytes.len() + 1));
                let part = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.splice(at..at, part.into_iter().take(512));
            }
            5 => {
                let other = &corpus[dice.below(corpus.len())];
                let from = dice.below(other.len() + 1);
                bytes.splice(at.., other[from..].iter().copied());
            }
            _ => bytes.insert(at, u8::try_from(dice.below(256)).expect("a byte")),
        }
    }
    bytes.truncate(256 * 1024);
    bytes
}

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target)
}

/// Feeds a target its corpus, and then the corpus bent, until it had its time.
#[expect(clippy::print_stdout, reason = "a failing run shows how to run it again")]
fn fuzz(target: &str, mut read: impl FnMut(&[u8])) {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder(target)).expect("a corpus").map(|entry| entry.expect("listed").path()).collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).expect("read")).collect();
    assert!(!corpus.is_empty(), "tests/corpus/{target} is empty");
    corpus.iter().for_each(|document| read(document));
    let set = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seed = set("FUZZ_SEED").unwrap_or_else(|| getrandom::u64().expect("the system has random bytes"));
    println!("again with FUZZ_SEED={seed}");
    let until = set("FUZZ_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut dice = Dice(seed | 1);
    let mut tried = 0_u32;
    while until.map_or(tried < USUAL, |until| Instant::now() < until) {
        let document = bend(&mut dice, &corpus);
        let shown = document.clone();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read(&document)));
        if let Err(panic) = outcome {
            println!("FUZZ_SEED={seed}, input {tried}: {}", base64::engine::general_purpose::STANDARD.encode(shown));
            std::panic::resume_unwind(panic);
        }
        tried += 1;
    }
    println!("{target}: {tried} inputs");
}

fn key() -> HostKey {
    HostKey::from_seed(&[1; 32])
}

fn public() -> PublicKey {
    PublicKey::of(key().host()).expect("full order")
}

#[test]
fn fuzz_envelope() {
    fuzz("envelope", |bytes| {
        if let Ok(envelope) = Envelope::parse(bytes) {
            let again = Envelope::parse(&envelope.to_file()).expect("what was read can be written and read");
            assert_eq!(again.entry_id(), envelope.entry_id());
            drop(envelope.verify(&public()));
        }
    });
}

/// Reads a payload as if the right key had signed it as each kind.
fn as_signed(bytes: &[u8], kinds: &[Kind], read: &mut dyn FnMut(&mesh::domain::envelope::Signed)) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for kind in kinds {
        let envelope = Envelope::parse(&sign_raw(1, &kind.payload_type(), text));
        if let Ok(signed) = envelope.and_then(|envelope| envelope.verify(&public())) {
            read(&signed);
        }
    }
}

#[test]
fn fuzz_payloads() {
    let kinds = [Kind::Lesson, Kind::Retract, Kind::Attestation, Kind::ForkProof, Kind::Rotate];
    fuzz("payloads", |bytes| {
        as_signed(bytes, &kinds, &mut |signed| {
            drop(entry::read_lesson(signed));
            drop(entry::read_retraction(signed));
            drop(entry::read_attestation(signed));
            drop(entry::read_rotate(signed));
            if let Ok(proof) = entry::read_fork_proof(signed) {
                assert!(!proof.body().proves(&mesh_name(), bytes, bytes));
            }
            if let Ok(header) = chain::link(&mesh_name(), &Position::default(), 1, signed) {
                assert_eq!((header.host, header.seq, header.prev), (key().host(), 1, None));
            }
        });
    });
}

#[test]
fn fuzz_head_and_join() {
    fuzz("head", |bytes| {
        as_signed(bytes, &[Kind::Head], &mut |signed| {
            if let Ok(head) = Head::read(&mesh_name(), signed) {
                assert!(head.n > 0 && head.host == key().host() && head.expires_at > head.issued_at);
            }
        });
        if let Ok(text) = std::str::from_utf8(bytes) {
            drop(Join::read(&mesh_name(), key().host(), &sign_raw(1, &Kind::Join.payload_type(), text)));
        }
    });
}

#[test]
fn fuzz_push_answers() {
    const NAME: &str = "refs/heads/mesh";
    fuzz("push_answers", |bytes| {
        if let Ok(ground) = packets::ground(&mut &*bytes, NAME, 100)
            && let Some(tip) = ground.tip
        {
            let hex = tip.to_string();
            assert!(bytes.to_ascii_lowercase().windows(40).any(|part| part == hex.as_bytes()), "only what it names");
        }
        if let Ok(None) = packets::report(&mut &*bytes, NAME) {
            let ok = format!("ok {NAME}");
            assert!(bytes.windows(ok.len()).any(|part| part == ok.as_bytes()), "taken only where it says so");
        }
        for is_cut_off in [false, true] {
            let mut rest = bytes;
            if packets::before_pack(&mut rest, is_cut_off).is_ok() {
                let read = &bytes[..bytes.len() - rest.len()];
                assert!(read.windows(3).any(|part| matches!(part, b"ACK" | b"NAK")), "a pack only where it says so");
            }
        }
    });
}

#[test]
fn fuzz_roster() {
    let admins = roster::Admins::pinned([key().host()]);
    fuzz("roster", |bytes| {
        drop(roster::accept(&mesh_name(), bytes, &admins, 0));
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let signed = sign_raw(1, &Kind::Roster.payload_type(), text);
        if let Ok((roster, _)) = roster::accept(&mesh_name(), &signed, &admins, 0) {
            roster.check().expect("what is accepted is sound");
            assert_eq!(roster.version, 1);
        }
    });
}

#[test]
fn fuzz_key_lines() {
    fuzz("key_lines", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(line) = PeerLine::parse(&text) {
            let again = PeerLine::parse(&line.to_string()).expect("what was read can be written and read");
            assert_eq!((again.host, again.grant, again.not_after), (line.host, line.grant, line.not_after));
        }
        drop(Revoked::parse(&text));
        drop(openssh::parse_private(&text));
    });
}

#[test]
fn fuzz_lesson_toml() {
    fuzz("lesson_toml", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(lesson) = authored::parse(Path::new("lesson.toml"), &text) {
            lesson.check().expect("what is taken keeps its limits");
        }
    });
}

#[test]
fn fuzz_config() {
    let dir = temp_dir();
    let home = Home::at(dir.path());
    home.create().expect("made");
    fuzz("config", |bytes| {
        std::fs::write(home.config_file(), bytes).expect("written");
        drop(Config::load(&home));
    });
}

#[test]
fn fuzz_claims() {
    fuzz("claims", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(claim) = Claim::compile(&text) {
            let db = mesh::store::db::Db::in_memory().expect("a database");
            let history = db.claim_history(&claim, 1_800_000_000).expect("read");
            std::hint::black_box(claim.evaluate(&history, 1_800_000_000));
        }
    });
}

/// The static part of admission, which is all of a peer's rule that the agent's own process ever looks at.
#[test]
fn fuzz_rules() {
    fuzz("rules", |bytes| {
        if let Ok(lesson) = strict_json::read::<Lesson>(bytes, strict_json::PAYLOAD) {
            drop(lesson.check());
        }
    });
}

#[test]
fn fuzz_tree_paths() {
    let dir = temp_dir();
    let repository = git2::Repository::init_bare(dir.path()).expect("made");
    let odb: Odb<'_> = repository.odb().expect("opened");
    let blob = odb.write(ObjectType::Blob, b"{}").expect("written");
    let host = key().host();
    fuzz("tree_paths", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        for name in text.split('/') {
            if let Some(seq) = branch_path::seq_of_entry_name(name.as_bytes()) {
                assert_eq!(branch_path::entry_name(seq), name);
            }
            if let Some(chunk) = branch_path::chunk_of_name(name.as_bytes()) {
                assert_eq!(branch_path::chunk_name(chunk.saturating_mul(100).saturating_add(1)), name);
            }
        }
        // The bytes as a tree, and as the name of an entry of one; then read like any branch.
        let mut named = b"100644 ".to_vec();
        named.extend(bytes.iter().filter(|byte| **byte != 0));
        named.push(0);
        named.extend(blob.as_bytes());
        for tree in [bytes, &named[..]] {
            let tree = odb.write(ObjectType::Tree, tree).expect("any bytes are stored");
            read_branch(&odb, tree, dir.path(), host);
        }
    });
    let proof = ForkProof { key: host, at: 1, one: EntryId::from_bytes([1; 32]), other: EntryId::from_bytes([2; 32]) };
    assert!(branch_path::is_constructed(&branch_path::proof(host, proof.one)));
}

fn read_branch(odb: &Odb<'_>, tree: Oid, path: &Path, host: mesh::domain::id::HostId) {
    let commit = format!("tree {tree}\nauthor a <a> 0 +0000\ncommitter a <a> 0 +0000\n\nx\n");
    let commit = odb.write(ObjectType::Commit, commit.as_bytes()).expect("written");
    let mut tip = [0; 20];
    tip.copy_from_slice(commit.as_bytes());
    let branch = BranchCache::new(path);
    drop(branch.changed_hosts(None, Tip(tip)));
    drop(branch.file(Tip(tip), &branch_path::head(host), 1_024));
    drop(branch.log(Tip(tip), host, 1, 4));
}
