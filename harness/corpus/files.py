"""Files of repositories as documents: Python by function, other languages and prose by file or chunk."""

from __future__ import annotations

import io
import tokenize
from collections.abc import Iterator, Sequence

from harness.corpus.document import Document
from harness.corpus.tally import Tally
from harness.recipe.corpus import LANGUAGES, PYTHON
from harness.sources.files import SourceFile
from harness.sources.text_files import LONGEST_LINE, decode


def read_files(files: Sequence[SourceFile], languages: Sequence[str], counts: Tally) -> Iterator[Document]:
    """A document for each file, still whole, in the order given.

    Args:
        languages: those looked for; where two share an ending, the first is meant.
        counts: "files", and of them "files_of_other_languages", "files_too_large" (never read) and "files_not_text",
            are added to it.
    """
    language_of = {ending: language for language in reversed(languages) for ending in LANGUAGES[language]}
    for file in files:
        counts["files"] += 1
        language = language_of.get(file.path.suffix)
        if language is None:
            counts.pass_over("files_of_other_languages", file.name)
            continue
        if file.path.stat().st_size > LONGEST_LINE:
            counts.pass_over("files_too_large", file.name)
            continue
        content = file.path.read_bytes()
        text = _decoded_python(content) if language == PYTHON else decode(content)
        if text is None:
            counts.pass_over("files_not_text", file.name)
            continue
        yield Document(
            cluster=file.cluster,
            path=file.name,
            language=language,
            description="",
            text=text,
        )


def _decoded_python(content: bytes) -> str | None:
    """Source by its own encoding declaration, as Python would read it; what is wrong shows when it is parsed.

    By an encoding that is none it is read as any other file.
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        if "coding".encode(encoding) == b"coding":  # else the declaration itself could not have been read by it
            return decode(content, encoding)
    except (SyntaxError, LookupError, UnicodeError):
        pass  # the declaration is wrong, the rest may be right
    return decode(content)
