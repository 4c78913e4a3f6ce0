-- What the last audit of each root found. `body` is the finding as JSON.
CREATE TABLE findings (
    root          BLOB NOT NULL,
    fingerprint   BLOB NOT NULL,
    lesson        TEXT NOT NULL,
    suppressed    INTEGER NOT NULL,
    body          TEXT NOT NULL,
    first_seen_at INTEGER NOT NULL,
    PRIMARY KEY (root, fingerprint)
) STRICT, WITHOUT ROWID;
CREATE INDEX findings_by_lesson ON findings (lesson);

-- Findings that a person knows of and lives with, each with a reason.
CREATE TABLE baseline (
    root        BLOB NOT NULL,
    fingerprint BLOB NOT NULL,
    lesson      TEXT NOT NULL,
    reason      TEXT NOT NULL,
    expires_at  INTEGER,
    PRIMARY KEY (root, fingerprint)
) STRICT, WITHOUT ROWID;

-- Fixes that were planned, and what became of each. Times are in milliseconds since 1970.
CREATE TABLE fixes (
    id          TEXT PRIMARY KEY,
    lesson      TEXT NOT NULL,
    rev         INTEGER NOT NULL,
    entry       BLOB,
    class       TEXT NOT NULL,
    state       TEXT NOT NULL,
    root        BLOB NOT NULL,
    path        TEXT NOT NULL,
    branch      TEXT,
    commit_id   TEXT,
    base_id     TEXT,
    before_hash TEXT NOT NULL,
    after_hash  TEXT NOT NULL,
    diff        TEXT NOT NULL,
    reason      TEXT,
    check_said  TEXT NOT NULL,
    ended_by    TEXT,
    mends       TEXT NOT NULL,
    verdicts    TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX fixes_by_root ON fixes (root);
