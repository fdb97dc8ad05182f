-- What was charged, by reference: what the gateway said, and how far the way to it is gone.
CREATE TABLE payments (
    reference   TEXT NOT NULL PRIMARY KEY,
    job         TEXT NOT NULL,                -- that asked for it first
    fingerprint TEXT NOT NULL,                -- SHA-256 of what was asked for
    amount      INTEGER NOT NULL CHECK (amount > 0),
    currency    TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('open', 'processing', 'closing', 'succeeded', 'refused')),
    intent      TEXT UNIQUE,                  -- the gateway's id; nothing else is ever confirmed
    charge      TEXT,                         -- the gateway's id
    refunded    INTEGER NOT NULL DEFAULT 0 CHECK (refunded BETWEEN 0 AND amount),
    generation  INTEGER NOT NULL DEFAULT 1,   -- of the idempotency keys
    code        TEXT,                         -- why it is refused, or being closed
    message     TEXT,
    dispatch    INTEGER,                      -- of `job`, when it learned of the refusal
    version     INTEGER NOT NULL DEFAULT 1,   -- raised by every change
    created_at  TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at  TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CHECK (state <> 'succeeded' OR intent IS NOT NULL),
    CHECK (state NOT IN ('refused', 'closing') OR code IS NOT NULL),
    CHECK (refunded = 0 OR state = 'succeeded')
) STRICT;
CREATE INDEX payments_unfinished ON payments (created_at)
    WHERE state NOT IN ('succeeded', 'refused');

-- One refund of a job each.
CREATE TABLE refunds (
    job         TEXT NOT NULL PRIMARY KEY,
    reference   TEXT NOT NULL REFERENCES payments (reference),
    amount      INTEGER NOT NULL CHECK (amount > 0),
    state       TEXT NOT NULL CHECK (state IN ('open', 'succeeded', 'refused')),
    refund      TEXT UNIQUE,                  -- the gateway's id
    round       INTEGER NOT NULL DEFAULT 1,   -- how often it was begun after a refusal, plus one
    generation  INTEGER NOT NULL DEFAULT 1,   -- of the idempotency keys
    code        TEXT,
    message     TEXT,
    dispatch    INTEGER NOT NULL,             -- of `job`, when the round began or was refused
    version     INTEGER NOT NULL DEFAULT 1,
    created_at  TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at  TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CHECK (state <> 'succeeded' OR refund IS NOT NULL),
    CHECK (state <> 'refused' OR code IS NOT NULL)
) STRICT;
CREATE INDEX refunds_reference ON refunds (reference);
