-- The door for apps that share the database: longshore.submit makes a job in the caller's own
-- transaction. The job exists if and only if that commits.

-- Every kind that some process has announced, and where its jobs wait.
CREATE TABLE longshore.kind (
    name         text COLLATE "C" PRIMARY KEY,
    queue        text COLLATE "C" NOT NULL,
    announced_at timestamptz NOT NULL
);

-- What apps' transactions have accepted, one row a job until pruning adds it to the tally. Only
-- inserted into: a row of the tally would stay locked until the app's transaction ends.
CREATE TABLE longshore.submitted (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    accepted integer NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);

-- A UUIDv7 (RFC 9562, section 5.7; the 12 bits after the version are the fraction of the
-- millisecond, as section 6.2, method 3 has it), so that ids made one after the other sort so.
CREATE FUNCTION longshore.job_id(at timestamptz) RETURNS uuid
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    micros bigint := floor(extract(epoch FROM at) * 1000000)::bigint;
    fraction integer := ((micros % 1000) * 4096 / 1000)::integer;
    bytes bytea := uuid_send(gen_random_uuid());
BEGIN
    bytes := overlay(bytes PLACING substring(int8send(micros / 1000) FROM 3) FROM 1 FOR 6);
    bytes := set_byte(bytes, 6, 112 | (fraction >> 8));
    bytes := set_byte(bytes, 7, fraction & 255);
    RETURN encode(bytes, 'hex')::uuid;
END $function$;

-- Refuses with SQLSTATE 22023 (invalid_parameter_value) what the HTTP call would refuse.
CREATE FUNCTION longshore.check_submission(
    payload jsonb, run_at timestamptz, delay interval, priority text, max_attempts integer,
    tags text[], idempotency_key text, moment timestamptz) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    wrong text;
    fix text;
BEGIN
    IF payload IS NULL THEN
        wrong := 'payload: must not be NULL';
        fix := 'A kind that needs nothing takes ''{}''::jsonb.';
    ELSIF octet_length(payload::text) > 1048576 THEN
        wrong := format('payload: %s bytes long; at most 1048576', octet_length(payload::text));
        fix := 'Keep large data elsewhere and submit where it is.';
    ELSIF run_at IS NOT NULL AND delay IS NOT NULL THEN
        wrong := 'delay: given together with run_at';
        fix := 'Give run_at or delay, not both.';
    ELSIF run_at IS NOT NULL AND NOT (isfinite(run_at) AND run_at < '10000-01-01 00:00:00+00') THEN
        wrong := 'run_at: must be a moment before the year 10000';
        fix := 'Leave it out to run the job at once.';
    ELSIF delay IS NOT NULL AND NOT (moment + delay >= moment) THEN
        wrong := 'delay: must not be negative';
        fix := 'Leave it out to run the job at once.';
    ELSIF delay IS NOT NULL AND NOT (moment + delay <= moment + interval '3650 days') THEN
        wrong := 'delay: must be at most 3650 days';
        fix := 'Submit the job later, or give run_at.';
    ELSIF priority IS NULL OR priority NOT IN ('normal', 'high') THEN
        wrong := format('priority: no priority %L', priority);
        fix := 'It is ''normal'' or ''high''.';
    ELSIF max_attempts NOT BETWEEN 1 AND 1000 THEN
        wrong := format('max_attempts: %s', max_attempts);
        fix := 'It is from 1 to 1000; leave it out for the queue''s own limit.';
    ELSIF cardinality(tags) > 20 THEN
        wrong := format('tags: %s of them; at most 20', cardinality(tags));
        fix := 'Put what nobody searches for into the payload.';
    ELSIF array_ndims(tags) > 1
        OR EXISTS (SELECT FROM unnest(tags) AS t (tag)
                   WHERE tag IS NULL OR char_length(tag) NOT BETWEEN 1 AND 100) THEN
        wrong := 'tags: one of them is not 1 to 100 characters long';
        fix := 'tags is a plain array, as ARRAY[''customer-7'', ''import''].';
    -- What a header's value can be, so that a key can travel through any door.
    ELSIF idempotency_key COLLATE "C" !~ '^[!-~]([ -~]{0,253}[!-~])?$' THEN
        wrong := 'idempotency_key: must be 1 to 255 printable ASCII characters, with no space at either end';
        fix := 'NULL is no key.';
    END IF;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'longshore.submit: %', wrong
            USING ERRCODE = 'invalid_parameter_value', HINT = fix;
    END IF;
END $function$;

