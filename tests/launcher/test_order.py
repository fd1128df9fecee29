"""If these fail, pods train on files that somebody changed on the way, or write where they should not."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.launcher.order import Piece, download, upload
from components.store.api import Store
from components.store.errors import IntegrityError


def test_files_reach_the_pods_as_they_are_or_not_at_all(folder_store: Store, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"1234")
    [piece] = upload(folder_store, "checkpoints/s/v", {"a/weights": tmp_path / "weights"}, {})
    [again] = upload(folder_store, "checkpoints/s/v", {"a/weights": tmp_path / "weights"}, {piece.sha256: "models/w"})
    assert again.key == "models/w", "what an input of the store holds is not stored twice"
    download(folder_store, (piece,), tmp_path / "pod")
    assert (tmp_path / "pod" / "a" / "weights").read_bytes() == b"1234"
    folder_store.overwrite(piece.key, b"4321")
    with pytest.raises(IntegrityError, match="not what was named"):
        download(folder_store, (piece,), tmp_path / "other")
    assert not (tmp_path / "other" / "a" / "weights").exists()


@pytest.mark.parametrize("path", ["../outside", "/etc/orrery-outside", "a/../../outside"])
def test_no_file_leaves_its_folder(folder_store: Store, tmp_path: Path, path: str) -> None:
    (tmp_path / "weights").write_bytes(b"1234")
    [piece] = upload(folder_store, "checkpoints/s/v", {"w": tmp_path / "weights"}, {})
    with pytest.raises(IntegrityError, match="out of its folder"):
        download(folder_store, (Piece(path=path, key=piece.key, sha256=piece.sha256),), tmp_path / "pod")
    assert not (tmp_path / "outside").exists()
