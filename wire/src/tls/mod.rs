//! TLS for connections that are mostly at rest.
