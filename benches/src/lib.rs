//! What measures Rookery: [`flock`], the load generator behind `rookery flock`.

pub mod flock;
