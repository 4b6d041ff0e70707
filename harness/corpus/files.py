"""Files of repositories as documents: Python by function, other languages and prose by file or chunk."""

from __future__ import annotations

import io
import tokenize
from collections import Counter
from collections.abc import Iterator, Sequence

from harness.corpus.document import Document
from harness.plan.files import LONGEST_LINE, SourceFile
from harness.recipe.corpus import LANGUAGES, PYTHON


def read_files(files: Sequence[SourceFile], languages: Sequence[str], counts: Counter[str]) -> Iterator[Document]:
    """A document for each file, still whole, in the order given.

    Args:
        languages: those looked for; where two share an ending, the first is meant.
        counts: "files" and "files_too_large" (never read) are added to it.
    """
    language_of = {ending: language for language in reversed(languages) for ending in LANGUAGES[language]}
    for file in files:
        counts["files"] += 1
        language = language_of.get(file.path.suffix)
        if language is None:
            counts["files_of_other_languages"] += 1
            continue
        if file.path.stat().st_size > LONGEST_LINE:
            counts["files_too_large"] += 1
            continue
        content = file.path.read_bytes()
        yield Document(
            cluster=file.cluster,
            path=file.name,
            language=language,
            description="",
            text=_decoded_python(content) if language == PYTHON else content.decode("utf-8", "replace"),
        )


def _decoded_python(content: bytes) -> str:
    """Source by its own encoding declaration, as Python would read it; what is wrong shows when it is parsed."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        return content.decode(encoding, "replace")
    except (SyntaxError, LookupError):
        return content.decode("utf-8", "replace")
