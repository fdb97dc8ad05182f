-- Dispatches also rise when a job is put off; what tells that somebody sent it back is how often
-- it had failed before that.
ALTER TABLE payments RENAME COLUMN dispatch TO told;
UPDATE payments SET told = 0 WHERE told IS NOT NULL;
ALTER TABLE refunds RENAME COLUMN dispatch TO told;
UPDATE refunds SET told = 0;
-- What the job asked for; NULL: all that was left.
ALTER TABLE refunds ADD COLUMN asked INTEGER;
