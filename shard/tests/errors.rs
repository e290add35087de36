//! An error is told with its sources behind it (`{:#}` of anyhow), so its own words leave them out.

use std::error::Error;
use std::io;

use rookery_shard::{JoinError, StartError};

fn is_said_once(error: &dyn Error) -> bool {
    let mut cause = error.source();
    while let Some(told) = cause {
        if error.to_string().contains(&told.to_string()) {
            return false;
        }
        cause = told.source();
    }
    true
}

#[test]
fn no_error_tells_its_source_itself() {
    let source = || io::Error::from_raw_os_error(libc::EADDRINUSE);
    let errors: [Box<dyn Error>; 5] = [
        Box::new(StartError::Listen {
            addr: ([127, 0, 0, 1], 8443).into(),
            source: source(),
        }),
        Box::new(StartError::Os {
            what: "making a shard's rings",
            source: source(),
        }),
        Box::new(StartError::OpenFiles {
            slots: 1_000_000,
            limit: 1_024,
        }),
        Box::new(StartError::Shard(1)),
        Box::new(JoinError {
            shard: 1,
            message: "gone".to_owned(),
        }),
    ];
    for error in errors {
        assert!(is_said_once(error.as_ref()), "{error}");
    }
}
