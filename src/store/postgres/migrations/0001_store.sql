-- Jobs are split by temperature. `job` is what was submitted and never changes; `live` is the
-- small hot table of unfinished jobs; `done` is where finishing moves them. `job`, `done` and
-- `attempt` are partitioned by the UTC day in the id (a UUIDv7 begins with its millisecond),
-- so that a day past its retention is dropped, not deleted. Names sort by byte: COLLATE "C".

CREATE TABLE longshore.job (
    id           uuid PRIMARY KEY,
    kind         text COLLATE "C" NOT NULL,
    queue        text COLLATE "C" NOT NULL,
    payload      bytea NOT NULL,  -- jsonb would refuse \u0000
    high         boolean NOT NULL,
    tags         text[] NOT NULL,
    max_attempts integer,
    run_at       timestamptz,     -- the schedule it was submitted with
    traceparent  text,
    created_at   timestamptz NOT NULL
) PARTITION BY RANGE (id);

-- The default partitions take what outlives its day, and every id for whose day there is no
-- partition, so that an insert never fails for a missing one.
CREATE TABLE longshore.job_default PARTITION OF longshore.job DEFAULT;

CREATE TABLE longshore.live (
    id              uuid PRIMARY KEY,
    queue           text COLLATE "C" NOT NULL,
    state           smallint NOT NULL,
    dispatch        integer NOT NULL,
    epoch           integer NOT NULL DEFAULT 0,
    failures        integer NOT NULL DEFAULT 0,
    crashes         integer NOT NULL DEFAULT 0,
    recorded        integer NOT NULL DEFAULT 0,  -- attempts on record from before the last requeue
    max_attempts    integer,
    owner           bigint,                      -- set exactly while running
    due             timestamptz,                 -- set exactly while scheduled or retrying
    queued_at       timestamptz,                 -- when this dispatch was last sent to the broker
    started_at      timestamptz,
    postponed_since timestamptz,                 -- since the first of a row of postponements
    created_at      timestamptz NOT NULL,
    error_code      text,
    error_message   text,
    error_class     text,
    CHECK ((state = 2) = (owner IS NOT NULL)),
    CHECK ((state IN (0, 3)) = (due IS NOT NULL)),
    CHECK (state IN (0, 1, 2, 3))
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.05,
    -- Truncation takes an exclusive lock on a table that refills at once.
    vacuum_truncate = false
);
CREATE INDEX live_due ON longshore.live (due) WHERE due IS NOT NULL;
CREATE INDEX live_owner ON longshore.live (owner) WHERE owner IS NOT NULL;
-- Exactly the queued ones.
CREATE INDEX live_queued ON longshore.live (queue, queued_at)
    WHERE owner IS NULL AND due IS NULL;

CREATE TABLE longshore.done (
    id            uuid PRIMARY KEY,
    queue         text COLLATE "C" NOT NULL,
    state         smallint NOT NULL CHECK (state IN (4, 5, 6)),
    dispatch      integer NOT NULL,
    epoch         integer NOT NULL,
    failures      integer NOT NULL,
    recorded      integer NOT NULL,
    owner         bigint,       -- who ran it last
    started_at    timestamptz,
    finished_at   timestamptz NOT NULL,
    result        bytea,
    error_code    text,
    error_message text,
    error_class   text
) PARTITION BY RANGE (id);
CREATE TABLE longshore.done_default PARTITION OF longshore.done DEFAULT;
-- For retention and for counting.
CREATE INDEX done_expiry ON longshore.done (queue, state, finished_at);
CREATE INDEX done_dead ON longshore.done (id) WHERE state = 5;
CREATE INDEX done_dead_of_queue ON longshore.done (queue, id) WHERE state = 5;

-- Failed runs only: a success is told by its row in `done`.
CREATE TABLE longshore.attempt (
    id            uuid NOT NULL,
    number        integer NOT NULL,
    worker        text,
    started_at    timestamptz,
    finished_at   timestamptz NOT NULL,
    error_code    text NOT NULL,
    error_message text NOT NULL,
    error_class   text NOT NULL,
    PRIMARY KEY (id, number)
) PARTITION BY RANGE (id);
CREATE TABLE longshore.attempt_default PARTITION OF longshore.attempt DEFAULT;

-- One row per batch of dispatches that may not be on the broker; deleted when it confirmed.
CREATE TABLE longshore.outbox (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    available_at timestamptz NOT NULL,  -- the end of the lease
    created_at   timestamptz NOT NULL,
    high         boolean NOT NULL,      -- all of it at high priority, whatever the jobs' own
    jobs         uuid[] NOT NULL,
    dispatches   integer[] NOT NULL
) WITH (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false
);
CREATE INDEX outbox_available ON longshore.outbox (available_at);

CREATE TABLE longshore.process (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    role       text NOT NULL,
    name       text NOT NULL,
    version    text NOT NULL,
    queues     text[] NOT NULL,
    state      smallint NOT NULL DEFAULT 0,  -- 0 alive, 1 dead, 2 ended
    beat       bigint NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL,
    beat_at    timestamptz NOT NULL,
    ended_at   timestamptz
) WITH (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 200
);
CREATE INDEX process_alive ON longshore.process (id) WHERE state = 0;

-- Apart from the rows they count. A process has several slots so that its connections do not
-- wait for each other's commits; process 0 stands for those that are forgotten.
CREATE TABLE longshore.tally (
    process  bigint NOT NULL,
    slot     smallint NOT NULL,
    accepted bigint NOT NULL DEFAULT 0,
    pruned   bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (process, slot)
) WITH (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 500
);

CREATE TABLE longshore.unique_key (
    scope       text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    fingerprint bytea NOT NULL,
    job         uuid NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz,  -- set once its job is gone
    PRIMARY KEY (scope, key)
);
CREATE INDEX unique_key_job ON longshore.unique_key (job);
CREATE INDEX unique_key_expiry ON longshore.unique_key (expires_at) WHERE expires_at IS NOT NULL;

-- What is left of jobs that were pruned while copies of their messages may still be about.
CREATE TABLE longshore.tombstone (
    id       uuid PRIMARY KEY,
    state    smallint NOT NULL,
    dispatch integer NOT NULL,
    epoch    integer NOT NULL
);
