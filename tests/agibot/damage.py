"""Ways to damage a recorded episode, with h5py, PyAV and json alone: what robots, disks and people do to it."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
from numpy.typing import NDArray

from components.robots.video import write_depth, write_video

from .conftest import RawEpisode

Damage = Callable[[RawEpisode], object]
Array = NDArray[Any]
JOINTS, ACTION, CLOCK = "state/joint/position", "action/joint/position", "timestamp"
MS = 1_000_000


def array(key: str, change: Callable[[Array], Array]) -> Damage:
    """Replace an array of proprio_stats.h5 by what `change` makes of it."""
    return lambda raw: raw.put(key, change(raw.array(key).copy()))


def put(values: Array, at: Any, value: Any) -> Array:
    values[at] = value
    return values


def add(values: Array, at: Any, value: Any) -> Array:
    values[at] += value
    return values


def entry(**changes: Any) -> Damage:
    """Change the episode's entry of task_info."""
    return lambda raw: raw.edit_entry(lambda e: e.update(changes))


def spans(*steps: tuple[Any, ...]) -> Damage:
    """Label the episode; a step is start, end, text and skill, negative numbers counting from the end."""

    def damage(raw: RawEpisode) -> None:
        def at(frame: Any) -> Any:
            return frame + raw.frames if isinstance(frame, int) and frame < 0 else frame

        names = ("start_frame", "end_frame", "action_text", "skill")
        config = [dict(zip(names, (at(s[0]), at(s[1]), *s[2:]), strict=True)) for s in steps]
        raw.edit_entry(lambda e: e.update(label_info={"action_config": config}))

    return damage


def parameters(name: str, change: Callable[[Any], object]) -> Damage:
    """Change a camera parameter file; what `change` returns replaces the document unless it is None."""

    def damage(raw: RawEpisode) -> None:
        document = json.loads(raw.parameters(name).read_text())
        changed = change(document)
        raw.parameters(name).write_text(json.dumps(document if changed is None else changed))

    return damage


def write(path: Callable[[RawEpisode], Path], data: bytes) -> Damage:
    return lambda raw: path(raw).write_bytes(data)


def head(raw: RawEpisode) -> Path:
    return raw.files.video("head_color")


def proprio(raw: RawEpisode) -> Path:
    return raw.files.proprio


def remux(change: Callable[[int], int | None], rate: int = 30, camera: str = "head_color") -> Damage:
    """Copy a video's packets; `change` gives frame k's new time in thirtieths of a second, None drops it."""

    def damage(raw: RawEpisode) -> None:
        new = raw.files.video(camera)
        old = new.with_suffix(".old")
        os.rename(new, old)
        with av.open(str(old)) as source, av.open(str(new), "w", format="mp4") as target:
            stream = source.streams.video[0]
            out = target.add_stream_from_template(stream)
            ticks = 1 / (30 * stream.time_base)
            for packet in source.demux(stream):
                time = change(round(packet.pts / ticks)) if packet.pts is not None else None
                if time is not None:
                    packet.stream, packet.pts, packet.dts = (
                        out,
                        int(time * ticks * 30 / rate),
                        int(time * ticks * 30 / rate),
                    )
                    target.mux(packet)
        old.unlink()

    return damage


def scramble_video(raw: RawEpisode) -> None:
    """Overwrite a stretch of encoded pictures."""
    data = bytearray(head(raw).read_bytes())
    start = data.index(b"mdat") + len(data) // 3
    data[start : start + 4000] = bytes(4000)
    head(raw).write_bytes(data)


def small_video(raw: RawEpisode) -> None:
    write_video(head(raw), [np.zeros((240, 320, 3), np.uint8)] * raw.frames, 320, 240)


def other_codec(camera: str = "head_color") -> Damage:
    """QuickTime holds codecs that an MP4 can't."""

    def damage(raw: RawEpisode) -> None:
        raw.files.video(camera).unlink()
        picture = av.VideoFrame.from_ndarray(np.zeros((480, 640, 3), np.uint8), format="rgb24")
        with av.open(str(raw.files.video(camera)), "w", format="mov") as out:
            stream = out.add_stream("mjpeg", rate=30)
            stream.width, stream.height, stream.pix_fmt = 640, 480, "yuvj420p"
            for _ in range(raw.frames):
                for packet in stream.encode(picture):
                    out.mux(packet)
            for packet in stream.encode(None):
                out.mux(packet)

    return damage


