-- What mesh proposed by itself. Where each stands is in `interventions`, by the same name.
CREATE TABLE proposals (
    id TEXT PRIMARY KEY,
    made INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
-- Offers of a model that were not taken, by the reason.
CREATE TABLE proposal_refusals (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    model TEXT NOT NULL,
    why TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
