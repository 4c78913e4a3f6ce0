//! `mesh requests`: hosts that ask to be enrolled.

use serde_json::json;

use super::table::{Table, age};
use super::{CliError, Context, ExitKind, Outcome, out};
use crate::agent::requests::{self, RequestsError};

pub(super) fn failure(error: &RequestsError) -> CliError {
    CliError::of(if matches!(error, RequestsError::NeverSynced) { ExitKind::Usage } else { ExitKind::Error }, error)
}

pub(super) fn run(context: &Context) -> Outcome {
    let parts = context.open()?;
    let found = requests::list(&parts).map_err(|error| failure(&error))?;
    if context.json {
        let rows: Vec<_> = found
            .iter()
            .map(|request| {
                json!({
                    "name": request.name, "host": request.host, "fingerprint": request.fingerprint,
                    "issued_at": request.issued_at.to_string(),
                })
            })
            .collect();
        out::json(&json!({ "requests": rows }));
        return Ok(ExitKind::Ok);
    }
    if found.is_empty() {
        out::line("Nobody asks to be enrolled.");
        return Ok(ExitKind::Ok);
    }
    let mut table = Table::new(&["NAME~", "FINGERPRINT", "ASKED"]);
    for request in &found {
        let asked = age(parts.now().as_second() - request.issued_at.as_second());
        table.row([request.name.to_string(), request.fingerprint.clone(), asked]);
    }
    table.lines().iter().for_each(out::line);
    out::line("Anybody who can push can ask. Compare with `mesh id --fingerprint` on the host itself, then run");
    let command = if parts.keyring.admins().is_empty() { "mesh enroll" } else { "mesh admin add" };
    out::line(format!("  {command} NAME --fingerprint FP"));
    Ok(ExitKind::Ok)
}
