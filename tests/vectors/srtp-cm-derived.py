#!/usr/bin/env python3
"""Prints srtp-cm-derived.txt: from a master key to a packet with the suites of RFC 3711, RFC 4568 and RFC 6188.

Written from the RFCs' formulas over AES in ECB mode (the `cryptography` package) and hmac/hashlib, and sharing
nothing with the product. Run from this directory:

    ./srtp-cm-derived.py > srtp-cm-derived.txt
"""

import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

# Name: octets of key, of SRTP tag, of SRTCP tag (RFC 4568 section 6.2, RFC 6188 section 4).
SUITES = {
    "AES_CM_128_HMAC_SHA1_80": (16, 10, 10),
    "AES_CM_128_HMAC_SHA1_32": (16, 4, 10),
    "AES_256_CM_HMAC_SHA1_80": (32, 10, 10),
}
MKI = bytes.fromhex("0000e1f2")


def stream(key: bytes, first: int, length: int) -> bytes:
    """RFC 3711 section 4.1: E(k, IV) || E(k, IV + 1) || ..."""
    ecb = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    count = -(-length // 16)
    blocks = [ecb.update(((first + i) % 2**128).to_bytes(16, "big")) for i in range(count)]
    return b"".join(blocks)[:length]


def derive(key: bytes, salt: bytes, label: int, length: int) -> bytes:
    """RFC 3711 section 4.3: x = (label || 0^48) XOR master_salt, IV = x * 2^16."""
    return stream(key, ((label << 48) ^ int.from_bytes(salt, "big")) << 16, length)


def crypt(key: bytes, salt: bytes, ssrc: int, index: int, text: bytes) -> bytes:
    """RFC 3711 section 4.1.1."""
    iv = (int.from_bytes(salt, "big") << 16) ^ (ssrc << 64) ^ (index << 16)
    return bytes(a ^ b for a, b in zip(text, stream(key, iv, len(text)), strict=True))


def tag(key: bytes, message: bytes, length: int) -> bytes:
    """RFC 3711 section 4.2.1."""
    return hmac.new(key, message, hashlib.sha1).digest()[:length]


def show(title: str, fields: dict[str, object]) -> None:
    print(f"\n[{title}]")
    for name, value in fields.items():
        print(f"{name} = {value.hex() if isinstance(value, bytes) else value}")


def main() -> None:
    print("# From a master key to a packet: key derivation, AES-CM and HMAC-SHA1 (RFC 3711, RFC 4568 section 6.2,")
    print("# RFC 6188), with and without MKI. Made by srtp-cm-derived.py beside this file; libsrtp 2.5.0 makes")
    print("# the same packets (those with SRTCP index 0x7fffffff were not tried: it cannot be set there).")
    for suite, (key_len, rtp_tag_len, rtcp_tag_len) in SUITES.items():
        key, salt = bytes(range(key_len)), bytes(range(0xA0, 0xAE))
        common = {"suite": suite, "master_key": key, "master_salt": salt}

        e, a, s = (derive(key, salt, label, n) for label, n in ((0, key_len), (1, 20), (2, 14)))
        keys = {"session_key": e, "session_auth_key": a, "session_salt": s}
        for roc, seq, payload_len in ((0, 0x1234, 16), (0x01020304, 0xFFFF, 160), (0xFFFFFFFF, 0, 1), (7, 8, 0)):
            header = bytes.fromhex("800f") + seq.to_bytes(2, "big") + bytes.fromhex("decafbadcafebabe")
            payload = bytes((0xAB + 3 * i) % 256 for i in range(payload_len))
            sent = header + crypt(e, s, 0xCAFEBABE, roc << 16 | seq, payload)
            mac = tag(a, sent + roc.to_bytes(4, "big"), rtp_tag_len)
            fields = {"roc": f"{roc:08x}", "plain": header + payload, "sealed": sent + mac}
            # RFC 3711 section 3.1: the MKI stands before the tag and is not authenticated.
            fields |= {"mki": MKI, "sealed_with_mki": sent + MKI + mac}
            show(f"{suite} SRTP roc {roc:#x} payload {payload_len}", common | keys | fields)

        e, a, s = (derive(key, salt, label, n) for label, n in ((3, key_len), (4, 20), (5, 14)))
        keys = {"session_key": e, "session_auth_key": a, "session_salt": s}
        for index, body_len in ((1, 16), (0x7FFFFFFF, 88), (5, 0)):
            words = (8 + body_len) // 4 - 1
            header = bytes.fromhex("81c8") + words.to_bytes(2, "big") + bytes.fromhex("cafebabe")
            body = bytes((0x5A + 7 * i) % 256 for i in range(body_len))
            sent = header + crypt(e, s, 0xCAFEBABE, index, body) + (1 << 31 | index).to_bytes(4, "big")
            mac = tag(a, sent, rtcp_tag_len)
            fields = {"index": f"{index:08x}", "plain": header + body, "sealed": sent + mac}
            fields |= {"mki": MKI, "sealed_with_mki": sent + MKI + mac}
            show(f"{suite} SRTCP index {index:#x} body {body_len}", common | keys | fields)


main()
