//! Our engine against quinn-proto, both ways round, and against itself: in virtual time, with loss, reordering,
//! duplication, rebinding, key updates and rests at any moment. A failure says its seed.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod kit;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kit::{Echo, End, Faults, Ours, Quinn, Random, Talk, Trouble, World};
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{ClientConfig, Endpoint, EndpointConfig, TransportConfig};
use rookery_quic::handshake::{Handshakes, Limits, Server};
use rookery_quic::streams::Windows;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

const ALPN: &[u8] = b"rookery/1";

struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        Self {
            chain: vec![made.cert.der().clone()],
            key: PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap(),
        }
    }

    fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        let signer = provider::sign::any_supported_type(&self.key).unwrap();
        let certified = CertifiedKey::new(self.chain.clone(), signer);
        Arc::new(SingleCertAndKey::from(certified))
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.chain[0].clone()).unwrap();
        roots
    }
}

/// Ends of all kinds.
struct Ends {
    identity: Identity,
    base: Instant,
    limits: Limits,
}

impl Ends {
    fn new() -> Self {
        #[allow(clippy::disallowed_methods, reason = "an origin; nothing waits for it")]
        let base = Instant::now();
        Self {
            identity: Identity::new(),
            base,
            limits: Limits {
                windows: Windows::default(),
                max_idle_s: 120,
                handshake_timeout: Duration::from_secs(60),
                handshakes_max: 16,
                retry_above: 16,
                shard: 1,
                shards: 3,
            },
        }
    }

    fn our_server(&self, seed: u64) -> Ours {
        let server = Server {
            certificates: self.identity.resolver(),
            tickets: seed
                .is_multiple_of(2)
                .then(|| provider::Ticketer::new().unwrap()),
        };
        let handshakes = Handshakes::serve(
            server,
            &[ALPN],
            &self.limits,
            &[seed as u8; 32],
            [seed as u8; 32],
            self.base,
        );
        Ours::new(handshakes.unwrap(), self.limits.windows)
    }

    fn our_client(&self, seed: u64) -> Ours {
        let roots = Arc::new(self.identity.roots());
        let provider = Arc::new(provider::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .unwrap();
        let handshakes = Handshakes::connect_only(
            verifier,
            &[ALPN],
            &self.limits,
            &[seed as u8 ^ 0xff; 32],
            [seed as u8 ^ 0xff; 32],
            self.base,
        );
        Ours::new(handshakes.unwrap(), self.limits.windows)
    }

    fn transport() -> Arc<TransportConfig> {
        let mut transport = TransportConfig::default();
        transport
            .keep_alive_interval(Some(Duration::from_secs(5)))
            .max_idle_timeout(Some(Duration::from_secs(120).try_into().unwrap()));
        Arc::new(transport)
    }

    fn endpoint(&self, seed: u64, server: Option<Arc<quinn_proto::ServerConfig>>) -> Endpoint {
        let mut seeded = [7; 32];
        seeded[..8].copy_from_slice(&seed.to_le_bytes());
        Endpoint::new(
            Arc::new(EndpointConfig::default()),
            server,
            true,
            Some(seeded),
        )
    }

    fn quinn_client(&self, seed: u64, now: u64) -> Quinn {
        let provider = Arc::new(provider::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(self.identity.roots())
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        config.transport_config(Self::transport());
        let mut quinn = Quinn::new(self.endpoint(seed, None), self.base);
        quinn.connect(now, config);
        quinn
    }

    fn quinn_server(&self, seed: u64) -> Quinn {
        let provider = Arc::new(provider::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(self.identity.resolver());
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let crypto = QuicServerConfig::try_from(tls).unwrap();
        let mut config = quinn_proto::ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(Self::transport());
        Quinn::new(self.endpoint(seed, Some(Arc::new(config))), self.base)
    }
}

fn faults(random: &mut Random) -> Faults {
    Faults {
        loss_percent: [0, 1, 5, 15][random.below(4) as usize],
        duplicate_percent: [0, 2, 10][random.below(3) as usize],
        delay_us: [200, 5_000, 40_000][random.below(3) as usize],
        jitter_us: [0, 2_000, 60_000][random.below(3) as usize],
    }
}

fn trouble(random: &mut Random) -> Trouble {
    Trouble {
        rebinding_percent: [0, 2, 10][random.below(3) as usize],
        key_update_percent: [0, 5, 30][random.below(3) as usize],
        client_updates_keys: random.percent(50),
        rest_percent: [30, 100][random.below(2) as usize],
    }
}

/// Runs one seed. The talker is the client.
fn run(seed: u64, client: &mut dyn End, server: &mut dyn End) -> u32 {
    let mut random = Random(seed);
    let faults = faults(&mut random);
    let trouble = trouble(&mut random);
    let streams = 1 + random.below(12) as usize;
    let bytes_max = [10, 2_000, 150_000][random.below(3) as usize];
    let mut talk = Talk::new(streams, bytes_max);
    let mut echo = Echo::default();
    let mut world = World::new(seed, faults, trouble, client, server);
    if let Err(why) = world.run(&mut talk, &mut echo) {
        panic!("seed {seed}: {why}\n{faults:?} {trouble:?}");
    }
    world.rebindings
}

#[test]
fn a_quinn_client_and_our_server() {
    let ends = Ends::new();
    let (mut rests, mut answered, mut rebindings, mut key_updates) = (0, 0, 0, 0);
    for seed in 0..1_000 {
        let mut client = ends.quinn_client(seed, kit::SECOND);
        let mut server = ends.our_server(seed);
        rebindings += run(seed, &mut client, &mut server);
        rests += server.rests;
        answered += server.answered_at_rest;
        key_updates += server.key_updates;
    }
    println!(
        "{rests} rests, {answered} answers at rest, {rebindings} rebindings, {key_updates} turns"
    );
    assert!(rests > 1_000 && answered > 1_000 && rebindings > 500 && key_updates > 100);
}

#[test]
fn our_client_and_a_quinn_server() {
    let ends = Ends::new();
    let mut confirmed = 0;
    for seed in 0..300 {
        let mut client = ends.our_client(seed);
        client.connect(kit::SECOND);
        let mut server = ends.quinn_server(seed);
        run(seed, &mut client, &mut server);
        confirmed += u32::from(client.confirmed);
    }
    // Where little was said, the client may have left before.
    assert!(confirmed > 250, "{confirmed}");
}

#[test]
fn our_client_and_our_server() {
    let ends = Ends::new();
    let (mut confirmed, mut rests) = (0, 0);
    for seed in 0..300 {
        let mut client = ends.our_client(seed);
        client.connect(kit::SECOND);
        let mut server = ends.our_server(seed);
        run(seed, &mut client, &mut server);
        confirmed += u32::from(client.confirmed);
        rests += client.rests.min(server.rests);
    }
    assert!(confirmed > 250 && rests > 300, "{confirmed} {rests}");
}

#[test]
fn clients_come_back_with_a_token_where_they_are_asked_to() {
    let mut ends = Ends::new();
    ends.limits.retry_above = 0;
    for seed in 0..60 {
        let mut server = ends.our_server(seed);
        if seed.is_multiple_of(2) {
            let mut client = ends.quinn_client(seed, kit::SECOND);
            run(seed, &mut client, &mut server);
        } else {
            let mut client = ends.our_client(seed);
            client.connect(kit::SECOND);
            run(seed, &mut client, &mut server);
        }
        assert!(server.places <= 2, "a Retry takes no place");
    }
}
