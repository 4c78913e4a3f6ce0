-- Entries of peers may be packed from here on: an earlier mesh would not know what they say.
SELECT 1;
