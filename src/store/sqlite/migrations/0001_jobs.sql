-- Ids are UUIDs as 16 bytes. Times are microseconds since 1970-01-01 UTC. States are the numbers
-- of job::State. Lists are JSON arrays.

-- Rows are never deleted: attempts and successes name the process that ran them.
CREATE TABLE process (
    -- AUTOINCREMENT: a number is never used again, so a zombie can never take another's place.
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    role        TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    version     TEXT    NOT NULL,
    queues      TEXT    NOT NULL,
    started_at  INTEGER NOT NULL,
    beat_at     INTEGER NOT NULL,
    counter     INTEGER NOT NULL DEFAULT 0,
    alive       INTEGER NOT NULL DEFAULT 1
) STRICT;

CREATE TABLE job (
    id              BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    state           INTEGER NOT NULL CHECK (state BETWEEN 0 AND 6),
    dispatch        INTEGER NOT NULL,
    epoch           INTEGER NOT NULL DEFAULT 0,
    -- Of the current or last run; the fence also asks for state = 2.
    owner           INTEGER REFERENCES process (id),
    failures        INTEGER NOT NULL DEFAULT 0,
    crashes         INTEGER NOT NULL DEFAULT 0,
    -- Of the first postponement since the last run that counted.
    postponed_since INTEGER,
    created_at      INTEGER NOT NULL,
    -- When the current or last dispatch entered the queue, or was published again.
    queued_at       INTEGER,
    due             INTEGER,
    started_at      INTEGER,
    finished_at     INTEGER,
    kind            TEXT    NOT NULL,
    queue           TEXT    NOT NULL,
    high            INTEGER NOT NULL,
    max_attempts    INTEGER,
    tags            TEXT    NOT NULL DEFAULT '[]',
    traceparent     TEXT,
    error_code      TEXT,
    error_message   TEXT,
    error_class     TEXT,
    result          TEXT,
    -- Last, so that no other column is read through its overflow pages.
    payload         BLOB    NOT NULL,
    CHECK ((state IN (0, 3)) = (due IS NOT NULL)),
    CHECK ((state IN (4, 5, 6)) = (finished_at IS NOT NULL)),
    CHECK (state <> 1 OR queued_at IS NOT NULL),
    CHECK (state <> 2 OR (owner IS NOT NULL AND started_at IS NOT NULL AND queued_at IS NOT NULL))
) STRICT;

CREATE INDEX job_state    ON job (state, queue, id);
CREATE INDEX job_due      ON job (due)              WHERE due IS NOT NULL;
CREATE INDEX job_queued   ON job (queue, queued_at) WHERE state = 1;
CREATE INDEX job_running  ON job (owner)            WHERE state = 2;
CREATE INDEX job_finished ON job (finished_at)      WHERE finished_at IS NOT NULL;

-- Failed runs that counted. A success is read off the job itself.
CREATE TABLE attempt (
    job           BLOB    NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    number        INTEGER NOT NULL,
    worker        TEXT,
    started_at    INTEGER,
    finished_at   INTEGER NOT NULL,
    error_code    TEXT    NOT NULL,
    error_message TEXT    NOT NULL,
    error_class   TEXT    NOT NULL,
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;

-- Dispatches that are committed but perhaps not on the broker.
CREATE TABLE outbox (
    -- AUTOINCREMENT: a late settlement must never delete a newer entry.
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    created_at   INTEGER NOT NULL,
    leased_until INTEGER NOT NULL,
    -- All of them in the high-priority lane, whatever theirs is.
    high         INTEGER NOT NULL,
    -- [[id in hex, dispatch], …]
    jobs         TEXT    NOT NULL
) STRICT;

-- Counted apart from the rows, and kept when the process is dead. Pruning belongs to no process
-- and is counted under 0.
CREATE TABLE tally (
    process  INTEGER PRIMARY KEY,
    accepted INTEGER NOT NULL DEFAULT 0,
    pruned   INTEGER NOT NULL DEFAULT 0
) STRICT;

-- No reference to job: a key may outlive a pruned job.
CREATE TABLE unique_key (
    scope       TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,
    job         BLOB    NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX unique_key_created ON unique_key (created_at);