-- The queue where jobs of a kind wait.
CREATE FUNCTION longshore.queue_of(wanted text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    found_queue text;
    known text;
BEGIN
    SELECT k.queue INTO found_queue FROM longshore.kind k WHERE k.name = wanted;
    IF found_queue IS NULL THEN
        SELECT string_agg(k.name, ', ' ORDER BY k.name) INTO known FROM longshore.kind k;
        RAISE EXCEPTION 'longshore.submit: kind: no kind %', COALESCE(quote_literal(wanted), 'NULL')
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = COALESCE('Known kinds: ' || known || '.',
                      'No process of Longshore has been started on this database yet.');
    END IF;
    RETURN found_queue;
END $function$;

-- Takes an idempotency key for a job; returns the job that it belongs to, this one or an
-- earlier one. A key that another transaction is just taking is waited for.
CREATE FUNCTION longshore.take_key(
    owner text, wanted text, print bytea, new_job uuid, moment timestamptz) RETURNS uuid
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    earlier record;
BEGIN
    LOOP
        INSERT INTO longshore.unique_key (scope, key, fingerprint, job, created_at)
        VALUES (owner, wanted, print, new_job, moment) ON CONFLICT (scope, key) DO NOTHING;
        IF FOUND THEN
            RETURN new_job;
        END IF;
        SELECT k.job, k.fingerprint INTO earlier
        FROM longshore.unique_key k WHERE k.scope = owner AND k.key = wanted;
        -- Pruned between the two statements: free now.
        CONTINUE WHEN NOT FOUND;
        IF earlier.fingerprint <> print THEN
            RAISE EXCEPTION 'longshore.submit: idempotency_key: used before with other arguments, for job %', earlier.job
                USING ERRCODE = 'unique_violation',
                      HINT = 'Another job needs another key.';
        END IF;
        RETURN earlier.job;
    END LOOP;
END $function$;

-- Arguments as in POST /v1/jobs. Runs with the rights of its owner: who may submit needs USAGE on
-- the schema and EXECUTE on this function, and sees nothing else.
CREATE FUNCTION longshore.submit(
    kind text,
    payload jsonb,
    run_at timestamptz DEFAULT NULL,
    delay interval DEFAULT NULL,
    priority text DEFAULT 'normal',
    max_attempts integer DEFAULT NULL,
    tags text[] DEFAULT '{}',
    idempotency_key text DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    moment timestamptz := clock_timestamp();
    queue text;
    id uuid := longshore.job_id(moment);
    owner_of_key uuid;
    start timestamptz;
    due timestamptz;
    labels text[] := COALESCE(submit.tags, '{}');
BEGIN
    queue := longshore.queue_of(submit.kind);
    PERFORM longshore.check_submission(submit.payload, submit.run_at, submit.delay,
        submit.priority, submit.max_attempts, labels, submit.idempotency_key, moment);
    IF submit.idempotency_key IS NOT NULL THEN
        -- Keys belong to the role that logged in.
        owner_of_key := longshore.take_key('sql:' || session_user, submit.idempotency_key,
            -- In seconds: as texts they would depend on the session's TimeZone and IntervalStyle.
            sha256(convert_to(jsonb_build_array(submit.kind, submit.payload,
                extract(epoch FROM submit.run_at), extract(epoch FROM submit.delay),
                submit.priority, submit.max_attempts, labels)::text, 'UTF8')),
            id, moment);
        IF owner_of_key <> id THEN
            RETURN owner_of_key;
        END IF;
    END IF;
    start := COALESCE(submit.run_at, moment + submit.delay);
    due := CASE WHEN start > moment THEN start END;
    INSERT INTO longshore.job
        (id, kind, queue, payload, high, tags, max_attempts, run_at, created_at)
    VALUES (id, submit.kind, queue, convert_to(submit.payload::text, 'UTF8'),
            submit.priority = 'high', labels, submit.max_attempts, start, moment);
    INSERT INTO longshore.live
        (id, kind, queue, state, dispatch, due, queued_at, max_attempts, created_at)
    VALUES (id, submit.kind, queue, CASE WHEN due IS NULL THEN 1 ELSE 0 END,
            CASE WHEN due IS NULL THEN 1 ELSE 0 END, due,
            CASE WHEN due IS NULL THEN moment END, submit.max_attempts, moment);
    IF due IS NULL THEN
        -- Available as soon as it is seen: any relay publishes it.
        INSERT INTO longshore.outbox (available_at, created_at, high, jobs, dispatches)
        VALUES (moment, moment, false, ARRAY[id], ARRAY[1]);
    END IF;
    INSERT INTO longshore.submitted (accepted) VALUES (1);
    RETURN id;
END $function$;

COMMENT ON FUNCTION longshore.submit IS
    'Submits a job in this transaction: it runs if and only if the transaction commits.';

-- Functions are open to everybody unless they are closed.
REVOKE ALL ON FUNCTION longshore.submit, longshore.take_key, longshore.queue_of,
    longshore.check_submission, longshore.job_id FROM PUBLIC;
