-- How each service was last seen, and what happened to it. Times are in milliseconds since 1970.
CREATE TABLE services (
    name     TEXT PRIMARY KEY,
    manager  TEXT NOT NULL,
    state    TEXT NOT NULL,
    liveness INTEGER,
    critical INTEGER NOT NULL,
    pid      INTEGER,
    restarts INTEGER NOT NULL,
    why      TEXT NOT NULL,
    at       INTEGER NOT NULL
) STRICT;

CREATE TABLE service_events (
    id      INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    service TEXT NOT NULL,
    event   TEXT NOT NULL,
    what    TEXT NOT NULL
) STRICT;

CREATE INDEX service_events_of ON service_events (service, id);
