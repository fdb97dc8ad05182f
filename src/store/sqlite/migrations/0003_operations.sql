-- Finding, cancelling, editing and sending back.

ALTER TABLE job ADD COLUMN cancel_requested_at INTEGER;
-- Of the error; set exactly while dead.
ALTER TABLE job ADD COLUMN fingerprint      TEXT;
-- An operator may send a job back with another payload; the first one is kept beside it.
ALTER TABLE job ADD COLUMN original_payload BLOB;
ALTER TABLE job ADD COLUMN edited_at        INTEGER;
ALTER TABLE job ADD COLUMN edited_by        TEXT;

CREATE INDEX job_kind        ON job (kind, state, id);
CREATE INDEX job_code        ON job (error_code, id)  WHERE error_code IS NOT NULL;
CREATE INDEX job_fingerprint ON job (fingerprint, id) WHERE fingerprint IS NOT NULL;

-- What is left of jobs that were purged while copies of their messages may still be about.
CREATE TABLE tombstone (
    id       BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    state    INTEGER NOT NULL,
    dispatch INTEGER NOT NULL,
    epoch    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What operators did, and what is still being done: who, what, when.
CREATE TABLE operation (
    id          BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    action      TEXT    NOT NULL,
    -- 0 running, 1 paused, 2 done, 3 cancelled
    state       INTEGER NOT NULL,
    -- JSON
    filter      TEXT    NOT NULL,
    -- Jobs at most, and jobs a second at most.
    most        INTEGER,
    rate        REAL,
    created_by  TEXT    NOT NULL,
    -- Jobs that ended later are not touched.
    created_at  INTEGER NOT NULL,
    -- Who paused, resumed or cancelled it last.
    changed_by  TEXT,
    changed_at  INTEGER,
    finished_at INTEGER,
    matched     INTEGER NOT NULL,
    done        INTEGER NOT NULL DEFAULT 0,
    skipped     INTEGER NOT NULL DEFAULT 0,
    failed      INTEGER NOT NULL DEFAULT 0,
    -- The last job that was dealt with.
    place       BLOB,
    -- Who executes it, until when, and when the next batch may begin.
    holder      BLOB,
    held_until  INTEGER NOT NULL,
    next_at     INTEGER NOT NULL,
    -- The outbox row of the last batch.
    entry       INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX operation_running ON operation (next_at) WHERE state = 0;
