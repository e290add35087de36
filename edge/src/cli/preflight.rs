//! What can be said of a configuration's files before anything runs: what is wrong with them, and what works
//! and should be mended. `check-config` prints it; `serve` refuses the first by itself and logs the second.

use std::path::PathBuf;
use std::time::SystemTime;

use crate::auth::{self, VerifyingKey};
use crate::certificate;
use crate::config::{Config, LogKind};
use crate::services::Services;

/// What is wrong with the files that the configuration names.
pub(super) fn wrong(config: &Config) -> Vec<String> {
    let mut wrong = Vec::new();
    for key in &config.auth.keys {
        wrong.extend(VerifyingKey::load(key).err().map(|error| error.to_string()));
    }
    if let Some(path) = &config.auth.jwks_file {
        wrong.extend(auth::load_jwks(path).err().map(|error| error.to_string()));
    }
    if let Some(path) = &config.tls.ticket_keys_file {
        let keys = certificate::ticket_keys(path);
        wrong.extend(keys.err().map(|error| error.to_string()));
    }
    // Without files a check would make a certificate, and a check writes nothing.
    if config.tls.certificate.is_some() {
        let certificate = certificate::load(&config.tls, &config.data, SystemTime::now());
        wrong.extend(certificate.err().map(|error| error.to_string()));
        // The ticket keys are a part of it.
        wrong.dedup();
    }
    if config.log.kind == LogKind::Kafka {
        wrong.extend(Services::of(config).err().map(|error| error.to_string()));
    }
    wrong
}

/// What works and should be mended; of files that are there.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let keys = config.auth.keys.iter().flat_map(VerifyingKey::warnings);
    let files = secret_files(config);
    keys.chain(files.iter().filter_map(|file| auth::exposure(file)))
        .collect()
}

/// The certificate's dates; `serve` tells them too, and goes on to.
pub(super) fn certificate_warning(config: &Config) -> Option<String> {
    config.tls.certificate.as_ref()?;
    let now = SystemTime::now();
    let certificate = certificate::load(&config.tls, &config.data, now);
    certificate.ok()?.warning(now)
}

/// Private keys and passwords, those that are made here too. Keys of tokens look after themselves.
fn secret_files(config: &Config) -> Vec<PathBuf> {
    let own = |name: &str| config.data.join(name);
    let mut files = vec![own("auth/resume-key")];
    if config.auth.has_no_keys() {
        files.push(own("auth/dev-key"));
    }
    files.push(match &config.tls.key {
        Some(key) => key.clone(),
        None => own("tls/key.pem"),
    });
    files.extend(config.tls.ticket_keys_file.clone());
    if config.log.kind == LogKind::Kafka {
        files.extend(
            [
                &config.kafka.password_file,
                &config.cql.password_file,
                &config.postgres.password_file,
                &config.redis.password_file,
            ]
            .into_iter()
            .flatten()
            .cloned(),
        );
    }
    files
}
