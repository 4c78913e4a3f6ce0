-- Lesson entries that too many hosts took back. One stays stopped until a person lifts that, and stops again when more do.
CREATE TABLE stopped_lessons (
    entry     BLOB PRIMARY KEY,
    slug      TEXT NOT NULL,
    why       TEXT NOT NULL,
    reverted  INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    lifted_at INTEGER,
    reason    TEXT
) STRICT, WITHOUT ROWID;
