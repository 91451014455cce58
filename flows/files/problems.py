"""What can be wrong with a file, in the two ways that matter: it will be right later, or it must be mended."""

from __future__ import annotations

from prefect_registry.errors import InvalidInput, RecoverableError


class HalfWritten(RecoverableError):
    """The file is still being written: leave it, and look again when the flow runs next."""

    kind = "half_written"
    usual_why = "Somebody is still writing it"
    usual_todo = "Nothing: it is looked at again when the flow runs next"


class BadFile(InvalidInput):
    """The content is not what it should be. The message names the file and, where there are lines, the line."""

    kind = "bad_file"
    usual_why = "Its content is not what the other files of the kind have"
    usual_todo = "Mend the file, or name the columns' types in `columns`"

    @property
    def line(self) -> int | None:
        """The line that is wrong, counting from 1, if it is one."""
        found = self.context.get("line")
        return found if isinstance(found, int) else None


def bad_file(url: str, why: str, line: int | None = None, todo: str = "") -> BadFile:
    """The error for a file that cannot be taken in as it is."""
    where = url if line is None else f"{url}, line {line:,}"
    return BadFile(
        f"{where} cannot be taken in",
        why=why,
        todo=todo,
        committed="no",
        problems=[f"{where}: {why}"],
        file=url,
        line=line,
    )
