//! How PostgreSQL is reached, and what every connection is told.

use std::fmt;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use crate::store::StoreError;
use crate::tls::Tls;

/// The options; [`Options::new`] gives defaults for all but the address.
#[derive(Clone)]
pub struct Options {
    /// `postgres://user:password@host:port/database`, or libpq's `key=value` form.
    pub url: String,
    /// The password, where it does not stand in the url.
    pub password: Option<String>,
    /// How connections are encrypted; absent: not at all.
    pub tls: Option<Tls>,
    /// Connections at most.
    pub pool_size: usize,
    /// How long a call may take, waiting for a connection included.
    pub timeout: Duration,
}

impl Options {
    /// The defaults: 8 connections, 2 s.
    pub fn new(url: impl Into<String>) -> Options {
        Options {
            url: url.into(),
            password: None,
            tls: None,
            pool_size: 8,
            timeout: Duration::from_secs(2),
        }
    }

    /// What the driver is given. Connections of the pool have the server end a statement that takes
    /// longer than a call may, so that a lock is not kept for a caller that is gone.
    pub(super) fn config(&self) -> Result<Config, StoreError> {
        let mut config = self.plain_config()?;
        let limit = format!("-c statement_timeout={}", self.timeout.as_millis());
        let options = match config.get_options() {
            Some(given) => format!("{given} {limit}"),
            None => limit,
        };
        config.options(options);
        Ok(config)
    }

    /// The same without a bound on statements: for migrations, which may take their time.
    pub(super) fn plain_config(&self) -> Result<Config, StoreError> {
        let mut config: Config = self.url.parse().map_err(|error| {
            // The parser's sentence names the key, never the value.
            options_error(super::error::sentence(&error))
        })?;
        // One place says whether connections are encrypted, and it is not the url.
        match (&self.tls, config.get_ssl_mode()) {
            (Some(_), SslMode::Disable) => {
                return Err(options_error(
                    "sslmode=disable in the url and tls are both set: take sslmode out".to_owned(),
                ));
            }
            (Some(_), _) => drop(config.ssl_mode(SslMode::Require)),
            (None, SslMode::Require) => {
                return Err(options_error(
                    "sslmode=require in the url: set `tls = true` in [postgres] instead".to_owned(),
                ));
            }
            (None, _) => drop(config.ssl_mode(SslMode::Disable)),
        }
        if config.get_hosts().is_empty() {
            return Err(options_error("the url names no host".to_owned()));
        }
        if let Some(password) = &self.password {
            config.password(password);
        }
        if config.get_application_name().is_none() {
            config.application_name("rookery");
        }
        config.connect_timeout(self.timeout);
        // A host that vanished without a word is noticed by the kernel.
        config.keepalives_idle(Duration::from_secs(10));
        config.keepalives_interval(Duration::from_secs(5));
        config.keepalives_retries(3);
        Ok(config)
    }
}

/// Without passwords, of which the url may hold one.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("pool_size", &self.pool_size)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

fn options_error(reason: String) -> StoreError {
    StoreError::Failed {
        doing: "read the options of PostgreSQL",
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_address_is_told_without_its_password() {
        for (url, said) in [
            ("postgres://a:geheim@h/d?nope=1", "nope"),
            ("postgres://a:geheim@h/d?sslmode=require", "`tls = true`"),
            ("dbname=d password=geheim", "names no host"),
        ] {
            let error = Options::new(url).config().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
            assert!(!error.contains("geheim"), "{error}");
        }
        let options = Options::new("postgres://a:geheim@h/d");
        assert!(!format!("{options:?}").contains("geheim"));
    }

    #[test]
    fn statements_are_bounded_beside_what_the_url_asks_for() {
        let url = "postgres://a@h/d?options=-c%20search_path%3Dchat";
        let mut options = Options::new(url);
        options.timeout = Duration::from_millis(700);
        let config = options.config().unwrap();
        assert_eq!(
            config.get_options(),
            Some("-c search_path=chat -c statement_timeout=700")
        );
        assert_eq!(
            options.plain_config().unwrap().get_options(),
            Some("-c search_path=chat")
        );
    }
}
