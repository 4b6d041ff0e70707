"""Models of the hub: which commit a revision stands for, and the files of a commit. Safetensors only.

Where and with which token the hub answers is its library's own setting (HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE).
"""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import GatedRepoError, HTTPError  # type: ignore[attr-defined]  # of whichever client it uses

from harness.errors import MissingRequirement, reason_of
from harness.recipe.lock import is_commit
from harness.sources.datasets import not_open
from harness.sources.models import CONFIGURATION, FILES, INDEX, TOKENIZER, WEIGHTS, model_files

# The library lets errors of the network through as its HTTP client raises them.
UNANSWERED = (OSError, ValueError, HTTPError)


def resolve_revision(model: str, revision: str) -> str:
    """The commit that a branch or tag of a model stands for now.

    Raises:
        MissingRequirement: the hub does not answer, or knows no such model or revision.
    """
    try:
        commit = HfApi().model_info(model, revision=revision).sha
    except UNANSWERED as error:
        raise _unanswered(model, revision, error) from None
    if commit is None or not is_commit(commit):
        raise _unanswered(model, revision, ValueError(f"its commit is {commit!r}"))
    return commit


def require_hub_model(model: str, commit: str, *, fetches: bool = False) -> None:
    """That a model's files at a commit are all in the hub's cache, or the hub has them and gives them.

    Args:
        fetches: have the configuration brought to the cache, which says how large the model is.

    Raises:
        MissingRequirement: the hub does not answer, knows no such model or commit, wants its terms to be accepted, or
            lacks the model's tokenizer or its weights as safetensors.
    """
    if _is_cached(model, commit):
        return
    try:
        facts = HfApi().model_info(model, revision=commit)
        if facts.gated:
            HfApi().auth_check(model)
    except GatedRepoError:
        raise not_open(f"the model {model}", model) from None
    except UNANSWERED as error:
        raise _unanswered(model, commit, error) from None
    names = {file.rfilename for file in facts.siblings or ()}
    lacking = [name for name in (CONFIGURATION, TOKENIZER) if name not in names]
    lacking += [] if names & {WEIGHTS, INDEX} else [WEIGHTS]
    if lacking:
        raise MissingRequirement(
            f"a model of the hub must have {CONFIGURATION}, {TOKENIZER} and its weights as safetensors",
            f"{model} at {commit} has no {', '.join(lacking)}",
            "take another model or revision, or convert it and name the folder with `source: folder`",
        )
    if fetches:
        try:
            hf_hub_download(model, CONFIGURATION, revision=commit)
        except UNANSWERED as error:
            raise _unanswered(model, commit, error) from None


def _is_cached(model: str, commit: str) -> bool:
    found = try_to_load_from_cache(model, CONFIGURATION, revision=commit)
    if not isinstance(found, str):
        return False
    try:
        names = {path.name for path in model_files(Path(found).parent)}
    except MissingRequirement:  # a fetch that was broken off
        return False
    return TOKENIZER in names


def fetch_hub_model(model: str, revision: str) -> Path:
    """The local folder with a model's files at a commit; downloads what the hub's cache lacks.

    Raises:
        MissingRequirement: the hub does not answer, or knows no such model or revision.
    """
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(FILES)))
    except UNANSWERED as error:
        raise _unanswered(model, revision, error) from None


def _unanswered(model: str, revision: str, error: Exception) -> MissingRequirement:
    return MissingRequirement(
        f"the hub must have {model} at {revision}",
        f"it says: {reason_of(error)}",
        "check name, revision, network and HF_TOKEN, let HF_HOME be a cache that holds it, or use `source: folder` or "
        "`source: packaged`",
    )
