"""The test vectors of docs/PROTOCOL.md: blocks of hexadecimal (`vector NAME`) and of text (`lines NAME`)."""

import re
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```(vector|lines) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Document:
    """All blocks by name."""

    vectors: dict[str, bytes]
    lines: dict[str, list[str]]

    @classmethod
    def read(cls, path: Path) -> "Document":
        """Reads the document. There must be blocks of both kinds, and no name twice."""
        document = cls({}, {})
        for kind, name, text in _BLOCK.findall(path.read_text(encoding="utf-8")):
            if name in document.vectors or name in document.lines:
                raise ValueError(f"{path}: {kind} {name} is there twice")
            if kind == "vector":
                document.vectors[name] = bytes.fromhex(text)
            else:
                document.lines[name] = text.splitlines()
        if not document.vectors or not document.lines:
            raise ValueError(f"{path} holds no vectors")
        return document
