//! `mesh fsck`: the database, every signature and link in it, and the ledger, checked again.

use serde_json::json;

use super::{CliError, Context, ExitKind, Outcome, out};
use crate::agent::check::{self, Checked};

pub(super) fn run(context: &Context) -> Outcome {
    let parts = context.open()?;
    let Checked { entries, ledger, faults } =
        check::everything(&parts).map_err(|error| CliError::of(ExitKind::Error, &error))?;
    if context.json {
        out::json(&json!({ "entries": entries, "ledger": ledger, "faults": faults }));
    } else if faults.is_empty() {
        out::line(format!(
            "All is well: {entries} entries verified and linked, {ledger} rows of the ledger in order, database sound."
        ));
    } else {
        faults.iter().for_each(out::line);
    }
    Ok(if faults.is_empty() { ExitKind::Ok } else { ExitKind::Verification })
}
