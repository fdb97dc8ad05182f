-- How far each run has come, as its handler said last. It tells of a run while its job names the
-- same owner and epoch; what is left of ended runs is pruned.
CREATE TABLE progress (
    id       BLOB    NOT NULL PRIMARY KEY,
    owner    INTEGER NOT NULL,
    epoch    INTEGER NOT NULL,
    fraction REAL    NOT NULL,
    message  TEXT    NOT NULL,
    at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
