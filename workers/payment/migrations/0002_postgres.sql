-- Dispatches also rise when a job is put off; what tells that somebody sent it back is how often
-- it had failed before that.
ALTER TABLE longshore.payments RENAME COLUMN dispatch TO told;
UPDATE longshore.payments SET told = 0 WHERE told IS NOT NULL;
ALTER TABLE longshore.refunds RENAME COLUMN dispatch TO told;
UPDATE longshore.refunds SET told = 0;
-- What the job asked for; NULL: all that was left.
ALTER TABLE longshore.refunds ADD COLUMN asked bigint;
