//! PostgreSQL: the authority over conversations, their members, and devices.
//!
//! Asynchronous calls over a pool; each is one statement, so it happened or it did not, and no
//! transaction stays open when a caller dies. A server that hangs is not asked again until it answers
//! ([`breaker`]). Not here: messages. The invariant: of one
//! [`OpenKey`](crate::record::OpenKey) that holds there is one conversation, whoever opens, and its
//! members never change.

mod breaker;
mod check;
mod connect;
mod conversations;
mod devices;
mod error;
mod migrations;
mod options;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Client, Object, Pool};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Error;

use crate::store::StoreError;
use breaker::Breaker;

pub use check::check;
pub use migrations::{migrate, pending};
pub use options::Options;

/// The name that errors and checks give.
const SERVICE: &str = "postgres";

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Postgres {
    pool: Pool,
    breaker: Arc<Breaker>,
    timeout: Duration,
}

impl Postgres {
    /// A pool that connects when it is first asked. Errors are of the options only.
    pub fn new(options: &Options) -> Result<Postgres, StoreError> {
        let pool = Pool::builder(connect::manager(options)?)
            .max_size(options.pool_size.max(1))
            .build()
            .map_err(|error| StoreError::Failed {
                doing: "make the pool of PostgreSQL",
                reason: error.to_string(),
            })?;
        let breaker = Breaker::new(options.config()?, options.tls.clone(), options.timeout);
        Ok(Postgres {
            pool,
            breaker,
            timeout: options.timeout,
        })
    }

    /// Does `work` on a connection, within the time that a call may take, waiting for a connection
    /// included. One on which it was not done in time is closed: its answer, if it ever comes, is
    /// nobody's.
    async fn run<T>(
        &self,
        doing: &'static str,
        work: impl AsyncFnOnce(&Client) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        self.breaker.pass()?;
        let deadline = Instant::now() + self.timeout;
        let late = || {
            if self.breaker.trip() {
                // The way may have died under them, and each would cost another call its time.
                self.pool.retain(|_, _| false);
            }
            let ms = self.timeout.as_millis();
            error::away(format!("{doing}: no answer within {ms} ms"))
        };
        let client = match timeout_at(deadline, self.pool.get()).await {
            Ok(client) => client.map_err(|error| error::of_pool(&error))?,
            Err(_) => return Err(late()),
        };
        match timeout_at(deadline, work(&client)).await {
            Ok(done) => done.map_err(|error| error::of_call(doing, &error)),
            Err(_) => {
                drop(Object::take(client));
                Err(late())
            }
        }
    }
}
