"""Signs and verifies DSSE envelopes with securesystemslib, for tests/foreign_programs.rs.

verify ENVELOPE HOST_ID            exits 0 when the one signature is the host's
sign   KEY_PEM HOST_ID TYPE PAYLOAD  prints an envelope
"""

import json
import pathlib
import sys

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey


def public_key(host):
    return SSlibKey(keyid=host, keytype="ed25519", scheme="ed25519", keyval={"public": host})


def verify(envelope, host):
    parsed = Envelope.from_dict(json.loads(pathlib.Path(envelope).read_bytes()))
    try:
        accepted = parsed.verify([public_key(host)], 1)
    except VerificationError as refused:
        sys.exit(f"refused: {refused}")
    print("verified", *accepted)


def sign(key_pem, host, payload_type, payload):
    key = load_pem_private_key(pathlib.Path(key_pem).read_bytes(), password=None)
    envelope = Envelope(pathlib.Path(payload).read_bytes(), payload_type, {})
    envelope.sign(CryptoSigner(key, public_key(host)))
    print(json.dumps(envelope.to_dict()))


if __name__ == "__main__":
    {"verify": verify, "sign": sign}[sys.argv[1]](*sys.argv[2:])
