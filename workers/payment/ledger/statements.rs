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
            code, message, dispatch, version FROM ",
    "payments WHERE reference = $1"
);

/// Locks it, too, in both dialects.
pub(super) const LOCK_PAYMENT: Statement = statement!(
    "UPDATE ",
    "payments SET refunded = refunded WHERE reference = $1
     RETURNING reference, job, fingerprint, amount, currency, state, intent, charge, generation,
               code, message, dispatch, version"
);

pub(super) const CHANGE: Statement = statement!(
    "UPDATE ",
    "payments SET fingerprint = $3, amount = $4, currency = $5, state = $6, intent = $7,
         charge = $8, generation = $9, code = $10, message = $11, dispatch = $12,
         version = version + 1, updated_at = CURRENT_TIMESTAMP
     WHERE reference = $1 AND version = $2 RETURNING version"
);

pub(super) const ADD_REFUNDED: Statement = statement!(
    "UPDATE ",
    "payments SET refunded = refunded + $2, updated_at = CURRENT_TIMESTAMP
     WHERE reference = $1 RETURNING version"
);

pub(super) const REFUND: Statement = statement!(
    "SELECT job, reference, amount, state, refund, round, generation, code, message, dispatch,
            version FROM ",
    "refunds WHERE job = $1"
);

pub(super) const TAKEN: Statement = statement!(
    "SELECT CAST(COALESCE(SUM(amount), 0) AS bigint) FROM ",
    "refunds WHERE reference = $1 AND job <> $2 AND state <> 'refused'"
);

pub(super) const ENTER_REFUND: Statement = statement!(
    "INSERT INTO ",
    "refunds (job, reference, amount, state, round, generation, dispatch, version)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING version"
);

pub(super) const CHANGE_REFUND: Statement = statement!(
    "UPDATE ",
    "refunds SET amount = $3, state = $4, refund = $5, round = $6, generation = $7, code = $8,
         message = $9, dispatch = $10, version = version + 1, updated_at = CURRENT_TIMESTAMP
     WHERE job = $1 AND version = $2 RETURNING version"
);
