-- What rules found and did. An incident is its body; the columns are for finding it.
CREATE TABLE incidents (
    id      INTEGER PRIMARY KEY,
    rule    INTEGER NOT NULL,
    target  TEXT NOT NULL,
    state   TEXT NOT NULL,
    opened  INTEGER NOT NULL,
    closed  INTEGER,
    body    TEXT NOT NULL
) STRICT;
CREATE INDEX incidents_by_state ON incidents (state, opened);
CREATE UNIQUE INDEX one_incident_at_a_time ON incidents (rule, target) WHERE state <> 'resolved';

-- What is remembered of each rule and target: triggers on their way, attempts, counts; and what the last look found.
CREATE TABLE rule_records (
    rule      INTEGER NOT NULL,
    target    TEXT NOT NULL,
    body      TEXT NOT NULL,
    explained TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (rule, target)
) STRICT, WITHOUT ROWID;

-- The last drill of each rule on this host.
CREATE TABLE drills (
    rule    INTEGER PRIMARY KEY,
    body    TEXT NOT NULL
) STRICT;

-- What is asserted of this host, and since when it does not hold.
CREATE TABLE invariants (
    name    TEXT PRIMARY KEY,
    holds   INTEGER,
    detail  TEXT NOT NULL,
    at      INTEGER NOT NULL,
    since   INTEGER
) STRICT, WITHOUT ROWID;
