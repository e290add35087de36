//! What can be wrong, made wrong: files, and servers in this process that speak TLS or do not.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};
use tempfile::TempDir;

use super::*;

/// Certificates, and the folder in which they are files.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    folder: TempDir,
}

/// A certificate with its key, PEM.
struct Issued {
    chain: String,
    key: String,
}

/// When a certificate is valid.
#[derive(Clone, Copy)]
enum Dates {
    Now,
    Past,
    Future,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        Authority {
            pem: params.self_signed(&key).unwrap().pem(),
            issuer: Issuer::new(params, key),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn issue(&self, names: &[&str], dates: Dates) -> Issued {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        (params.not_before, params.not_after) = match dates {
            Dates::Now => (date_time_ymd(2020, 1, 1), date_time_ymd(2090, 1, 1)),
            Dates::Past => (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1)),
            Dates::Future => (date_time_ymd(2090, 1, 1), date_time_ymd(2091, 1, 1)),
        };
        let key = KeyPair::generate().unwrap();
        Issued {
            chain: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// What a client names that trusts this one.
    fn files(&self) -> Files {
        Files {
            ca_file: Some(self.file("ca.pem", &self.pem)),
            ..Files::default()
        }
    }

    /// The same with a certificate of its own.
    fn files_with(&self, own: &Issued) -> Files {
        Files {
            certificate_file: Some(self.file("own.pem", &own.chain)),
            key_file: Some(self.file("own-key.pem", &own.key)),
            ..self.files()
        }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap();
        roots.add(certificate).unwrap();
        roots
    }
}

/// Answers every connection until the process ends; gives `127.0.0.1:port`.
fn serve(answer: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || listener.incoming().flatten().for_each(answer));
    address
}

/// A server of TLS that asks for certificates of these clients.
fn serve_tls(
    own: &Issued,
    clients: Option<&Authority>,
    version: &'static SupportedProtocolVersion,
) -> String {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let clients = match clients {
        None => Arc::new(NoClientAuth),
        Some(clients) => {
            let roots = Arc::new(clients.roots());
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .unwrap()
        }
    };
    let chain = CertificateDer::pem_slice_iter(own.chain.as_bytes());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(
            chain.collect::<Result<_, _>>().unwrap(),
            PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    serve(move |mut socket| {
        let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = rustls::Stream::new(&mut connection, &mut socket);
        // Clients that go away are what is tested.
        let _ = stream
            .read(&mut [0; 64])
            .and_then(|_| stream.write_all(b"+PONG\r\n"));
        let _ = connection.complete_io(&mut socket);
    })
}

/// A server without TLS, which says this to what it does not understand.
fn serve_plain(to_others: &'static [u8]) -> String {
    serve(move |mut socket| {
        let mut read = [0; 1024];
        let answer = match socket.read(&mut read) {
            Ok(6) if read.starts_with(b"PING\r\n") => b"+PONG\r\n",
            _ => to_others,
        };
        // As above.
        let _ = socket.write_all(answer);
    })
}

fn asked(address: &str, files: Option<Files>) -> Option<Fault> {
    let target = Target {
        address: address.to_owned(),
        opening: Opening::Direct(b"PING\r\n"),
        by_address: false,
    };
    let tls = files.map(|files| Tls::load(files).unwrap());
    probe(&target, tls.as_ref())
}

#[test]
fn each_kind_of_wrong_certificate_is_told_apart() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let namesake = Authority::new("ours");
    for version in [&TLS12, &TLS13] {
        let serve = |names: &[&str], dates| serve_tls(&ours.issue(names, dates), None, version);
        let good = serve(&["127.0.0.1"], Dates::Now);
        assert_eq!(asked(&good, Some(ours.files())), None);
        for stranger in [&other, &namesake] {
            let fault = asked(&good, Some(stranger.files()));
            assert_eq!(fault, Some(Fault::UnknownAuthority));
        }
        let past = serve(&["127.0.0.1"], Dates::Past);
        assert_eq!(asked(&past, Some(ours.files())), Some(Fault::Expired));
        let future = serve(&["127.0.0.1"], Dates::Future);
        assert_eq!(asked(&future, Some(ours.files())), Some(Fault::NotYetValid));

        let named = serve(&["a.example", "b.example"], Dates::Now);
        let fault = asked(&named, Some(ours.files())).unwrap();
        let told = fault.problem("redis", &named);
        let names = "is for a.example, b.example and not for 127.0.0.1";
        assert!(told.what.contains(names), "{told:?}");
        assert!(told.advice.contains("`server_name` in [redis]"), "{told:?}");
        let as_named = |name: &str| Files {
            server_name: Some(name.to_owned()),
            ..ours.files()
        };
        assert_eq!(asked(&named, Some(as_named("b.example"))), None);
        let fault = asked(&named, Some(as_named("c.example")));
        assert!(matches!(fault, Some(Fault::WrongName { .. })), "{fault:?}");
    }
}

#[test]
fn a_driver_that_knows_addresses_only_is_held_to_them() {
    let ours = Authority::new("ours");
    let named = serve_tls(&ours.issue(&["localhost"], Dates::Now), None, &TLS13);
    let (_, port) = named.rsplit_once(':').unwrap();
    let tls = Tls::load(ours.files()).unwrap();
    let ask = |by_address| {
        let target = Target {
            address: format!("localhost:{port}"),
            opening: Opening::Direct(b"PING\r\n"),
            by_address,
        };
        probe(&target, Some(&tls))
    };
    assert_eq!(ask(false), None);
    assert!(matches!(ask(true), Some(Fault::WrongName { .. })));
}

#[test]
fn with_and_without_tls_are_told_apart() {
    let ours = Authority::new("ours");
    // As Kafka, which hangs up, and as Cassandra, which answers in its own protocol.
    for to_others in [&b""[..], b"\x84\x00\x00\x00\x00"] {
        let plain = serve_plain(to_others);
        assert_eq!(asked(&plain, Some(ours.files())), Some(Fault::NoTls));
        assert_eq!(asked(&plain, None), None);
    }
    for version in [&TLS12, &TLS13] {
        let encrypted = serve_tls(&ours.issue(&["127.0.0.1"], Dates::Now), None, version);
        assert_eq!(asked(&encrypted, None), Some(Fault::InsistsOnTls));
    }
    // Nobody there is no matter of TLS.
    assert_eq!(asked("127.0.0.1:1", Some(ours.files())), None);
    assert_eq!(asked("127.0.0.1:1", None), None);
}

#[test]
fn a_server_that_wants_our_certificate_is_told_apart() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    for version in [&TLS12, &TLS13] {
        let own = ours.issue(&["127.0.0.1"], Dates::Now);
        let server = serve_tls(&own, Some(&ours), version);
        let demanded = asked(&server, Some(ours.files()));
        assert_eq!(demanded, Some(Fault::CertificateDemanded));
        let good = ours.issue(&["edge"], Dates::Now);
        assert_eq!(asked(&server, Some(ours.files_with(&good))), None);
        for bad in [
            other.issue(&["edge"], Dates::Now),
            ours.issue(&["edge"], Dates::Past),
        ] {
            let refused = asked(&server, Some(ours.files_with(&bad)));
            assert_eq!(refused, Some(Fault::CertificateRefused));
        }
        assert_eq!(asked(&server, None), Some(Fault::InsistsOnTls));
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_what_is_wrong() {
    let ours = Authority::new("ours");
    let (own, another) = (
        ours.issue(&["a"], Dates::Now),
        ours.issue(&["a"], Dates::Now),
    );
    let good = || ours.files_with(&own);
    Tls::load(good()).unwrap();
    let missing = Some(ours.folder.path().join("nowhere.pem"));
    let no_pem = Some(ours.file("no.pem", "nothing of the kind"));
    let cut = Some(ours.file("cut.pem", &own.chain[..own.chain.len() / 2]));
    let other_key = Some(ours.file("other-key.pem", &another.key));
    type Spoil<'s> = &'s dyn Fn(&mut Files);
    let cases: [(Spoil<'_>, &str, &str); 10] = [
        (&|f| f.ca_file = missing.clone(), "ca_file", "No such file"),
        (
            &|f| f.ca_file = no_pem.clone(),
            "ca_file",
            "no.pem: holds no certificate",
        ),
        (&|f| f.ca_file = cut.clone(), "ca_file", "cut.pem: "),
        (
            &|f| f.certificate_file = no_pem.clone(),
            "certificate_file",
            "holds no certificate",
        ),
        (
            &|f| f.key_file = missing.clone(),
            "key_file",
            "nowhere.pem: No such file",
        ),
        (
            &|f| f.key_file = no_pem.clone(),
            "key_file",
            "holds no private key",
        ),
        (
            &|f| f.key_file = other_key.clone(),
            "key_file",
            "is not the key of",
        ),
        (&|f| f.key_file = None, "key_file", "come together"),
        (
            &|f| f.certificate_file = None,
            "certificate_file",
            "come together",
        ),
        (
            &|f| f.server_name = Some("a b".to_owned()),
            "server_name",
            "neither",
        ),
    ];
    for (spoil, key, expected) in cases {
        let mut files = good();
        spoil(&mut files);
        let told = Tls::load(files).expect_err(expected).to_string();
        assert!(told.contains(key) && told.contains(expected), "{told}");
        assert!(!told.contains("PRIVATE KEY"), "{told}");
    }
}
