//! How Redis is reached.

use std::fmt;
use std::time::Duration;

use redis::{Client, ConnectionInfo, IntoConnectionInfo};

use super::SERVICE;
use super::connect::Server;
use super::keys::Keys;
use crate::store::StoreError;
use crate::tls::Tls;

/// The options; [`Options::new`] gives defaults for all but the address.
#[derive(Clone)]
pub struct Options {
    /// `redis://user:password@host:port/database`.
    pub url: String,
    /// The password, where it does not stand in the url.
    pub password: Option<String>,
    /// How connections are encrypted; absent: not at all.
    pub tls: Option<Tls>,
    /// In front of every key, so that others may use the instance too.
    pub key_prefix: String,
    /// How long a batch of claims may take: a sender waits for it. Whatever is longer is answered by
    /// the store of messages.
    pub claim_timeout: Duration,
    /// How long anything else may take.
    pub timeout: Duration,
}

impl Options {
    /// The defaults: prefix `rookery:`, 250 ms for claims, 1 s for the rest.
    pub fn new(url: impl Into<String>) -> Options {
        Options {
            url: url.into(),
            password: None,
            tls: None,
            key_prefix: "rookery:".to_owned(),
            claim_timeout: Duration::from_millis(250),
            timeout: Duration::from_secs(1),
        }
    }

    pub(super) fn keys(&self) -> Keys {
        Keys::new(&self.key_prefix)
    }

    pub(super) fn server(&self) -> Result<Server, StoreError> {
        let failed = |error: &redis::RedisError| StoreError::Failed {
            doing: "read the options of Redis",
            // Of the driver's sentence the kind only: the rest may quote the url.
            reason: format!("the url is not one of Redis ({})", error.category()),
        };
        let info = self.info().map_err(|error| failed(&error))?;
        let client = Client::open(info).map_err(|error| failed(&error))?;
        Ok(Server {
            client,
            tls: self.tls.clone(),
        })
    }

    fn info(&self) -> Result<ConnectionInfo, redis::RedisError> {
        let info = self.url.as_str().into_connection_info()?;
        let Some(password) = &self.password else {
            return Ok(info);
        };
        let settings = info.redis_settings().clone().set_password(password);
        Ok(info.set_redis_settings(settings))
    }

    /// `host:port`.
    pub(super) fn address(&self) -> String {
        self.info()
            .map_or_else(|_| SERVICE.to_owned(), |info| info.addr().to_string())
    }
}

/// Without passwords, of which the url may hold one.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("key_prefix", &self.key_prefix)
            .field("claim_timeout", &self.claim_timeout)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_their_password() {
        let mut options = Options::new("redis://:geheim@127.0.0.1:7001/3");
        assert_eq!(options.address(), "127.0.0.1:7001");
        assert!(!format!("{options:?}").contains("geheim"));
        options.password = Some("other".to_owned());
        let info = options.info().unwrap();
        assert_eq!(info.redis_settings().password(), Some("other"));
        assert_eq!(info.redis_settings().db(), 3);
        let error = Options::new("rediss:/geheim").server().err().unwrap();
        assert!(!error.to_string().contains("geheim"), "{error}");
    }
}
