/// A statement in both dialects. On PostgreSQL the tables are in the platform's schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct Statement {
    pub(super) postgres: &'static str,
    pub(super) sqlite: &'static str,
}

/// Each text but the first begins with the name of a table.
macro_rules! statement {
    ($first:literal $(, $from_table:literal)*) => {
        Statement {
            postgres: concat!($first $(, "longshore.", $from_table)*),
            sqlite: concat!($first $(, $from_table)*),
        }
    };
}

pub(super) const ENTER: Statement = statement!(
    "INSERT INTO ",
    "payments (reference, job, fingerprint, amount, currency, state, generation, version)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
     ON CONFLICT (reference) DO NOTHING RETURNING version"
);

pub(super) const PAYMENT: Statement = statement!(
    "SELECT reference, job, fingerprint, amount, currency, state, intent, charge, generation,
            code, message, told, version FROM ",
    "payments WHERE reference = $1"
);

/// Locks it, too, in both dialects.
pub(super) const LOCK_PAYMENT: Statement = statement!(
    "UPDATE ",
    "payments SET refunded = refunded WHERE reference = $1
     RETURNING reference, job, fingerprint, amount, currency, state, intent, charge, generation,
               code, message, told, version"
);

/// Makes it one that is never charged, unless an intent is named, which alone is ever confirmed.
pub(super) const WITHDRAW: Statement = statement!(
    "INSERT INTO ",
    "payments (reference, job, fingerprint, amount, currency, state, code, message)
     VALUES ($1, $2, $3, $4, $5, 'refused', $6, $7)
     ON CONFLICT (reference) DO UPDATE
     SET state = 'refused', code = excluded.code, message = excluded.message,
         version = payments.version + 1, updated_at = CURRENT_TIMESTAMP
     WHERE payments.state = 'open' AND payments.intent IS NULL
     RETURNING version"
);

pub(super) const CHANGE: Statement = statement!(
    "UPDATE ",
    "payments SET fingerprint = $3, amount = $4, currency = $5, state = $6, intent = $7,
         charge = $8, generation = $9, code = $10, message = $11, told = $12,
         version = version + 1, updated_at = CURRENT_TIMESTAMP
     WHERE reference = $1 AND version = $2 RETURNING version"
);

pub(super) const ADD_REFUNDED: Statement = statement!(
    "UPDATE ",
    "payments SET refunded = refunded + $2, updated_at = CURRENT_TIMESTAMP
     WHERE reference = $1 RETURNING version"
);

pub(super) const REFUND: Statement = statement!(
    "SELECT job, reference, amount, state, refund, round, generation, code, message, told, asked,
            version FROM ",
    "refunds WHERE job = $1"
);

pub(super) const TAKEN: Statement = statement!(
    "SELECT CAST(COALESCE(SUM(amount), 0) AS bigint) FROM ",
    "refunds WHERE reference = $1 AND job <> $2 AND state <> 'refused'"
);

pub(super) const ENTER_REFUND: Statement = statement!(
    "INSERT INTO ",
    "refunds (job, reference, amount, state, round, generation, told, version, asked)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING version"
);

pub(super) const CHANGE_REFUND: Statement = statement!(
    "UPDATE ",
    "refunds SET amount = $3, state = $4, refund = $5, round = $6, generation = $7, code = $8,
         message = $9, told = $10, reference = $11, asked = $12, version = version + 1, updated_at = CURRENT_TIMESTAMP
     WHERE job = $1 AND version = $2 RETURNING version"
);

/// The state of the platform's job is asked for where the platform keeps it.
pub(super) const ORPHANS: Statement = Statement {
    postgres: "SELECT reference, job, fingerprint, amount, currency, state, intent, charge,
                      generation, code, message, told, version
               FROM longshore.payments p
               WHERE state NOT IN ('succeeded', 'refused') AND intent IS NOT NULL
                 AND updated_at < now() - interval '1 minute'
                 AND NOT EXISTS (SELECT FROM longshore.live l WHERE l.id = p.job::uuid)
               ORDER BY updated_at LIMIT $1",
    sqlite: "SELECT reference, job, fingerprint, amount, currency, state, intent, charge,
                    generation, code, message, told, version
             FROM payments p
             WHERE state NOT IN ('succeeded', 'refused') AND intent IS NOT NULL
               AND updated_at < datetime('now', '-1 minute')
               AND NOT EXISTS (SELECT 1 FROM job j
                               WHERE j.id = unhex(replace(p.job, '-', '')) AND j.state < 4)
             ORDER BY updated_at LIMIT $1",
};

pub(super) const ALIVE: Statement = Statement {
    postgres: "SELECT 1 FROM longshore.live WHERE id = CAST($1 AS text)::uuid",
    sqlite: "SELECT 1 FROM job WHERE id = unhex(replace($1, '-', '')) AND state < 4",
};
