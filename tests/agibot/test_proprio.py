"""The HDF5 reader against whatever a file may hold: findings or arrays of the promised kind, never an exception."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from components.agibot.blob import Blob
from components.agibot.proprio import Proprio, key_specs, read_proprio
from data_contracts.catalogue import catalogue, thresholds
from data_contracts.embodiment import load_embodiment

from .conftest import RawDrop

ROBOT = load_embodiment("agibot_g1")
SPECS = key_specs(ROBOT)
DTYPES = st.sampled_from(["f8", "f4", "f2", "i8", "u8", "i4", "u1", "?", "c16", "S3", ">f8", ">i4"])


def read(path: Path) -> Proprio | None:
    """What comes of a file; every array of it must be what the checks count on."""
    proprio, findings = read_proprio(Blob.of_file(path, path.name), ROBOT)
    assert all(found.code in catalogue() and found.message for found in findings)
    if proprio is None:
        assert findings, "a file that can't be used needs a reason"
        return None
    assert proprio.frames == len(proprio["timestamp"]) >= 2
    for key, values in proprio.arrays.items():
        spec = SPECS[key]
        assert values.dtype == (np.int64 if spec.integer else np.float64)
        assert values.shape[1:] == spec.row
        assert np.isfinite(values).all()
        assert len(values) <= thresholds().max_frames
    missing = [key for key, spec in SPECS.items() if spec.required and key not in proprio.arrays]
    assert {key for key in missing if not any(key in f.message for f in findings)} == set()
    return proprio


@settings(max_examples=120, deadline=None)
@given(edits=st.lists(st.tuples(st.integers(0, 1 << 30), st.binary(min_size=1, max_size=16)), min_size=1, max_size=6))
def test_random_damage_never_raises(
    recorded: RawDrop, tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, bytes]]
) -> None:
    """Bytes overwritten anywhere, in headers more often than in numbers: the first 4 kB get half of the edits."""
    content = bytearray(recorded.episodes[0].files.proprio.read_bytes())
    for number, (offset, data) in enumerate(edits):
        at = offset % (4096 if number % 2 else len(content))
        content[at : at + len(data)] = data
    path = tmp_path_factory.mktemp("h5") / "p.h5"
    path.write_bytes(content)
    read(path)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_arrays_give_findings_or_what_was_promised(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Every key as it should be, absent, a group, or an array of any kind and shape."""
    path = tmp_path_factory.mktemp("h5") / "p.h5"
    frames = data.draw(st.integers(0, 5))
    with h5py.File(path, "w") as file:
        for key in data.draw(st.lists(st.sampled_from(sorted(SPECS)), unique=True)):
            shape = data.draw(
                st.just((frames, *SPECS[key].row)) | arrays.array_shapes(min_dims=0, min_side=0, max_side=4)
            )
            kind = data.draw(st.just("i8" if SPECS[key].integer else "f8") | DTYPES)
            if data.draw(st.integers(0, 9)) == 0:
                file.create_group(key)
            else:
                file[key] = data.draw(arrays.arrays(np.dtype(kind), shape))
    read(path)


def test_what_is_sound_is_read_whole(recorded: RawDrop) -> None:
    raw = recorded.episodes[0]
    proprio = read(raw.files.proprio)
    assert proprio is not None
    for key, values in proprio.arrays.items():
        np.testing.assert_array_equal(values, raw.array(key))
