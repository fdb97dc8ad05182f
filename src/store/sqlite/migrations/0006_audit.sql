-- Who did what, when; each row is written in the transaction of the deed.
CREATE TABLE audit (
    id     BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    at     INTEGER NOT NULL,
    by     TEXT    NOT NULL,
    deed   TEXT    NOT NULL,
    target TEXT    NOT NULL,
    -- JSON
    detail TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_at ON audit (at);
