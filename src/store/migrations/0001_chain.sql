-- What this host signed. Rows are written before any push and never changed, but for the day of the read-back.
CREATE TABLE own_entries (
    seq          INTEGER PRIMARY KEY,
    id           BLOB NOT NULL UNIQUE,
    payload_type TEXT NOT NULL,
    envelope     BLOB NOT NULL,
    signed_at    INTEGER NOT NULL,
    confirmed_at INTEGER
) STRICT;

-- What waits to be signed: nothing is signed before a successful fetch.
CREATE TABLE drafts (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    kind      TEXT NOT NULL,
    slug      TEXT NOT NULL,
    body      TEXT NOT NULL,
    queued_at INTEGER NOT NULL
) STRICT;

-- Verified entries of peers, as they arrived.
CREATE TABLE entries (
    host         BLOB NOT NULL,
    seq          INTEGER NOT NULL,
    id           BLOB NOT NULL,
    payload_type TEXT NOT NULL,
    envelope     BLOB NOT NULL,
    received_at  INTEGER NOT NULL,
    PRIMARY KEY (host, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX entries_by_id ON entries (id);

-- Where each peer's chain stands, and what is wrong with it.
CREATE TABLE peers (
    host       BLOB PRIMARY KEY,
    seq        INTEGER NOT NULL,
    tip        BLOB,
    state      TEXT NOT NULL,
    detail     TEXT NOT NULL,
    head_n     INTEGER NOT NULL,
    head       BLOB,
    expires_at INTEGER,
    seen_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Proofs that a peer signed two entries with one seq. A row here ends the key for good.
CREATE TABLE forks (
    host  BLOB PRIMARY KEY,
    seq   INTEGER NOT NULL,
    one   BLOB NOT NULL,
    other BLOB NOT NULL,
    at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What was refused, once for each distinct thing.
CREATE TABLE refusals (
    path   TEXT NOT NULL,
    digest BLOB NOT NULL,
    host   BLOB,
    reason TEXT NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (path, digest)
) STRICT, WITHOUT ROWID;

-- Lessons of peers, one row for each lesson entry. Keyed as the log is, so that a batch of one peer lands together;
-- an entry id leads here through entries_by_id.
CREATE TABLE inbox (
    host     BLOB NOT NULL,
    seq      INTEGER NOT NULL,
    entry    BLOB NOT NULL,
    slug     TEXT NOT NULL,
    rev      INTEGER NOT NULL,
    severity TEXT NOT NULL,
    scope    TEXT NOT NULL,
    state    TEXT NOT NULL,
    reason   TEXT NOT NULL,
    findings INTEGER,
    at       INTEGER NOT NULL,
    PRIMARY KEY (host, seq)
) STRICT, WITHOUT ROWID;

-- What the audit worker said of a lesson's bytes, so that it is asked once.
CREATE TABLE admissions (
    digest  BLOB PRIMARY KEY,
    engine  TEXT NOT NULL,
    refusal TEXT,
    at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE facts (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
