"""Names and versions of objects: ``name``, ``name@2.1``, ``name@champion`` (SEEDS.md: versions).

A version is one to three numbers. ``1``, ``1.0`` and ``v1.0.0`` are the same one, written ``1``. They are ordered as
numbers: 10 is behind 9.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import total_ordering

from prefect_registry.errors import InvalidInput
from prefect_registry.names import name_problems

LATEST = "latest"
LARGEST_NUMBER = 10**15
LONGEST_ALIAS_CHARACTERS = 250
_VERSION = re.compile(r"[vV]?([0-9]{1,16})(?:\.([0-9]{1,16}))?(?:\.([0-9]{1,16}))?")
_LIKE_A_VERSION = re.compile(r"[vV]?[0-9]+(?:\.[0-9]+)*")


@total_ordering
@dataclass(frozen=True)
class Version:
    """A version: major, minor and patch numbers, those that are not given are 0.

    >>> Version.parse("v2.1.0"), Version.parse("10") > Version.parse("9.5")
    (Version('2.1'), True)
    """

    numbers: tuple[int, int, int]

    @classmethod
    def parse(cls, text: object) -> Version:
        """The version that ``text`` writes. Raises ``InvalidInput`` that names the input and what a version is."""
        match = _VERSION.fullmatch(text) if isinstance(text, str) else None
        numbers = tuple(int(n or 0) for n in match.groups()) if match is not None else ()
        if match is None or max(numbers) > LARGEST_NUMBER:
            raise InvalidInput(
                f"{text!r:.80} is not a version",
                why="A version is one to three numbers: 2, 2.1, 2.1.0, v2",
                todo="Give such a version, an alias that is set, or 'latest' where something is read",
                committed="no",
            )
        return cls((numbers[0], numbers[1], numbers[2]))

    @classmethod
    def of_key(cls, key: str) -> Version | None:
        """The version that a key segment spells; None for what is no version's."""
        try:
            version = cls.parse(key)
        except InvalidInput:
            return None
        return version if str(version) == key else None

    def next_major(self) -> Version:
        """The version that an automatic number gives after this one. Raises ``InvalidInput`` behind the largest."""
        if self.numbers[0] >= LARGEST_NUMBER:
            raise InvalidInput(
                f"There is no next version after {self}",
                why=f"The largest number in a version is {LARGEST_NUMBER:,}",
                todo="Give the version, or save it under another name",
                committed="no",
            )
        return Version((self.numbers[0] + 1, 0, 0))

    def __str__(self) -> str:
        numbers = list(self.numbers)
        while len(numbers) > 1 and numbers[-1] == 0:
            numbers.pop()
        return ".".join(map(str, numbers))

    def __repr__(self) -> str:
        return f"Version('{self}')"

    def __lt__(self, other: object) -> bool:
        return self.numbers < other.numbers if isinstance(other, Version) else NotImplemented


FIRST = Version((1, 0, 0))


def object_name_problems(name: object) -> Iterator[str]:
    """Why ``name`` cannot name an object; nothing yielded means it can."""
    yield from name_problems(name, "name")
    if isinstance(name, str) and "@" in name:
        yield f"name {name!r:.80} contains '@', which separates a name from its version"
    if isinstance(name, str) and name.strip() != name:
        yield f"name {name!r:.80} begins or ends with white space"


def alias_problems(alias: object) -> Iterator[str]:
    """Why ``alias`` cannot name an alias."""
    yield from name_problems(alias, "alias")
    if not isinstance(alias, str):
        return
    if len(alias) > LONGEST_ALIAS_CHARACTERS:
        yield f"alias has {len(alias):,} characters; at most {LONGEST_ALIAS_CHARACTERS} are allowed"
    if "@" in alias or alias.strip() != alias:
        yield f"alias {alias!r:.80} contains '@', or begins or ends with white space"
    if alias == LATEST:
        yield "alias 'latest' is reserved for the highest version"
    if _LIKE_A_VERSION.fullmatch(alias):
        yield f"alias {alias!r:.80} looks like a version"


@dataclass(frozen=True)
class Wanted:
    """What a caller names: an object, and a version, an alias or neither.

    Attributes:
        latest: ``latest`` was asked for by that word; where something is read, nothing means the same.
    """

    name: str
    version: Version | None = None
    alias: str | None = None
    latest: bool = False

    @classmethod
    def of(cls, name: object, version: object = None) -> Wanted:
        """Take ``name`` or ``name@version`` apart. Raises ``InvalidInput`` that lists every problem."""
        problems = []
        asked = version
        if isinstance(name, str) and "@" in name:
            name, _, behind = name.partition("@")
            if version is not None and not _same(version, behind):
                problems.append(f"name has the version {behind!r:.80}, and version={version!r:.80} is another one")
            asked = behind
        problems += list(object_name_problems(name))
        parsed, alias = None, None
        if isinstance(asked, Version):
            parsed = asked
        elif asked is not None and asked != LATEST:
            if isinstance(asked, str) and asked and not _LIKE_A_VERSION.fullmatch(asked):
                alias = asked
                problems += list(alias_problems(asked))
            else:
                try:
                    parsed = Version.parse(asked)
                except InvalidInput as error:
                    problems.append(f"{error.what}: {error.why}")
        if problems:
            raise InvalidInput.of("the object", problems)
        assert isinstance(name, str)
        return cls(name, parsed, alias, asked == LATEST)

    @classmethod
    def of_all(cls, name: object, call: str) -> Wanted:
        """An object as a whole, for a call to which no version means anything. Raises ``InvalidInput``."""
        wanted = cls.of(name)
        if isinstance(name, str) and "@" in name:
            raise InvalidInput.of(
                "the object",
                [f"name {name!r:.250} names a version, and {call} is about the object, whatever its version"],
                todo=f"Leave the version out: {wanted.name!r:.250}",
            )
        return wanted

    def __str__(self) -> str:
        return f"{self.name}@{self.version or self.alias or LATEST}"


def _same(version: object, behind: str) -> bool:
    """Whether a version beside a name says what the one in the name says."""
    if version == behind:
        return True
    try:
        return Version.parse(behind) == (version if isinstance(version, Version) else Version.parse(version))
    except InvalidInput:
        return False
