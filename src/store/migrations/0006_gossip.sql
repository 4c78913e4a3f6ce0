-- What each peer's newest head says that it has seen of others.
CREATE TABLE gossip (
    by_host BLOB NOT NULL,
    host    BLOB NOT NULL,
    seq     INTEGER NOT NULL,
    tip     BLOB NOT NULL,
    PRIMARY KEY (by_host, host)
) STRICT, WITHOUT ROWID;
CREATE INDEX gossip_about ON gossip (host);

-- Forks that hosts say they can prove, until the two entries were read and checked here.
CREATE TABLE fork_claims (
    publisher BLOB NOT NULL,
    host      BLOB NOT NULL,
    seq       INTEGER NOT NULL,
    one       BLOB NOT NULL,
    other     BLOB NOT NULL,
    PRIMARY KEY (publisher, host)
) STRICT, WITHOUT ROWID;

-- Who published the proof of a fork; null where it was found here.
ALTER TABLE forks ADD COLUMN proven_by BLOB;

-- Entries of others that this host shows in its own directory, because a peer has seen other ones in their place.
CREATE TABLE evidence (
    id       BLOB PRIMARY KEY,
    asked_by BLOB NOT NULL,
    shown    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Revisions that their author took back: what comes again of them is refused.
CREATE TABLE retractions (
    host BLOB NOT NULL,
    slug TEXT NOT NULL,
    rev  INTEGER NOT NULL,
    seq  INTEGER NOT NULL,
    PRIMARY KEY (host, slug, rev)
) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO retractions (host, slug, rev, seq)
    SELECT host, slug, rev, seq FROM inbox WHERE state = 'retired' AND reason NOT LIKE 'retired by its date%' AND reason NOT LIKE 'retired on %';
