-- What is there, of each SKU. Both columns are the sums of its movements.
CREATE TABLE stock (
    sku      TEXT    NOT NULL PRIMARY KEY,
    on_hand  INTEGER NOT NULL DEFAULT 0 CHECK (on_hand BETWEEN 0 AND 9007199254740991),
    reserved INTEGER NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    CHECK (reserved <= on_hand)
) STRICT, WITHOUT ROWID;

-- How each order stands; what it went through is in `movements`. Times are microseconds since
-- 1970-01-01 UTC.
CREATE TABLE reservations (
    order_id   TEXT    NOT NULL,
    sku        TEXT    NOT NULL REFERENCES stock (sku),
    quantity   INTEGER NOT NULL CHECK (quantity > 0),
    state      TEXT    NOT NULL CHECK (state IN ('open', 'committed', 'released', 'expired')),
    expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    ended_at   INTEGER CHECK ((ended_at IS NULL) = (state = 'open')),
    -- That reserved it.
    job        BLOB    NOT NULL,
    PRIMARY KEY (order_id, sku)
) STRICT, WITHOUT ROWID;
CREATE INDEX reservations_expiry ON reservations (sku, expires_at) WHERE state = 'open';

-- Append-only: every change of `stock`, and which job made it.
CREATE TABLE movements (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    sku      TEXT    NOT NULL,
    kind     TEXT    NOT NULL CHECK (kind IN ('adjust', 'reserve', 'commit', 'release', 'expire')),
    order_id TEXT,
    -- Added.
    on_hand  INTEGER NOT NULL,
    reserved INTEGER NOT NULL,
    reason   TEXT,
    job      BLOB    NOT NULL,
    at       INTEGER NOT NULL,
    CHECK ((kind = 'adjust') = (order_id IS NULL))
) STRICT;
CREATE INDEX movements_sku ON movements (sku, id);
-- A job moves each unit once, whatever else fails to see to that.
CREATE UNIQUE INDEX movements_job ON movements (job, coalesce(order_id, ''), sku, kind);
