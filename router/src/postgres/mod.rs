//! PostgreSQL: the authority over conversations, their members, and devices.
//!
//! Asynchronous calls over a pool; each is one statement, so it happened or it did not, and no
//! transaction stays open when a caller dies. Not here: messages. The invariant: of one
//! [`OpenKey`](crate::record::OpenKey) that holds there is one conversation, whoever opens, and its
//! members never change.

mod check;
mod conversations;
mod devices;
mod error;
mod migrations;
mod options;

use deadpool_postgres::{Client, Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::{Error, NoTls};

use crate::store::StoreError;

pub use check::check;
pub use migrations::{migrate, pending};
pub use options::Options;

/// The name that errors and checks give.
const SERVICE: &str = "postgres";

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Postgres {
    pool: Pool,
    timeout: Duration,
}

impl Postgres {
    /// A pool that connects when it is first asked. Errors are of the options only.
    pub fn new(options: &Options) -> Result<Postgres, StoreError> {
        // Fast: a connection that the driver knows to be closed is not handed out. Asking the server
        // each time would double the round trips, and a call that fails is Away either way.
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = Manager::from_config(options.config()?, NoTls, recycling);
        let pool = Pool::builder(manager)
            .max_size(options.pool_size.max(1))
            .build()
            .map_err(|error| StoreError::Failed {
                doing: "make the pool of PostgreSQL",
                reason: error.to_string(),
            })?;
        Ok(Postgres {
            pool,
            timeout: options.timeout,
        })
    }

    /// Does `work` on a connection, within the time that a call may take. A connection on which it
    /// was not done in time is closed: its answer, if it ever comes, is nobody's.
    async fn run<T>(
        &self,
        doing: &'static str,
        work: impl AsyncFnOnce(&Client) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + self.timeout;
        let late = || {
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
