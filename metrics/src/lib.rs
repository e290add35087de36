//! What the server counts while it runs: counters, gauges and histograms that any thread may raise and
//! any other may read, without locks. What is done with the readings (a page for Prometheus, a line of the
//! log, a screen) is not known here.

mod counter;
mod histogram;
mod reading;

pub use counter::{Counter, Gauge};
pub use histogram::{BOUNDS, Histogram, Snapshot};
pub use reading::{Metric, Reading, Value};

/// A struct of [`Counter`]s, [`Gauge`]s and [`Histogram`]s that can be read with their names. A field's
/// documentation is its help text.
#[macro_export]
macro_rules! metrics {
    (
        $(#[$meta:meta])* $vis:vis struct $Metrics:ident {
            $($(#[doc = $doc:literal])+ pub $name:ident: $Metric:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        $vis struct $Metrics { $($(#[doc = $doc])+ pub $name: $Metric,)* }

        impl $Metrics {
            /// What all of them say now.
            $vis fn readings(&self) -> impl Iterator<Item = $crate::Reading> {
                [$($crate::Reading {
                    name: stringify!($name),
                    help: concat!($($doc),+).trim_start(),
                    value: $crate::Metric::read(&self.$name),
                },)*].into_iter()
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    metrics! {
        /// Some of each kind.
        struct Some {
            /// Things
            /// that were done.
            pub done: Counter,
            /// Things under way.
            pub under_way: Gauge,
            /// How long they take.
            pub took: Histogram,
        }
    }

    #[test]
    fn readings_have_names_help_and_values() {
        let some = Some::default();
        some.done.add(2);
        some.under_way.set(7);
        some.took.record_ns(1);
        let readings: Vec<Reading> = some.readings().collect();
        let done = Reading {
            name: "done",
            help: "Things that were done.",
            value: Value::Counter(2),
        };
        assert_eq!(readings[0], done);
        assert_eq!(readings[1].value, Value::Gauge(7));
        assert_eq!(
            readings[2].value,
            Value::Histogram(Box::new(some.took.snapshot()))
        );
    }
}
