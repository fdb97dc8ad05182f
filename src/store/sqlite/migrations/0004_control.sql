-- Queues whose jobs are not to be started.
CREATE TABLE pause (
    queue TEXT    NOT NULL PRIMARY KEY,
    since INTEGER NOT NULL,
    by    TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- What each process told last of its part in a queue. Nothing depends on it but what people see.
CREATE TABLE report (
    process  INTEGER NOT NULL,
    queue    TEXT    NOT NULL,
    kinds    TEXT    NOT NULL,
    capacity INTEGER NOT NULL,
    breaker  TEXT    NOT NULL,
    -- Jobs a second.
    accepted REAL    NOT NULL,
    finished REAL    NOT NULL,
    PRIMARY KEY (process, queue)
) STRICT, WITHOUT ROWID;
