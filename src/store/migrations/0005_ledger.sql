-- What happened to every intervention, and every freeze and pause. `hash` covers the row and the hash before it.
-- `clock` is time that has surely passed, in milliseconds; it never runs back.
CREATE TABLE ledger (
    seq     INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    clock   INTEGER NOT NULL,
    word    TEXT NOT NULL,
    subject TEXT NOT NULL,
    area    BLOB NOT NULL,
    body    TEXT NOT NULL,
    prev    BLOB NOT NULL,
    hash    BLOB NOT NULL
) STRICT;
CREATE INDEX ledger_by_word ON ledger (word, clock);
CREATE INDEX ledger_by_subject ON ledger (subject, seq);
CREATE INDEX ledger_by_area ON ledger (area, seq);

CREATE TRIGGER ledger_is_not_changed BEFORE UPDATE ON ledger
BEGIN SELECT RAISE(ABORT, 'the ledger is only added to'); END;
CREATE TRIGGER ledger_is_not_shortened BEFORE DELETE ON ledger
BEGIN SELECT RAISE(ABORT, 'the ledger is only added to'); END;

-- The newest row, and the last moment that was counted.
CREATE TABLE ledger_tip (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    seq     INTEGER NOT NULL,
    hash    BLOB NOT NULL
) STRICT;
CREATE TABLE running_clock (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    boot    TEXT NOT NULL,
    uptime  INTEGER NOT NULL,
    running INTEGER NOT NULL
) STRICT;

-- What the ledger comes to for each intervention. `tried_at` is the clock when its action was last taken or tried.
CREATE TABLE interventions (
    fix      TEXT NOT NULL,
    attempt  INTEGER NOT NULL,
    state    TEXT NOT NULL,
    area     BLOB NOT NULL,
    action_kind TEXT NOT NULL,
    action   BLOB NOT NULL,
    outside  INTEGER NOT NULL,
    tried_at INTEGER,
    PRIMARY KEY (fix, attempt)
) STRICT, WITHOUT ROWID;
CREATE INDEX interventions_by_state ON interventions (state);
CREATE INDEX interventions_by_action ON interventions (action);
