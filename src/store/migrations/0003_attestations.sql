-- What hosts attested of interventions, this host among them: of each intervention its last word. `attested_in` is the
-- entry that says so, `entry` the lesson entry that it is about.
CREATE TABLE attestations (
    host         BLOB NOT NULL,
    intervention TEXT NOT NULL,
    seq          INTEGER NOT NULL,
    attested_in  BLOB NOT NULL,
    entry        BLOB NOT NULL,
    outcome      TEXT NOT NULL,
    short_window INTEGER NOT NULL,
    os           TEXT NOT NULL,
    arch         TEXT NOT NULL,
    distro       TEXT,
    at           INTEGER NOT NULL,
    PRIMARY KEY (host, intervention)
) STRICT, WITHOUT ROWID;
CREATE INDEX attestations_by_entry ON attestations (entry);

-- Drafts about different interventions of one lesson stand beside each other.
ALTER TABLE drafts ADD COLUMN intervention TEXT;
