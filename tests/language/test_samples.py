"""The file of samples. If these fail, a killed run loses what it sampled, samples it twice, or mixes two runs."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from components.language.samples import Completion, Sampled, SampleFile, SamplingConfig, read_samples
from components.store.errors import ConfigurationError, IntegrityError, NotFound, StoreError

ASKED = "0" * 64
HOSTILE = 'a "quoted"\nline\u2028 {"index": 1}\r\n\x00 é 😀 \\boxed{'


def sampled(index: int, text: str = HOSTILE) -> Sampled:
    return Sampled(index=index, completions=(Completion(text=text, token_ids=(1, 2), finish="stop", logprobs=(-1, 0)),))


def write(path: Path, *indices: int) -> bytes:
    with SampleFile(path, ASKED) as file:
        for index in indices:
            file.append(sampled(index))
    return path.read_bytes()


def test_samples_come_back_in_the_order_of_the_prompts(tmp_path: Path) -> None:
    """Breaks if a model's text could end a line, or the order depended on which prompt finished first."""
    path = tmp_path / "samples.jsonl"
    write(path, 3, 0)
    write(path, 7, 1)
    assert list(read_samples(path)) == [sampled(0), sampled(1), sampled(3), sampled(7)]


@given(cut=st.integers(min_value=0, max_value=10_000))
def test_cut_anywhere_it_goes_on_from_the_last_whole_line(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    """A power cut leaves any prefix of the file: whole lines are kept byte for byte, a torn one is sampled again."""
    path = tmp_path_factory.mktemp("cut") / "samples.jsonl"
    whole = write(path, 2, 0, 1)
    kept = whole[: cut % (len(whole) + 1)]
    path.write_bytes(kept)
    kept = kept[: kept.rfind(b"\n") + 1]
    with SampleFile(path, ASKED) as file:
        missing = {0, 1, 2} - file.places.keys()
        assert len(missing) == 3 - max(0, kept.count(b"\n") - 1)
        for index in missing:
            file.append(sampled(index))
    assert path.read_bytes().startswith(kept)
    assert list(read_samples(path)) == [sampled(0), sampled(1), sampled(2)]


def test_a_killed_writer_loses_nothing_that_it_said_it_kept(tmp_path: Path) -> None:
    """kill -9, not a power cut: what `append` returned from is there, without waiting for the disk."""
    path = tmp_path / "samples.jsonl"
    code = (
        "import sys; from pathlib import Path; from components.language.samples import *\n"
        "with SampleFile(Path(sys.argv[1]), '0' * 64) as file:\n"
        "    for i in range(10**6):\n"
        "        file.append(Sampled(index=i, completions=(Completion(text='x' * i, token_ids=(), finish='stop'),)))\n"
        "        print(i, flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        said = [int(writer.stdout.readline()) for _ in range(200)]
        writer.send_signal(signal.SIGKILL)
        said += [int(line) for line in writer.stdout.read().split()]
    kept = [s.index for s in read_samples(path)]
    assert kept == list(range(len(kept)))
    assert len(kept) >= len(said)
    write(path, len(kept))
    assert len(list(read_samples(path))) == len(kept) + 1


def test_a_file_of_other_prompts_is_not_gone_on_with(tmp_path: Path) -> None:
    before = write(tmp_path / "samples.jsonl", 0)
    with (
        pytest.raises(ConfigurationError, match="begun with other prompts or settings; remove it"),
        SampleFile(tmp_path / "samples.jsonl", "1" * 64),
    ):
        pass
    assert (tmp_path / "samples.jsonl").read_bytes() == before


def test_a_file_has_one_writer(tmp_path: Path) -> None:
    """Two runs of the same stage would sample everything twice."""
    with (
        SampleFile(tmp_path / "samples.jsonl", ASKED),
        pytest.raises(StoreError, match="another process writes"),
        SampleFile(tmp_path / "samples.jsonl", ASKED),
    ):
        pass


@pytest.mark.parametrize("line", ['{"index": 5}', "not JSON", sampled(0).model_dump_json(), "[" * 100_000])
def test_a_line_that_is_no_sample_is_named(tmp_path: Path, line: str) -> None:
    """Somebody edited the file: it is not guessed what they meant."""
    path = tmp_path / "samples.jsonl"
    write(path, 0)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(IntegrityError, match=r"line 3, .*remove the file"), SampleFile(path, ASKED):
        pass


def test_no_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"samples\.jsonl does not exist; sample first"):
        list(read_samples(tmp_path / "samples.jsonl"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"temperature": 0, "n": 16}, "temperature 0 gives 16 equal completions; set n=1"),
        ({"stop": ["\n", ""]}, "stop holds an empty text"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"tempeature": 1}, "tempeature"),
    ],
)
def test_settings_that_make_no_sense_are_refused(config: dict[str, object], message: str) -> None:
    """Breaks if "mean@16" could be one greedy answer sixteen times over."""
    with pytest.raises(ValidationError, match=message):
        SamplingConfig.model_validate(config)
