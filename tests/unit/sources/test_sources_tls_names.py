"""Java's names of protocols and cipher suites, and Flume's rules on addresses, as tables."""

from __future__ import annotations

import ssl

import pytest

from rayflume.errors import OptionError
from rayflume.sources._ip_filter import address_rules, parse_rules
from rayflume.sources._tls_names import ciphers, openssl_name, versions


@pytest.mark.parametrize(
    ("include", "exclude", "found"),
    [
        ([], [], ["TLSv1.2", "TLSv1.3"]),
        ([], ["SSLv3"], ["TLSv1.2", "TLSv1.3"]),
        (["TLSv1", "TLSv1.1", "TLSv1.2"], [], ["TLSv1.2"]),
        ([], ["TLSv1.2"], ["TLSv1.3"]),
        (["tlsv1.3"], ["SSLv3", "SSLv2Hello"], ["TLSv1.3"]),
    ],
)
def test_s11_protocols(include: list[str], exclude: list[str], found: list[str]) -> None:
    assert versions(include, exclude) == found


@pytest.mark.parametrize(
    ("include", "exclude", "why"),
    [
        (["TLSv1.1"], [], "no protocol is left"),
        ([], ["TLSv1.2", "TLSv1.3"], "no protocol is left"),
        (["TLS1.2"], [], "'TLS1.2' is no TLS protocol; known: TLSv1.2, TLSv1.3"),
    ],
)
def test_s11_no_protocol_older_than_1_2(include: list[str], exclude: list[str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        versions(include, exclude)


@pytest.mark.parametrize(
    ("java", "openssl"),
    [
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384", "ECDHE-RSA-AES256-SHA384"),
        ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "ECDHE-RSA-AES128-SHA"),
        ("TLS_DHE_RSA_WITH_AES_256_GCM_SHA384", "DHE-RSA-AES256-GCM-SHA384"),
        ("TLS_RSA_WITH_AES_128_CBC_SHA256", "AES128-SHA256"),
        ("TLS_RSA_WITH_AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        (
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            "ECDHE-RSA-CHACHA20-POLY1305",
        ),
        ("SSL_RSA_WITH_3DES_EDE_CBC_SHA", "DES-CBC3-SHA"),
        ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
    ],
)
def test_java_names_of_cipher_suites(java: str, openssl: str) -> None:
    assert openssl_name(java) == openssl
    if "DES" not in openssl:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(openssl)


def test_a_list_of_cipher_suites_limits_and_leaves_out() -> None:
    both = ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]
    first, second = (openssl_name(name) for name in both)
    all_of_1_3 = [
        "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
    ]  # fmt: skip
    assert ciphers([], []) == ("", [])
    assert ciphers(both, []) == (f"{first}:{second}", ["TLSv1.3"])
    assert ciphers(both, [both[0]]) == (second, ["TLSv1.3"])
    assert ciphers([*both, *all_of_1_3], []) == (f"{first}:{second}", [])
    assert ciphers(all_of_1_3, []) == ("", ["TLSv1.2"])
    listed, off = ciphers([], [both[0], "SSL_RSA_WITH_RC4_128_MD5"])
    assert off == []
    assert second in listed.split(":")
    assert first not in listed.split(":")


@pytest.mark.parametrize(
    ("include", "exclude", "why"),
    [
        (["TLS_NONSENSE"], [], "no cipher suite of TLS 1.3"),
        (["TLS_RSA_WITH_NOTHING"], [], "not offered by OpenSSL"),
        (["TLS_AES_128_GCM_SHA256"], [], "cannot be chosen one by one"),
        ([], ["TLS_AES_128_GCM_SHA256"], "cannot be chosen one by one"),
        (["AES128-SHA"], ["TLS_RSA_WITH_AES_128_CBC_SHA"], "no cipher suite is left"),
    ],
)
def test_what_openssl_cannot_do_is_refused(
    include: list[str], exclude: list[str], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        ciphers(include, exclude)


NAMES = {"192.0.2.7": "web-7.example.com", "192.0.2.8": ""}


@pytest.mark.parametrize(
    ("rules", "allowed", "denied"),
    [
        ("allow:ip:127.*,deny:ip:*", ["127.0.0.1"], ["192.0.2.7", "::1"]),
        ("deny:ip:192.0.2.?", ["127.0.0.1", "192.0.2.70"], ["192.0.2.7"]),
        ("allow:ip:192.0.2.0/25, deny:ip:192.0.2.0/24", ["192.0.2.7"], ["192.0.2.200"]),
        ("allow:name:localhost,deny:ip:*", ["127.0.0.1", "127.9.9.9", "::1"], ["192.0.2.7"]),
        ("ALLOW:NAME:*.Example.com,deny:name:*", ["192.0.2.7"], ["192.0.2.8"]),
        ("deny:ip:fe80*", ["192.0.2.7"], ["fe80::1%eth0"]),
        ("deny:ip:[1]*", ["192.0.2.7", "1"], []),
    ],
)
def test_ip_filter_rules(rules: str, allowed: list[str], denied: list[str]) -> None:
    found = parse_rules(rules.split(","))
    assert found is not None
    for address in allowed:
        assert found.allows(address, lambda address: NAMES.get(address, "")), address
    for address in denied:
        assert not found.allows(address, lambda address: NAMES.get(address, "")), address


@pytest.mark.parametrize(
    "rule", ["allow", "allow:ip", "allow:ip:", "permit:ip:*", "allow:host:*", ":::"]
)
def test_a_malformed_rule_is_one_clear_sentence(rule: str) -> None:
    with pytest.raises(ValueError, match="is no rule; write one like allow:ip:10"):
        parse_rules([rule])
    with pytest.raises(ValueError, match="is no network"):
        parse_rules(["deny:ip:10.0.0.0/99"])


def test_no_rules_are_no_filter_and_names_are_asked_only_where_they_can_be() -> None:
    assert parse_rules(["", " "]) is None
    asked: list[str] = []
    found = parse_rules(["deny:ip:1.*", "allow:name:web"])
    assert found is not None
    assert found.asks_names
    assert not found.allows("1.2.3.4", lambda address: asked.append(address) or "")  # type: ignore[func-returns-value]
    assert asked == []
    assert address_rules(["allow:name:localhost"]) is not None
    with pytest.raises(OptionError, match="names are not looked up"):
        address_rules(["allow:name:web"])
