"""The options of a lake's storage in the words of the libraries that read tables there.

Where the lake's options say nothing, those libraries look for credentials as AWS's own tools do.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr

from rayflume.component import Component
from rayflume.errors import OptionError

_DELTA = {
    "endpoint": "aws_endpoint",
    "region": "aws_region",
    "access_key": "aws_access_key_id",
    "secret_key": "aws_secret_access_key",
    "session_token": "aws_session_token",
    "server_side_encryption": "aws_server_side_encryption",
    "kms_key_id": "aws_sse_kms_key_id",
}
_ICEBERG = {
    "endpoint": "s3.endpoint",
    "region": "s3.region",
    "access_key": "s3.access-key-id",
    "secret_key": "s3.secret-access-key",
    "session_token": "s3.session-token",
}
_SECRET = {"access_key", "secret_key", "session_token"}


def delta_options(options: Component) -> dict[str, str]:
    """For delta-rs. A commit is a put that never replaces: `If-None-Match`, as the sink's own."""
    found = _renamed(options, _DELTA)
    found["aws_conditional_put"] = "etag"
    if getattr(options, "requester_pays", False):
        found["aws_request_payer"] = "true"
    if getattr(options, "path_style", None) is False:
        found["aws_virtual_hosted_style_request"] = "true"
    if found.get("aws_endpoint", "").startswith("http://"):
        found["aws_allow_http"] = "true"
    connect, call = _seconds(options, "connect_timeout"), _seconds(options, "call_timeout")
    if connect:
        found["connect_timeout"] = f"{connect}s"
    if call:
        # The lane waits and asks again, so the library must not do so for minutes.
        found |= {"timeout": f"{call}s", "retry_timeout": f"{call}s"}
    retries = getattr(options, "retries", None)
    if isinstance(retries, int):
        found["max_retries"] = str(retries)
    return found


def iceberg_properties(options: Component) -> dict[str, str]:
    """For PyIceberg's file access."""
    found = _renamed(options, _ICEBERG)
    if getattr(options, "path_style", None) is False:
        found["s3.force-virtual-addressing"] = "true"
    connect, call = _seconds(options, "connect_timeout"), _seconds(options, "call_timeout")
    if connect:
        found["s3.connect-timeout"] = str(connect)
    if call:
        found["s3.request-timeout"] = str(call)
    return found


def refuse(options: Component, instead: Mapping[str, str]) -> None:
    """Raises OptionError for an option that the table's own client does not know. `instead`: name
    of the option -> what to do.
    """
    for name, advice in instead.items():
        if getattr(options, name, None):
            raise OptionError(
                f"storage.{name}: a table is also written by another client, which does not know "
                f"this option; {advice}"
            )


def secrets_in(options: Component) -> dict[str, str]:
    """The values that no text may show."""
    found = {name: _text(getattr(options, name, None)) for name in _SECRET}
    return {name: value for name, value in found.items() if value}


def _renamed(options: Component, names: Mapping[str, str]) -> dict[str, str]:
    values = {theirs: _text(getattr(options, ours, None)) for ours, theirs in names.items()}
    return {name: value for name, value in values.items() if value}


def _text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return value if isinstance(value, str) else ""


def _seconds(options: Component, name: str) -> int:
    """An option in milliseconds as whole seconds, at least one; 0 where there is none."""
    value = getattr(options, name, None)
    return max(1, round(value / 1000)) if isinstance(value, int) else 0
