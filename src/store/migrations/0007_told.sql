-- The state of an intervention that peers were told of last, once it is over.
ALTER TABLE interventions ADD COLUMN told TEXT;
