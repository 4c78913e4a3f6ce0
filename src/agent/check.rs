//! Everything that is stored, verified again from the keys up.

use super::parts::Parts;
use crate::domain::chain::{self, Position};
use crate::domain::envelope::{Envelope, PublicKey};
use crate::domain::foreign_text::error_line;
use crate::domain::id::{HostId, MeshName};
use crate::store::db::DbError;

/// What the check came to.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Entries that were looked at.
    pub entries: u64,
    /// Rows of the ledger that were looked at.
    pub ledger: u64,
    /// What is wrong, a sentence each.
    pub faults: Vec<String>,
}

/// Checks the database file, this host's chain, every peer's chain and the ledger.
///
/// # Errors
/// The database cannot be read at all.
pub fn everything(parts: &Parts) -> Result<Checked, DbError> {
    let mut checked = Checked::default();
    if let Err(error) = parts.db.check() {
        checked.faults.push(error_line(&error));
    }
    let own = parts.db.own_entries()?;
    let mut log = Log::of("this host", &parts.config.mesh, parts.key.host());
    for entry in &own {
        log.take(&mut checked, entry.seq, &entry.envelope);
    }
    for row in parts.db.peers()? {
        let name = parts.keyring.by_host(row.host).map_or_else(|| row.host.short(), |peer| peer.name.to_string());
        let mut log = Log::of(&name, &parts.config.mesh, row.host);
        loop {
            let some = parts.db.peer_entries(row.host, log.position.next_seq(), 512)?;
            let before = log.position;
            for entry in &some {
                log.take(&mut checked, entry.seq, &entry.envelope);
            }
            if log.position == before {
                break;
            }
        }
        if log.position != row.position {
            checked
                .faults
                .push(format!("{name}: {} entries are stored, {} were counted", log.position.seq, row.position.seq));
        }
    }
    let ledger = parts.db.audit_ledger()?;
    checked.ledger = ledger.rows;
    checked.faults.extend(ledger.faults);
    Ok(checked)
}

struct Log<'a> {
    name: String,
    mesh: &'a MeshName,
    host: HostId,
    position: Position,
}

impl<'a> Log<'a> {
    fn of(name: &str, mesh: &'a MeshName, host: HostId) -> Self {
        Self { name: name.to_owned(), mesh, host, position: Position::default() }
    }

    fn take(&mut self, checked: &mut Checked, seq: u64, envelope: &[u8]) {
        checked.entries += 1;
        match self.verify(seq, envelope) {
            Ok(position) => self.position = position,
            Err(why) => checked.faults.push(format!("{}: entry {seq}: {why}", self.name)),
        }
    }

    fn verify(&self, seq: u64, envelope: &[u8]) -> Result<Position, String> {
        let key = PublicKey::of(self.host).map_err(|error| error_line(&error))?;
        let signed =
            Envelope::parse(envelope).and_then(|envelope| envelope.verify(&key)).map_err(|error| error_line(&error))?;
        chain::link(self.mesh, &self.position, seq, &signed).map_err(|error| error_line(&error))?;
        Ok(self.position.after(signed.entry()))
    }
}
