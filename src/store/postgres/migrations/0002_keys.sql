-- API keys. Rows are never deleted: idempotency keys belong to a key's number.
CREATE TABLE longshore.api_key (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text COLLATE "C" NOT NULL,
    prefix       text COLLATE "C" NOT NULL,  -- how the key begins, to recognise it by
    digest       bytea NOT NULL UNIQUE CHECK (length(digest) = 32),  -- SHA-256 of the key
    scopes       text NOT NULL,              -- with commas
    rate         integer CHECK (rate > 0),   -- calls a second in each intake process
    created_at   timestamptz NOT NULL,
    last_used_at timestamptz,
    revoked_at   timestamptz
);
CREATE UNIQUE INDEX api_key_name ON longshore.api_key (name) WHERE revoked_at IS NULL;
