-- Who did what, when; each row is written in the transaction of the deed.
CREATE TABLE longshore.audit (
    id     uuid PRIMARY KEY,
    at     timestamptz NOT NULL,
    by     text COLLATE "C" NOT NULL,
    deed   text COLLATE "C" NOT NULL,
    target text NOT NULL,
    detail text NOT NULL  -- JSON
);
CREATE INDEX audit_by ON longshore.audit (by, id);
CREATE INDEX audit_deed ON longshore.audit (deed, id);
CREATE INDEX audit_at ON longshore.audit (at);
