//! The distributed store on real services keeps what every store promises (`store_support`): the part in
//! CQL alone as `cql::…`, the whole as `cluster::…`. What only these promise is in `cql_only` and
//! `cluster_only`.

#![allow(clippy::unwrap_used, reason = "a test that can not go on panics")]

#[path = "../store_support/mod.rs"]
mod store_support;

mod cluster_only;
mod cluster_subject;
mod cql_only;
mod cql_subject;

store_support::keeps! { cql, crate::cql_subject::CqlSubject::new() }
store_support::keeps! { cluster, crate::cluster_subject::ClusterSubject::new() }
store_support::keeps_members! { cluster_members, crate::cluster_subject::ClusterSubject::new() }
store_support::keeps_outbox! { cql_outbox, crate::cql_subject::CqlSubject::new() }
store_support::keeps_outbox! { cluster_outbox, crate::cluster_subject::ClusterSubject::new() }
