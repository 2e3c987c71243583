"""Reading accel-config's configuration files, as leniently as the library that accel-config reads them with.

That library takes comments and a comma before a closing bracket: files that come with accel-config have one. Both are
warned about. A key that is there twice is refused here: which of the two was meant?
"""

import json
import os
import re
from typing import Any

from idxdd.control.protocol import Document

FILE_BYTES_MAX = 1 << 20
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|/\*.*?\*/|//[^\n]*|,(?=\s*[\]}])', re.DOTALL)


class BadConfigFile(ValueError):
    """The text names the file and what is wrong with it."""


class _Twice(ValueError):
    """A key that an object has two of."""


def read_config(path: str) -> tuple[Any, list[str]]:
    """The configuration and warnings about its JSON; "-" is standard input. BadConfigFile."""
    try:
        with open(0 if path == "-" else path, "rb", closefd=path != "-") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise BadConfigFile(f"{path}: {error.strerror}") from None
    if len(data) > FILE_BYTES_MAX:
        raise BadConfigFile(f"{path}: longer than {FILE_BYTES_MAX} bytes")
    try:
        return parse_config_text(data.decode())
    except UnicodeDecodeError:
        raise BadConfigFile(f"{path}: not JSON: not UTF-8") from None
    except BadConfigFile as error:
        raise BadConfigFile(f"{path}: {error}") from None


def parse_config_text(text: str) -> tuple[Any, list[str]]:
    """What read_config does, of a text."""
    warnings: list[str] = []
    try:
        config = _loads(text)
    except _Twice as error:
        raise BadConfigFile(str(error)) from None
    except (ValueError, RecursionError) as error:
        plain = _without_extensions(text, warnings)
        if not warnings:
            raise BadConfigFile(f"not JSON: {error}") from None
        try:
            config = _loads(plain)
        except (ValueError, RecursionError) as again:
            raise BadConfigFile(f"not JSON: {again}") from None
    wrong = Document().problem(config)
    if wrong:
        raise BadConfigFile(f"the configuration {wrong}")
    return config, warnings


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for position, (key, _) in enumerate(pairs) if any(key == other for other, _ in pairs[:position]))
        raise _Twice(f"key {twice!r:.80} is there twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _without_extensions(text: str, warnings: list[str]) -> str:
    """Blanks instead of what strict JSON has not, so that line and column of errors stay right."""

    def blank(match: re.Match[str]) -> str:
        token = match[0]
        if token.startswith('"'):
            return token
        line = text.count("\n", 0, match.start()) + 1
        what = "a comma before a closing bracket" if token == "," else "a comment"
        warnings.append(f"line {line}: {what} is not JSON")
        return re.sub(r"[^\n]", " ", token)

    return _TOKEN.sub(blank, text)


def write_config(path: str, text: str) -> None:
    """Replace a file at once: a reader, or a crash, finds the old one or the new one. Pipes, devices: written to. OSError."""
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, path) from None
        raise
