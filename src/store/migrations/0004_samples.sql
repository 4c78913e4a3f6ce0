-- What was measured. One row per signal and subject; the empty subject is the host. Times are in seconds since 1970.
CREATE TABLE series (
    id      INTEGER PRIMARY KEY,
    signal  TEXT NOT NULL,
    subject TEXT NOT NULL,
    every_s INTEGER NOT NULL,
    UNIQUE (signal, subject)
) STRICT;

-- Readings. No value: it was asked and there was no answer.
CREATE TABLE samples (
    series INTEGER NOT NULL REFERENCES series (id) ON DELETE CASCADE,
    at     INTEGER NOT NULL,
    value  REAL,
    PRIMARY KEY (series, at)
) STRICT, WITHOUT ROWID;

-- Readings of one hour, joined.
CREATE TABLE sample_hours (
    series     INTEGER NOT NULL REFERENCES series (id) ON DELETE CASCADE,
    hour       INTEGER NOT NULL,
    from_at    INTEGER NOT NULL,
    until_at   INTEGER NOT NULL,
    missed     INTEGER NOT NULL,
    n          INTEGER NOT NULL,
    sum        REAL NOT NULL,
    min        REAL NOT NULL,
    max        REAL NOT NULL,
    first      REAL NOT NULL,
    last       REAL NOT NULL,
    grown      REAL NOT NULL,
    grown_most REAL NOT NULL,
    PRIMARY KEY (series, hour)
) STRICT, WITHOUT ROWID;
