//! The threads that the services' drivers run on, and the way from a router's thread to them.

use tokio::runtime::{Builder, Handle, Runtime};

use crate::store::StoreError;

/// Enough: the work there is packing and unpacking, and every call is a batch.
const THREADS: usize = 2;

/// A runtime, owned or another's.
pub(super) struct Drivers {
    handle: Handle,
    owned: Option<Runtime>,
}

impl Drivers {
    /// Of its own.
    pub(super) fn start() -> Result<Drivers, StoreError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("rookery-driver")
            .enable_all()
            .build()
            .map_err(|error| StoreError::Failed {
                doing: "start the drivers' threads",
                reason: error.to_string(),
            })?;
        Ok(Drivers {
            handle: runtime.handle().clone(),
            owned: Some(runtime),
        })
    }

    /// Another's, which outlives this.
    pub(super) fn on(handle: Handle) -> Drivers {
        Drivers {
            handle,
            owned: None,
        }
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits for a call. From a router's thread only: on one of the runtime's it would panic.
    pub(super) fn wait<T>(&self, call: impl Future<Output = T>) -> T {
        self.handle.block_on(call)
    }
}

impl Drop for Drivers {
    fn drop(&mut self) {
        if let Some(runtime) = self.owned.take() {
            // Nothing that was answered is lost by not waiting for connections to say goodbye.
            runtime.shutdown_background();
        }
    }
}
