"""Files of data sets on the hub, at one commit: from its cache, else fetched.

Where and with which token the hub answers is its library's own setting (HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE).
"""

from __future__ import annotations

import functools
from pathlib import Path

from harness.errors import MissingRequirement, reason_of
from harness.recipe.lock import is_commit

HUB_SECONDS = 30.0
REMEDY = "check network, HF_ENDPOINT and HF_TOKEN, or let HF_HOME be a cache that holds it"

_away: list[str] = []
"""What the hub said when it could not be reached, once it could not: it may be silent for half a minute each time."""


def cached_file(dataset: str, revision: str, name: str) -> Path | None:
    """The local path of a data set's file if the hub's cache has it; the hub is not asked."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(dataset, name, repo_type="dataset", revision=revision)
    return Path(found) if isinstance(found, str) else None


@functools.lru_cache(maxsize=1_024)
def hub_file(dataset: str, revision: str, name: str) -> Path:
    """The local path of a data set's file, fetched if need be.

    Raises:
        MissingRequirement: it is not in the cache, and the hub does not answer, wants a token, or has no such file.
    """
    found = cached_file(dataset, revision, name)
    if found is not None:
        return found
    problem = hub_problem(dataset, revision)
    if problem is not None:
        raise problem
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(dataset, name, repo_type="dataset", revision=revision))
    except _unanswered() as error:
        rule = f"the hub must have {name} of the data set {dataset} at {revision[:12]}"
        raise MissingRequirement(rule, f"it says: {reason_of(error)}", REMEDY) from None


def dataset_commit(dataset: str, revision: str) -> str:
    """The commit that a branch or tag of a data set stands for now.

    Raises:
        MissingRequirement: the hub does not answer, wants a token, or knows no such data set or revision.
    """
    problem = hub_problem(dataset, revision)
    if problem is not None:
        raise problem
    from huggingface_hub import HfApi

    try:
        commit = HfApi().dataset_info(dataset, revision=revision, timeout=HUB_SECONDS).sha
    except _unanswered() as error:
        raise _missing(dataset, revision, reason_of(error)) from None
    if commit is None or not is_commit(commit):
        raise _missing(dataset, revision, f"its commit is {commit!r}")
    return commit


def matching_files(dataset: str, commit: str, pattern: str) -> tuple[str, ...]:
    """The files of a data set that a pattern stands for, in the order in which the library reads them.

    Raises:
        MissingRequirement: there is none, or the hub does not answer.
    """
    from datasets.data_files import resolve_pattern

    base = f"hf://datasets/{dataset}@{commit}"
    try:
        return tuple(found.removeprefix(f"{base}/") for found in resolve_pattern(pattern, base))
    except FileNotFoundError:
        rule, value = "`corpus.data_files` must name files of the data set", f"{dataset} has none like {pattern}"
        raise MissingRequirement(rule, value, "correct it") from None
    except _unanswered() as error:
        raise _missing(dataset, commit, reason_of(error)) from None


def require_dataset(dataset: str, revision: str | None) -> None:
    """That a data set is in the cache of the datasets library, or open on the hub.

    Raises:
        MissingRequirement: neither.
    """
    from datasets import config

    if (Path(config.HF_DATASETS_CACHE) / dataset.replace("/", "___")).is_dir():
        return
    problem = hub_problem(dataset, revision)
    if problem is not None:
        raise problem


@functools.cache
def hub_problem(dataset: str, revision: str | None) -> MissingRequirement | None:
    """Why a data set cannot be fetched from the hub; None: it can. A hub that does not answer is not asked again."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

    said = _away[0] if _away else ""
    if not said:
        try:
            found = HfApi().dataset_info(dataset, revision=revision, timeout=HUB_SECONDS)
            if found.gated:
                HfApi().auth_check(dataset, repo_type="dataset")
            return None
        except GatedRepoError:
            return not_open(f"the data set {dataset}", f"datasets/{dataset}")
        except _unanswered() as error:
            said = reason_of(error)
            if not isinstance(error, HfHubHTTPError):  # no answer, rather than a refusal
                _away.append(said)
                said = _away[0]  # that of whoever was told first, where several ask at once
    return _missing(dataset, revision, said)


def not_open(what: str, address: str) -> MissingRequirement:
    """Of something on the hub whose terms nobody here has accepted; its address follows the hub's own."""
    return MissingRequirement(
        f"{what} must be open to you",
        "the hub asks for its terms to be accepted",
        f"accept them at https://huggingface.co/{address} and set HF_TOKEN",
    )


def _missing(dataset: str, revision: str | None, said: str) -> MissingRequirement:
    at = "" if revision is None else f" at {revision[:12]}"
    return MissingRequirement(f"the hub must have the data set {dataset}{at}", f"it says: {said}", REMEDY)


def _unanswered() -> tuple[type[Exception], ...]:
    """What the library raises where the hub does not answer: errors of the network as its HTTP client has them."""
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of whichever client it uses

    return OSError, ValueError, HTTPError
