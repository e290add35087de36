//! Certificates made, renewed, trusted and refused.

use std::os::unix::fs::PermissionsExt;

use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, UnixTime};

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

/// 2027-01-15T08:00:00Z.
const NOW: Duration = Duration::from_secs(1_800_000_000);

fn day(number: u32) -> SystemTime {
    UNIX_EPOCH + NOW + number * DAY
}

fn load_at(data: &Path, now: SystemTime) -> Result<Certificate, CertificateError> {
    load(&config::Tls::default(), data, now)
}

fn self_signed() -> (tempfile::TempDir, Certificate) {
    let data = tempfile::tempdir().unwrap();
    let certificate = load_at(data.path(), day(0)).unwrap();
    (data, certificate)
}

/// Whether a client that trusts one certificate accepts another, for a name and at a time.
fn accepts(trusted: &Certificate, shown: &Certificate, name: &str, at: SystemTime) -> bool {
    let leaf =
        |certificate: &Certificate| CertificateDer::from(certificate.tls.leaf()).into_owned();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(leaf(trusted)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = builder.build().unwrap();
    let at = UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap());
    let name = name.to_owned().try_into().unwrap();
    verifier
        .verify_server_cert(&leaf(shown), &[], &name, &[], at)
        .is_ok()
}

fn files(certificate: &Path, key: &Path) -> Result<Certificate, CertificateError> {
    let tls = config::Tls {
        certificate: Some(certificate.into()),
        key: Some(key.into()),
        ..config::Tls::default()
    };
    load(&tls, Path::new("/nowhere"), day(0))
}

#[test]
fn a_self_signed_one_is_made_once_and_its_key_is_private() {
    let (data, first) = self_signed();
    assert_eq!(first.source, Source::SelfSigned(Made::Now));
    let again = load_at(data.path(), day(366)).unwrap();
    assert_eq!(again.source, Source::SelfSigned(Made::Earlier));
    assert_eq!(again.fingerprint, first.fingerprint);
    assert_eq!(first.fingerprint_text().len(), 95);
    let key = std::fs::metadata(data.path().join("tls/key.pem")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_client_that_trusts_it_accepts_every_name_until_it_ends() {
    let (_data, made) = self_signed();
    for name in ["localhost", "127.0.0.1", "::1"] {
        assert!(accepts(&made, &made, name, day(0)), "{name}");
    }
    assert!(!accepts(&made, &made, "example.org", day(0)));
    assert!(accepts(&made, &made, "localhost", day(396)));
    assert!(!accepts(&made, &made, "localhost", day(397)));
}

#[test]
fn a_self_signed_one_is_renewed_before_it_ends_and_old_trust_holds() {
    // In time, at the last moment, and after a long sleep.
    for at in [367, 396, 5_000] {
        let (data, first) = self_signed();
        let key = || std::fs::read(data.path().join("tls/key.pem")).unwrap();
        let key_before = key();
        assert!(!first.is_due(day(366)) && first.is_due(day(at)));
        let second = load_at(data.path(), day(at)).unwrap();
        assert_eq!(second.source, Source::SelfSigned(Made::Renewed));
        assert_ne!(second.fingerprint, first.fingerprint);
        assert_eq!(key(), key_before);
        assert!(!second.is_due(day(at)) && second.warning(day(at)).is_none());
        for trusted in [&first, &second] {
            assert!(accepts(trusted, &second, "localhost", day(at)));
        }
        // Not for anybody of the same name.
        let (_other, other) = self_signed();
        assert!(!accepts(&other, &second, "localhost", day(at)));
        let third = load_at(data.path(), day(at)).unwrap();
        assert_eq!(third.source, Source::SelfSigned(Made::Earlier));
        assert_eq!(third.fingerprint, second.fingerprint);
    }
}

#[test]
fn one_that_cannot_be_renewed_is_used_until_it_ends() {
    let (data, first) = self_signed();
    // The new file's name is taken by a directory.
    std::fs::create_dir(data.path().join("tls/certificate.new")).unwrap();
    let kept = load_at(data.path(), day(390)).unwrap();
    assert_eq!(kept.fingerprint, first.fingerprint);
    let error = load_at(data.path(), day(397)).unwrap_err().to_string();
    assert!(error.starts_with("cannot write "), "{error}");
}

#[test]
fn what_an_operator_put_in_its_place_is_not_touched() {
    let (data, _) = self_signed();
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = day(3).into();
    let pem = params.self_signed(&pair).unwrap().pem();
    std::fs::write(self_signed_path(data.path()), &pem).unwrap();
    std::fs::write(data.path().join("tls/key.pem"), pair.serialize_pem()).unwrap();
    for at in [0, 3_000] {
        let given = load_at(data.path(), day(at)).unwrap();
        assert_eq!(given.source, Source::Given);
        assert!(!given.is_due(day(at)));
        assert!(given.warning(day(at)).is_some());
    }
    assert_eq!(
        std::fs::read_to_string(self_signed_path(data.path())).unwrap(),
        pem
    );
}

#[test]
fn the_end_of_one_that_was_given_is_told_with_its_date() {
    let (data, _) = self_signed();
    let (path, key) = (
        self_signed_path(data.path()),
        data.path().join("tls/key.pem"),
    );
    let given = files(&path, &key).unwrap();
    assert!(!given.is_due(day(1_000)));
    let path = path.display();
    let replace = "put a valid one in its place and send SIGHUP";
    let end = "2028-02-16T07:00:00Z";
    for (at, what) in [
        (day(383), format!("expires on {end}, in 13 days")),
        (day(395), format!("expires on {end}, in 1 day")),
        (day(396), format!("expires on {end}, in less than a day")),
        (day(397), format!("expired on {end}, less than a day ago")),
        (day(398), format!("expired on {end}, 1 day ago")),
        (day(407), format!("expired on {end}, 10 days ago")),
    ] {
        let expected = format!("the certificate in {path} {what}: {replace}");
        assert_eq!(given.warning(at), Some(expected));
    }
    let early = "is not valid before 2027-01-15T07:00:00Z, in 1 day: is this host's clock right?";
    assert_eq!(
        given.warning(day(0) - 2 * DAY),
        Some(format!("the certificate in {path} {early}"))
    );
    assert_eq!(given.warning(day(0)), None);
    assert_eq!(given.warning(day(382)), None);
}

#[test]
fn errors_name_the_file() {
    let (data, _) = self_signed();
    let (other, _) = self_signed();
    let certificate = self_signed_path(data.path());
    let key = data.path().join("tls/key.pem");
    let junk = data.path().join("junk.pem");
    std::fs::write(&junk, "junk").unwrap();
    let broken = data.path().join("broken.pem");
    std::fs::write(
        &broken,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let missing = data.path().join("missing.pem");
    assert!(files(&certificate, &key).is_ok());
    let cases = [
        (&missing, &key, "missing.pem"),
        (&certificate, &missing, "missing.pem"),
        (&junk, &key, "junk.pem holds no usable certificate"),
        (&broken, &key, "broken.pem holds no usable certificate"),
        (&certificate, &junk, "junk.pem holds no usable private key"),
        (
            &certificate,
            &other.path().join("tls/key.pem"),
            "is not the key of the certificate",
        ),
    ];
    for (certificate, key, expected) in cases {
        let error = files(certificate, key).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
