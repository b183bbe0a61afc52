"""Directories that cannot be made or written are found before anything starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes import context

from rayflume.channels.file import File
from rayflume.directories import unwritable


def test_a_directory_that_is_there_or_can_be_made_is_right(tmp_path: Path) -> None:
    assert unwritable("path", tmp_path) == []
    assert unwritable("path", tmp_path / "a/b") == []
    assert not (tmp_path / "a").exists()


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sentence = f"path: {tmp_path}/file is not a directory; name another"
    assert unwritable("path", tmp_path / "file/a") == [sentence]


def test_missing_permission_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    sentence = f"path: no permission to write to {tmp_path}; change its mode, or name another"
    assert unwritable("path", tmp_path / "a") == [sentence]


def test_validate_finds_a_journal_that_could_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert File.model_validate({"directory": "wal"}).check(context(tmp_path)) == []
    [problem] = File.model_validate({"directory": "file/wal"}).check(context(tmp_path))
    assert problem == f"directory: {tmp_path}/file is not a directory; name another"
