-- How far each run has come, as its handler said last. It tells of a run while `live` names the
-- same owner and epoch; what is left of ended runs is pruned.
CREATE TABLE longshore.progress (
    id       uuid PRIMARY KEY,
    owner    bigint NOT NULL,
    epoch    integer NOT NULL,
    fraction double precision NOT NULL,
    message  text NOT NULL,
    at       timestamptz NOT NULL
) WITH (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false
);
