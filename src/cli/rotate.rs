//! `mesh rotate`: this host moves to a new key, and its peers follow by themselves.

use serde_json::json;

use super::{CliError, Context, ExitKind, Outcome, out, sync};
use crate::agent::parts::PartsError;
use crate::domain::openssh;
use crate::store::keyring;

pub(super) fn run(context: &Context) -> Outcome {
    let mut parts = context.open()?;
    let old = parts.key.host();
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|_| CliError::of(ExitKind::Error, &PartsError::System("random numbers")))?;
    let new = keyring::create_next_key(&parts.home, &seed)?.host();
    // A running agent moves at its next sync.
    let lock = parts.lock().ok();
    let mut said = None;
    if lock.is_some() {
        said = Some(sync::sync(&mut parts)?);
    }
    let moved = parts.key.host() == new;
    if context.json {
        let fingerprint = openssh::fingerprint(new);
        out::json(&json!({ "old": old, "new": new, "fingerprint": fingerprint, "moved": moved }));
        return Ok(ExitKind::Ok);
    }
    if let Some(report) = &said {
        sync::say(report);
    }
    if moved {
        out::line(format!("This host has moved from {} to {}.", old.short(), new.short()));
        out::line(
            "The old key signed its last entry and is gone from this disk; copies of it are worth nothing more once",
        );
        out::line(
            "every peer has synced. Peers follow by themselves and keep the name, the grant and what they believed.",
        );
        if !parts.keyring.admins().is_empty() {
            out::line(format!(
                "Let an admin list the new key: `mesh admin add {} LINE`, sign, publish.",
                parts.config.name
            ));
        }
    } else {
        out::line("The new key is made. The next sync that reaches the remote signs the move with both keys.");
        out::line("Until then the old key is in use. To give the move up before, remove keys/next.key.");
    }
    out::line(
        "If the old key may be in other hands, this is not enough: run `mesh revoke NAME --compromised` on the peers.",
    );
    Ok(ExitKind::Ok)
}
