-- What was asked of the model: each call, begun or ended, is a row before it is made, so that a killed process spends
-- what it spent. `clock` is time that has surely passed.
CREATE TABLE model_calls (
    id INTEGER PRIMARY KEY,
    clock INTEGER NOT NULL,
    at INTEGER NOT NULL,
    question TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    outcome TEXT NOT NULL
) STRICT;
CREATE INDEX model_calls_by_clock ON model_calls (clock);
-- Answers by the hash of everything that was asked.
CREATE TABLE model_answers (
    key BLOB PRIMARY KEY,
    clock INTEGER NOT NULL,
    text TEXT NOT NULL
) STRICT;
