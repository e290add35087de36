//! What several chores ask of Cargo.

/// The test targets that need real services, as a glob over their names. Their manifests say `test = false`:
/// Cargo takes them only where they are named, not with `--workspace` and not with `--all-targets`.
pub(crate) const SERVICES: &str = "services_*";
