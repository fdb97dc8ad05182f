-- What is there, of each SKU. Both columns are the sums of its movements.
CREATE TABLE longshore.stock (
    sku      text COLLATE "C" PRIMARY KEY,
    on_hand  bigint NOT NULL DEFAULT 0 CHECK (on_hand BETWEEN 0 AND 9007199254740991),
    reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    CHECK (reserved <= on_hand)
) WITH (
    -- A hot SKU is one row that is written a thousand times a second.
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0
);

-- How each order stands; what it went through is in `movements`. A line is written only by who
-- holds the row of its SKU in `stock`.
CREATE TABLE longshore.reservations (
    order_id   text COLLATE "C" NOT NULL,
    sku        text COLLATE "C" NOT NULL REFERENCES longshore.stock (sku),
    quantity   bigint NOT NULL CHECK (quantity > 0),
    state      text NOT NULL CHECK (state IN ('open', 'committed', 'released', 'expired')),
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    ended_at   timestamptz CHECK ((ended_at IS NULL) = (state = 'open')),
    job        uuid NOT NULL,  -- that reserved it
    PRIMARY KEY (order_id, sku)
);
CREATE INDEX reservations_expiry ON longshore.reservations (sku, expires_at) WHERE state = 'open';

-- Append-only: every change of `stock`, and which job made it.
CREATE TABLE longshore.movements (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sku      text COLLATE "C" NOT NULL,
    kind     text NOT NULL CHECK (kind IN ('adjust', 'reserve', 'commit', 'release', 'expire')),
    order_id text COLLATE "C",
    on_hand  bigint NOT NULL,  -- added
    reserved bigint NOT NULL,  -- added
    reason   text,
    job      uuid NOT NULL,
    at       timestamptz NOT NULL,
    CHECK ((kind = 'adjust') = (order_id IS NULL)),
    -- A job moves each unit once, whatever else fails to see to that.
    UNIQUE NULLS NOT DISTINCT (job, order_id, sku, kind)
);
CREATE INDEX movements_sku ON longshore.movements (sku, id);
