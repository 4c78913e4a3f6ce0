-- Troubles that began together, what they have in common, and what a model made of them.
CREATE TABLE cases (
    name TEXT PRIMARY KEY,
    began INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX cases_by_began ON cases (began);
