"""Findings of `gateway status` about certificates that end."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.processes import certificates
from gateway.settings import Settings, load_settings
from tests.gateway.dataplane.authority import Pair, authority_usage, issue

DAY_NS = 86_400 * 10**9


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"data": tmp_path}, env={})


def lasting(days: int) -> Pair:
    """A certificate from now on for so many days."""
    return issue(None, [], ca=True, usage=authority_usage(), begins=timedelta(), ends=timedelta(days=days))


def said(settings: Settings, days: float) -> list[str]:
    """The beginnings of what is said after so many days."""
    found = certificates.expiring(settings, time.time_ns() + int(days * DAY_NS))
    return [error.message.partition(" at ")[0].replace(f"{settings.data.path}/", "") for error in found]


def test_the_first_certificate_of_the_chain_that_ends_counts(settings: Settings, tmp_path: Path) -> None:
    chain, _ = lasting(100).write(tmp_path, "chain", lasting(50))
    settings = replace(settings, tls_cert=chain)
    assert said(settings, 40) == []
    assert said(settings, 46) == ["tls_cert `chain.pem` expires"]
    assert said(settings, 51) == ["tls_cert `chain.pem` expired"]


def test_one_authority_of_agents_is_enough(settings: Settings, tmp_path: Path) -> None:
    authorities, _ = lasting(50).write(tmp_path, "authorities", lasting(100))
    settings = replace(settings, client_ca=authorities)
    assert said(settings, 60) == []
    assert said(settings, 91) == ["client_ca `authorities.pem` expires"]
    assert said(settings, 101) == ["client_ca `authorities.pem` expired"]


def test_nothing_is_said_without_a_file_that_can_be_read(settings: Settings, tmp_path: Path) -> None:
    assert said(settings, 1000) == []
    (tmp_path / "empty.pem").touch()
    assert said(replace(settings, tls_cert=tmp_path / "empty.pem", client_ca=tmp_path / "missing.pem"), 1000) == []
