-- How many a user has opened: there is a limit.
CREATE INDEX conversations_by_opener ON conversations (opener);
