-- Ids, stamps and request ids are u64, stored by their bits.

CREATE TABLE conversations (
    id        bigint   PRIMARY KEY,
    -- What it was opened by: 0 direct (the lower and the higher user id), 1 created (who asked, their
    -- request id).
    kind      smallint NOT NULL CHECK (kind IN (0, 1)),
    first     bigint   NOT NULL,
    second    bigint   NOT NULL,
    hlc       bigint   NOT NULL,
    opener    bigint   NOT NULL,
    -- False once the key of a created conversation has run out and was given to a newer one. The
    -- conversation itself stays.
    key_holds boolean  NOT NULL DEFAULT true
);

-- At most one conversation holds a key: of two that open at once, one waits for the other and then
-- finds what it opened.
CREATE UNIQUE INDEX conversations_key ON conversations (kind, first, second) WHERE key_holds;

CREATE TABLE members (
    conversation_id bigint NOT NULL REFERENCES conversations (id),
    user_id         bigint NOT NULL,
    PRIMARY KEY (conversation_id, user_id)
);

-- The list of a user's conversations, by id.
CREATE INDEX members_by_user ON members (user_id, conversation_id);
