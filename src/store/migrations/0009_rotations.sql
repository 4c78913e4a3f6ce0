-- Keys that their hosts announced to leave, and whether the new key took the move up.
CREATE TABLE rotations (
    old   BLOB PRIMARY KEY,
    new   BLOB NOT NULL,
    seq   INTEGER NOT NULL,
    entry BLOB NOT NULL,
    taken INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What this host signed with keys that it has left.
CREATE TABLE past_entries (
    host         BLOB NOT NULL,
    seq          INTEGER NOT NULL,
    id           BLOB NOT NULL,
    payload_type TEXT NOT NULL,
    envelope     BLOB NOT NULL,
    left_at      INTEGER NOT NULL,
    PRIMARY KEY (host, seq)
) STRICT, WITHOUT ROWID;
