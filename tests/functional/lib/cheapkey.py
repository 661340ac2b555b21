"""Gives a repository's key a password derivation that costs nothing: a daemon opens its repository at
every start, and a crash loop starts thousands. The master key and the password stay.

Format: restic's key files (docs/formats.md); Poly1305-AES as in D. J. Bernstein's paper of 2005.
"""

import base64
import hashlib
import json
import os
import subprocess
from pathlib import Path

CLAMP = 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF


def _openssl(cipher, data, *options):
    return subprocess.run(["openssl", "enc", f"-{cipher}", "-nopad", *options], input=data, capture_output=True,
                          check=True).stdout


def _ctr(key, nonce, data):
    return _openssl("aes-256-ctr", data, "-K", key.hex(), "-iv", nonce.hex())


def _tag(mac_key, nonce, data):
    pad = int.from_bytes(_openssl("aes-128-ecb", nonce, "-K", mac_key[:16].hex()), "little")
    r = int.from_bytes(mac_key[16:], "little") & CLAMP
    total = 0
    for at in range(0, len(data), 16):
        block = data[at:at + 16]
        total = (total + int.from_bytes(block, "little") + (1 << 8 * len(block))) * r % ((1 << 130) - 5)
    return ((total + pad) % (1 << 128)).to_bytes(16, "little")


def _derive(password, key):
    return hashlib.scrypt(password.encode(), salt=base64.b64decode(key["salt"]), n=key["N"], r=key["r"], p=key["p"],
                          maxmem=1 << 30, dklen=64)


def cheapen(repository, password):
    """Replaces the repository's one key file."""
    old, = (Path(repository) / "keys").iterdir()
    key = json.loads(old.read_text())
    sealed, user = base64.b64decode(key["data"]), _derive(password, key)
    nonce, body, tag = sealed[:16], sealed[16:-16], sealed[-16:]
    assert _tag(user[32:], nonce, body) == tag, "the password does not open the key"
    plain = _ctr(user[:32], nonce, body)
    key.update(N=2, r=1, p=1)
    user, nonce = _derive(password, key), os.urandom(16)
    body = _ctr(user[:32], nonce, plain)
    key["data"] = base64.b64encode(nonce + body + _tag(user[32:], nonce, body)).decode()
    text = json.dumps(key)
    new = old.with_name(hashlib.sha256(text.encode()).hexdigest())
    new.write_text(text)
    new.chmod(0o600)
    old.unlink()
