"""What the dashboard reads, and the only place it reads from: one database, opened read-only, and one folder."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode

from sqlalchemy import Engine

from profilers.storage import open_engine
from studies.pictures import read_picture
from studies.results import StudyReader


class Workspace:
    """A database that may not exist yet, and the folder of its pictures."""

    def __init__(self, storage: str, folder: Path) -> None:
        self.storage = storage
        self.folder = folder
        self._engine: Engine | None = None

    def engine(self) -> Engine:
        """The open database.

        Raises:
            StorageError: It is not there, or does not answer; the next call tries again.
        """
        if self._engine is None:
            self._engine = open_engine(self.storage, read_only=True)
        return self._engine

    def reader(self) -> StudyReader:
        """A reader that sees what the database holds now."""
        return StudyReader(self.engine())

    def picture(self, study_name: str, number: int, sha256: str) -> bytes | None:
        """A trial's picture by the hash that the database gives it; None for anything else."""
        for artifact in self.reader().artifacts(study_name, number):
            if artifact.sha256 == sha256:
                return read_picture(self.folder, artifact)
        return None


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What the address of the page asks for: `?study=tiny_on_cpu&trial=12`."""

    study_name: str | None = None
    """None: the newest study."""
    trial: int | None = None
    """None: no trial is open."""

    @staticmethod
    def from_search(search: str | None) -> "Selection":
        """Reads the part of an address from `?` on; what cannot be a selection is left out."""
        query = parse_qs((search or "").removeprefix("?"))
        trial = query.get("trial", [""])[0]
        is_number = trial.isascii() and trial.isdecimal() and len(trial) < 10
        return Selection(study_name=query.get("study", [None])[0], trial=int(trial) if is_number else None)

    def to_search(self) -> str:
        fields = {"study": self.study_name, "trial": self.trial}
        return "?" + urlencode({name: value for name, value in fields.items() if value is not None})
