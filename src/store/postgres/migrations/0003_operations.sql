-- Finding, cancelling, editing and sending back.

-- What a job does is part of what it is looked for by, wherever it stands.
ALTER TABLE longshore.live
    ADD COLUMN kind text COLLATE "C",
    ADD COLUMN cancel_requested_at timestamptz;
UPDATE longshore.live l SET kind = j.kind FROM longshore.job j WHERE j.id = l.id;
ALTER TABLE longshore.live ALTER COLUMN kind SET NOT NULL;

ALTER TABLE longshore.done
    ADD COLUMN kind text COLLATE "C",
    ADD COLUMN fingerprint text COLLATE "C";  -- of the error; set exactly while dead
UPDATE longshore.done d SET kind = j.kind FROM longshore.job j WHERE j.id = d.id;
ALTER TABLE longshore.done ALTER COLUMN kind SET NOT NULL;

-- Each ends with the id, so that a page is read in order and ends the reading.
CREATE INDEX done_of_queue ON longshore.done (queue, state, id);
CREATE INDEX done_of_kind ON longshore.done (kind, state, id);
CREATE INDEX done_cancelled ON longshore.done (id) WHERE state = 6;
CREATE INDEX done_dead_of_code ON longshore.done (error_code, id) WHERE state = 5;
CREATE INDEX done_dead_of_fingerprint ON longshore.done (fingerprint, id) WHERE state = 5;
DROP INDEX longshore.done_dead_of_queue;

-- An operator may send a job back with another payload; the first one is kept beside it.
ALTER TABLE longshore.job
    ADD COLUMN original_payload bytea,
    ADD COLUMN edited_at timestamptz,
    ADD COLUMN edited_by text;

-- Tags, to find jobs by. Costs nothing for a job without.
CREATE TABLE longshore.tag (
    tag text COLLATE "C" NOT NULL,
    id  uuid NOT NULL,
    PRIMARY KEY (tag, id)
) PARTITION BY RANGE (id);
CREATE TABLE longshore.tag_default PARTITION OF longshore.tag DEFAULT;
DO $$
DECLARE day record;
BEGIN
    FOR day IN
        SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) AS bounds
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'longshore.job'::regclass AND c.relname <> 'job_default'
    LOOP
        EXECUTE format('CREATE TABLE longshore.%I PARTITION OF longshore.tag %s',
                       replace(day.relname, 'job_', 'tag_'), day.bounds);
    END LOOP;
END $$;
INSERT INTO longshore.tag (tag, id)
SELECT DISTINCT t.tag, j.id FROM longshore.job j CROSS JOIN unnest(j.tags) AS t (tag);

-- By a trigger, because jobs come in by several doors.
CREATE FUNCTION longshore.keep_tags() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO longshore.tag (tag, id) SELECT t.tag, NEW.id FROM unnest(NEW.tags) AS t (tag)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER job_tags AFTER INSERT ON longshore.job
    FOR EACH ROW WHEN (NEW.tags <> '{}') EXECUTE FUNCTION longshore.keep_tags();

-- What operators did, and what is still being done: who, what, when.
CREATE TABLE longshore.operation (
    id          uuid PRIMARY KEY,
    action      text NOT NULL,
    state       smallint NOT NULL,         -- 0 running, 1 paused, 2 done, 3 cancelled
    filter      text NOT NULL,             -- JSON
    most        bigint,                    -- jobs at most
    rate        double precision,          -- jobs a second at most
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL,      -- jobs that ended later are not touched
    changed_by  text,                      -- who paused, resumed or cancelled it last
    changed_at  timestamptz,
    finished_at timestamptz,
    matched     bigint NOT NULL,
    done        bigint NOT NULL DEFAULT 0,
    skipped     bigint NOT NULL DEFAULT 0,
    failed      bigint NOT NULL DEFAULT 0,
    place       uuid,                      -- the last job that was dealt with
    holder      uuid,                      -- who executes it
    held_until  timestamptz NOT NULL,
    next_at     timestamptz NOT NULL,      -- when the next batch may begin
    entry       bigint                     -- the outbox row of the last batch
);
CREATE INDEX operation_running ON longshore.operation (next_at) WHERE state = 0;
CREATE INDEX operation_finished ON longshore.operation (finished_at)
    WHERE finished_at IS NOT NULL;

-- An operator may purge a job long before its retention is over.
ALTER TABLE longshore.tombstone ADD COLUMN purged boolean NOT NULL DEFAULT false;