def depth(shape: tuple[int, int] = (4, 4), missing: int = 0, kind: Any = np.uint16) -> Damage:
    def damage(raw: RawEpisode) -> None:
        from PIL import Image

        for frame in range(raw.frames - missing):
            if kind == np.uint16:
                write_depth(raw.files.depth(frame), np.zeros(shape, kind))
            else:
                raw.files.depth(frame).parent.mkdir(exist_ok=True)
                Image.fromarray(np.zeros((20, 20), kind)).save(raw.files.depth(frame), compress_level=0)

    return damage


def short_action(values: slice, index: slice) -> Damage:
    """Keep some rows of the action, and some entries of its index."""

    def damage(raw: RawEpisode) -> None:
        raw.put("action/joint/index", np.arange(raw.frames)[index])
        raw.put(ACTION, raw.array(ACTION)[values])

    return damage


def external_link(raw: RawEpisode) -> None:
    with raw.proprio() as file:
        del file[JOINTS]
        file[JOINTS] = h5py.ExternalLink("/etc/hostname", "/x")


def soft_link(raw: RawEpisode) -> None:
    with raw.proprio() as file:
        del file[JOINTS]
        file[JOINTS] = h5py.SoftLink("/" + ACTION)


def external_storage(raw: RawEpisode) -> None:
    with raw.proprio() as file:
        shape = file[JOINTS].shape
        del file[JOINTS]
        size = 8 * shape[0] * shape[1]
        file.create_dataset(JOINTS, shape, np.float64, external=[("/etc/hostname", 0, size)])


def virtual(raw: RawEpisode) -> None:
    with raw.proprio() as file:
        shape = file[JOINTS].shape
        del file[JOINTS]
        layout = h5py.VirtualLayout(shape, np.float64)
        layout[:] = h5py.VirtualSource("/etc/hostname", "x", shape)
        file.create_virtual_dataset(JOINTS, layout)


def endless(raw: RawEpisode) -> None:
    """A clock of more rows than any episode has; the file itself stays small."""
    with raw.proprio() as file:
        del file[CLOCK]
        file.create_dataset(CLOCK, (10**12,), np.int64, chunks=(1024,))


def tar_of(tree: str, change: Callable[[Path], object]) -> Damage:
    """Pack a tree into a tar and damage that."""

    def damage(raw: RawEpisode) -> None:
        folder, path = raw.root / tree, raw.root / tree / "1-9.tar"
        with tarfile.open(path, "w") as file:
            file.add(folder / str(raw.files.task_id), arcname=str(raw.files.task_id))
        shutil.rmtree(folder / str(raw.files.task_id))
        change(path)

    return damage


def unsafe(path: Path) -> None:
    with tarfile.open(path, "a") as file:
        file.addfile(tarfile.TarInfo("../outside"), io.BytesIO())


def listed_twice(raw: RawEpisode) -> None:
    entries = json.loads(raw.task_info.read_text())
    raw.task_info.write_text(json.dumps(entries + entries))


def remove(path: Callable[[RawEpisode], Path]) -> Damage:
    return lambda raw: shutil.rmtree(path(raw)) if path(raw).is_dir() else path(raw).unlink()


def nested(raw: RawEpisode) -> None:
    folder = head(raw).parents[1]
    shutil.copytree(folder / "videos", folder / str(raw.files.episode_id) / "videos")


def twice(extra: bytes) -> Damage:
    """The head's video once more, in a tar beside the folder."""

    def damage(raw: RawEpisode) -> None:
        data = head(raw).read_bytes() + extra
        info = tarfile.TarInfo(f"{raw.files.episode_id}/videos/head_color.mp4")
        info.size = len(data)
        with tarfile.open(head(raw).parents[2] / "1-9.tar", "w") as file:
            file.addfile(info, io.BytesIO(data))

    return damage


def scaled_frames(raw: RawEpisode, factor: float) -> Array:
    stamps = raw.array(CLOCK)
    return (stamps[0] + (stamps - stamps[0]) * factor).astype(np.int64)


INTRINSIC, EXTRINSIC = "head_intrinsic_params", "head_extrinsic_params_aligned"
STEP = (0, -1, "press", "Press")


def empty(raw: RawEpisode) -> None:
    for tree in ("task_info", "observations", "parameters", "proprio_stats"):
        remove(lambda r, tree=tree: r.root / tree)(raw)


def jump(values: Array) -> Array:
    return put(values, np.s_[:, 0], np.where(np.arange(len(values)) < 10, 0, 0.15))


def forget_rotation(poses: Any) -> None:
    del poses[3]["extrinsic"]["rotation_matrix"]


def mirror(poses: Any) -> None:
    poses[5]["extrinsic"]["rotation_matrix"] = [[1, 0, 0], [0, 1, 0], [0, 0, -1]]


def zoom(document: Any) -> None:
    document["intrinsic"]["fx"] = 5000.0
