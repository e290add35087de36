-- Which devices a user has logged in from.
CREATE TABLE devices (
    user_id    bigint      NOT NULL,
    device_id  bigint      NOT NULL CHECK (device_id BETWEEN 0 AND 4294967295),
    first_seen timestamptz NOT NULL,
    last_seen  timestamptz NOT NULL,
    PRIMARY KEY (user_id, device_id)
);
