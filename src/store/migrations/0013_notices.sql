-- What people are to know, in order. Where each channel stands in it is a fact, `notify:<channel>`.
CREATE TABLE notices (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    thread TEXT NOT NULL,
    body   TEXT NOT NULL
) STRICT;
CREATE INDEX notices_by_thread ON notices (thread, id);
