-- Fewer indexes for the end of a job: a success is entered in two, the primary key and one for
-- everything that is asked of the finished by queue and kind.

-- The lowest id of a moment: a UUIDv7 begins with its milliseconds since 1970 (RFC 9562, 5.7).
CREATE FUNCTION longshore.first_id(at timestamptz) RETURNS uuid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT (lpad(to_hex(greatest(floor(extract(epoch FROM at) * 1000)::bigint, 0)), 12, '0')
            || '00000000000000000000')::uuid
$$;

-- True only for a success whose id is of the 10 s before `finished_at`: then the id says when its
-- retention is over, whatever the clock was that the id was made by. All others, also those that
-- an older program ends, are found by `done_expiry`.
ALTER TABLE longshore.done ADD COLUMN prompt boolean NOT NULL DEFAULT false;

-- Lists by queue, by kind and by both, newest first; counts; the pruning of the prompt. Where nulls
-- would be tells a list's order from that of the primary key: see lanes.rs.
CREATE INDEX done_lane ON longshore.done (queue, kind, state, prompt, id NULLS FIRST);
DROP INDEX longshore.done_of_queue, longshore.done_of_kind, longshore.done_expiry;
CREATE INDEX done_expiry ON longshore.done (queue, state, finished_at) WHERE NOT prompt;

-- Operations on dead letters, and their counts and groups.
CREATE INDEX done_dead_of_queue ON longshore.done (queue, id) WHERE state = 5;
CREATE INDEX done_dead_of_kind ON longshore.done (kind, id) WHERE state = 5;
