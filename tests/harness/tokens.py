"""Login tokens made by hand, so that every kind of wrong one can be made too (RFC 7519, RFC 7515)."""

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path


def b64(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims(user: int, device: int = 1, ttl: float = 3600) -> dict:
    """What a good token says."""
    now = int(time.time())
    return {"sub": str(user), "device": device, "iat": now, "exp": int(now + ttl)}


def sign(header: dict, body: dict, key: bytes) -> str:
    """A compact token signed with HS256, whatever its header claims."""
    signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(body).encode())}"
    return f"{signed}.{b64(hmac.new(key, signed.encode(), hashlib.sha256).digest())}"


def hs256(user: int, key: bytes, device: int = 1, ttl: float = 3600) -> str:
    """A good token."""
    return sign({"alg": "HS256", "typ": "JWT"}, claims(user, device, ttl), key)


def none(user: int) -> str:
    """A token that says that it needs no signature."""
    signed = f"{b64(json.dumps({'alg': 'none', 'typ': 'JWT'}).encode())}.{b64(json.dumps(claims(user)).encode())}"
    return f"{signed}."


def key_section(data: Path, key: bytes) -> str:
    """Writes an HS256 key beside a data directory and gives the configuration that names it."""
    data.parent.mkdir(parents=True, exist_ok=True)
    file = data.parent / f"{data.name}-hs256.key"
    file.write_bytes(key)
    file.chmod(0o600)
    return f'[[auth.keys]]\nalgorithm = "HS256"\nfile = "{file}"\n'
