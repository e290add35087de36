//! What something that counts says at a moment.

use crate::Snapshot;

/// Can be read.
pub trait Metric {
    /// What it says now.
    fn read(&self) -> Value;
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// It only grows.
    Counter(u64),
    /// It says what is.
    Gauge(u64),
    /// How often something took how long.
    Histogram(Box<Snapshot>),
}

impl Value {
    /// The number; of a histogram, how many records it has.
    pub fn number(&self) -> u64 {
        match self {
            Self::Counter(number) | Self::Gauge(number) => *number,
            Self::Histogram(snapshot) => snapshot.count(),
        }
    }
}

/// A value with what it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// In snake case, without a prefix.
    pub name: &'static str,
    /// A sentence or two.
    pub help: &'static str,
    /// What it says.
    pub value: Value,
}
