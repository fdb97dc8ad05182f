-- Queues whose jobs are not to be started.
CREATE TABLE longshore.pause (
    queue text COLLATE "C" PRIMARY KEY,
    since timestamptz NOT NULL,
    by    text NOT NULL
);

-- What each process told last of its part in a queue. Nothing depends on it but what people see.
CREATE TABLE longshore.report (
    process  bigint NOT NULL,
    queue    text COLLATE "C" NOT NULL,
    kinds    text[] NOT NULL,
    capacity integer NOT NULL,
    breaker  text NOT NULL,
    accepted double precision NOT NULL,  -- jobs a second
    finished double precision NOT NULL,  -- jobs a second
    PRIMARY KEY (process, queue)
) WITH (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 200
);
