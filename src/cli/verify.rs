//! `mesh verify`: any envelope file, offline, against one key or the trust directory.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{CliError, Context, ExitKind, Outcome, out};
use crate::domain::chain::ChainHeader;
use crate::domain::envelope::{Envelope, PublicKey, Signed};
use crate::domain::foreign_text::error_line;
use crate::domain::id::HostId;
use crate::domain::limits;
use crate::domain::strict_json;
use crate::domain::trust::PeerLine;
use crate::ports::Clock as _;
use crate::store::db::Db;
use crate::store::files;
use crate::store::keyring::{self, Keyring};
use crate::sys::clock::SystemClock;

/// Which files, and against which key.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Envelope files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// A key file, an OpenSSH line or a host id [default: this host and its peers]
    #[arg(long)]
    key: Option<String>,
}

struct Known {
    name: String,
    host: HostId,
}

struct Verdict {
    signed: Signed,
    by: String,
    header: Option<ChainHeader>,
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    let known = match &args.key {
        Some(key) => vec![asked(key)?],
        None => trusted(context)?,
    };
    let mut shown = Vec::new();
    let mut all_good = true;
    for path in &args.files {
        let verdict = verify(path, &known);
        all_good &= verdict.is_ok();
        if context.json {
            shown.push(as_json(path, &verdict));
        } else {
            out::line(in_words(path, &verdict));
        }
    }
    if context.json {
        out::json(&json!({ "files": shown }));
    }
    Ok(if all_good { ExitKind::Ok } else { ExitKind::Verification })
}

fn asked(key: &str) -> Result<Known, CliError> {
    let host = match key.parse::<HostId>() {
        Ok(host) => host,
        Err(_) => {
            let text = if key.contains(' ') {
                key.to_owned()
            } else {
                files::read_text(Path::new(key), 4_096).map_err(|error| CliError::of(ExitKind::Usage, &error))?
            };
            PeerLine::parse(&text).map_err(|error| CliError::of(ExitKind::Usage, &error))?.host
        }
    };
    Ok(Known { name: "the given key".to_owned(), host })
}

fn trusted(context: &Context) -> Result<Vec<Known>, CliError> {
    let home = context.home()?;
    let usage = |error: &(dyn std::error::Error + 'static)| {
        CliError::of(ExitKind::Usage, error).hint("name a key with --key to verify without a home")
    };
    home.demand().map_err(|error| usage(&error))?;
    let db = Db::open(&home.database()).map_err(|error| usage(&error))?;
    let keyring = Keyring::load_with_roster(&home, &db, SystemClock.now()).map_err(|error| usage(&error))?;
    let own = keyring::load_host_key(&home).map_err(|error| usage(&error))?.host();
    let mut known = vec![Known { name: "this host".to_owned(), host: own }];
    let peers = keyring.peers().iter().filter(|peer| keyring.revoked(peer.line.host).is_none());
    known.extend(peers.map(|peer| Known { name: peer.name.to_string(), host: peer.line.host }));
    Ok(known)
}

fn verify(path: &Path, known: &[Known]) -> Result<Verdict, String> {
    let bytes = files::read_bytes(path, u64::try_from(limits::ENVELOPE_BYTES).unwrap_or(u64::MAX))
        .map_err(|error| error_line(&error))?;
    let envelope = Envelope::parse(&bytes).map_err(|error| error_line(&error))?;
    let claimed = envelope.claimed_key();
    // `keyid` only tells which key to try first: what counts is which one fits.
    let mut last = format!(
        "signed by {}, who is not trusted here",
        claimed.map_or("an unnamed key".to_owned(), |host| host.short())
    );
    let mut candidates: Vec<&Known> = known.iter().collect();
    candidates.sort_by_key(|known| Some(known.host) != claimed);
    for candidate in candidates {
        let key = PublicKey::of(candidate.host).map_err(|error| error_line(&error))?;
        match envelope.clone().verify(&key) {
            Ok(signed) => {
                let header = strict_json::read(signed.payload(), strict_json::PAYLOAD).ok();
                return Ok(Verdict { signed, by: candidate.name.clone(), header });
            }
            Err(error) if Some(candidate.host) == claimed || known.len() == 1 => last = error_line(&error),
            Err(_) => {}
        }
    }
    Err(last)
}

fn as_json(path: &Path, verdict: &Result<Verdict, String>) -> serde_json::Value {
    match verdict {
        Ok(verdict) => json!({
            "file": path, "ok": true, "entry": verdict.signed.entry(), "host": verdict.signed.host(),
            "by": verdict.by, "type": verdict.signed.payload_type(),
            "mesh": verdict.header.as_ref().map(|header| &header.mesh),
            "seq": verdict.header.as_ref().map(|header| header.seq),
        }),
        Err(why) => json!({ "file": path, "ok": false, "why": why }),
    }
}

fn in_words(path: &Path, verdict: &Result<Verdict, String>) -> String {
    match verdict {
        Ok(verdict) => {
            let kind = verdict.signed.kind().map_or("unsupported", |kind| kind.name());
            let seq = verdict.header.as_ref().map(|header| format!(" {}", header.seq)).unwrap_or_default();
            format!("{}: good: {kind}{seq} signed by {}, entry {}", path.display(), verdict.by, verdict.signed.entry())
        }
        Err(why) => format!("{}: refused: {why}", path.display()),
    }
}
