-- What was charged, by reference: what the gateway said, and how far the way to it is gone.
CREATE TABLE longshore.payments (
    reference   text COLLATE "C" PRIMARY KEY,
    job         text NOT NULL,                -- that asked for it first
    fingerprint text NOT NULL,                -- SHA-256 of what was asked for
    amount      bigint NOT NULL CHECK (amount > 0),
    currency    text NOT NULL,
    state       text NOT NULL CHECK (state IN ('open', 'processing', 'closing', 'succeeded', 'refused')),
    intent      text UNIQUE,                  -- the gateway's id; nothing else is ever confirmed
    charge      text,                         -- the gateway's id
    refunded    bigint NOT NULL DEFAULT 0 CHECK (refunded BETWEEN 0 AND amount),
    generation  integer NOT NULL DEFAULT 1,   -- of the idempotency keys
    code        text,                         -- why it is refused, or being closed
    message     text,
    dispatch    integer,                      -- of `job`, when it learned of the refusal
    version     integer NOT NULL DEFAULT 1,   -- raised by every change
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CHECK (state <> 'succeeded' OR intent IS NOT NULL),
    CHECK (state NOT IN ('refused', 'closing') OR code IS NOT NULL),
    CHECK (refunded = 0 OR state = 'succeeded')
);
CREATE INDEX payments_unfinished ON longshore.payments (created_at)
    WHERE state NOT IN ('succeeded', 'refused');

-- One refund of a job each.
CREATE TABLE longshore.refunds (
    job         text PRIMARY KEY,
    reference   text COLLATE "C" NOT NULL REFERENCES longshore.payments (reference),
    amount      bigint NOT NULL CHECK (amount > 0),
    state       text NOT NULL CHECK (state IN ('open', 'succeeded', 'refused')),
    refund      text UNIQUE,                  -- the gateway's id
    round       integer NOT NULL DEFAULT 1,   -- how often it was begun after a refusal, plus one
    generation  integer NOT NULL DEFAULT 1,   -- of the idempotency keys
    code        text,
    message     text,
    dispatch    integer NOT NULL,             -- of `job`, when the round began or was refused
    version     integer NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CHECK (state <> 'succeeded' OR refund IS NOT NULL),
    CHECK (state <> 'refused' OR code IS NOT NULL)
);
CREATE INDEX refunds_reference ON longshore.refunds (reference);
