-- Rosters that were verified, each by the one before it. Never changed.
CREATE TABLE rosters (
    version     INTEGER PRIMARY KEY,
    id          BLOB NOT NULL,
    envelope    BLOB NOT NULL,
    received_at INTEGER NOT NULL
) STRICT;

-- The roster version that a peer's newest head goes by.
ALTER TABLE peers ADD COLUMN roster INTEGER;
