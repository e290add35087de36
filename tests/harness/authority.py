"""A certificate authority for tests: scanners judge the server, not that its certificate is unknown."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

# Scanners want revocation to be possible; nobody asks this address.
REVOCATION_LIST = "http://127.0.0.1:9/revoked.crl"

PEM = serialization.Encoding.PEM


@dataclass
class Issued:
    """PEM files."""

    authority: Path
    certificate: Path
    key: Path


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _usage(*allowed: str) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
             "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: name in allowed for name in names})


class Authority:
    """Issues certificates for localhost into a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder("Rookery test authority", self.key.public_key(), days=88)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        self.certificate = builder.sign(self.key, hashes.SHA256())
        self.file = folder / "authority.pem"
        self.file.write_bytes(self.certificate.public_bytes(PEM))

    def _builder(self, name: str, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        return (x509.CertificateBuilder().subject_name(_name(name)).issuer_name(_name("Rookery test authority"))
                .public_key(key).serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(hours=1))
                .not_valid_after(now + datetime.timedelta(days=days))
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
                .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False))

    def issue(self, label: str, days: int = 85) -> Issued:
        """A certificate for localhost and 127.0.0.1 that is good for so many days, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        lists = [x509.DistributionPoint([x509.UniformResourceIdentifier(REVOCATION_LIST)], None, None, None)]
        server = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH])
        certificate = (self._builder("localhost", key.public_key(), days=days)
                       .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
                       .add_extension(_usage("digital_signature"), critical=True)
                       .add_extension(server, critical=False)
                       .add_extension(x509.SubjectAlternativeName(names), critical=False)
                       .add_extension(x509.CRLDistributionPoints(lists), critical=False)
                       .sign(self.key, hashes.SHA256()))
        issued = Issued(self.file, self.folder / f"{label}.pem", self.folder / f"{label}-key.pem")
        issued.certificate.write_bytes(certificate.public_bytes(PEM) + self.certificate.public_bytes(PEM))
        issued.key.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return issued
