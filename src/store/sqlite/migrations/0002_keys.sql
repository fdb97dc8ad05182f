-- API keys. Rows are never deleted: idempotency keys belong to a key's number.
CREATE TABLE api_key (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    name         TEXT    NOT NULL,
    -- How the key begins, to recognise it by.
    prefix       TEXT    NOT NULL,
    -- SHA-256 of the key.
    digest       BLOB    NOT NULL UNIQUE CHECK (length(digest) = 32),
    -- With commas.
    scopes       TEXT    NOT NULL,
    -- Calls a second in each intake process.
    rate         INTEGER CHECK (rate > 0),
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER,
    revoked_at   INTEGER
) STRICT;

CREATE UNIQUE INDEX api_key_name ON api_key (name) WHERE revoked_at IS NULL;
