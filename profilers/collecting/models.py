"""The models that are sent to a page: every block or network as ONNX, written when it is first asked for."""

import threading
from pathlib import Path

from profilers.collecting.plan import Plan
from profilers.sentinel import COMPANIONS, SENTINEL
from profilers.subject import Subject


class ModelFolder:
    """Models in a folder of their own, by the key of their subject. Safe to use from many threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()  # torch's exporter runs once at a time

    def model(self, plan: Plan, key: str) -> bytes | None:
        """The ONNX file of a subject of the plan, of the sentinel or a companion of it; None for any other key."""
        by_key = {subject.subject_id: subject for subject in (SENTINEL, *COMPANIONS, *plan.subjects)}
        if key not in by_key:
            return None
        return self._written(by_key[key]).read_bytes()

    def _written(self, subject: Subject) -> Path:
        from profilers.backends.onnx_runtime import OnnxRuntimeBackend

        path = self._folder / f"{subject.subject_id}.onnx"
        with self._lock:
            if not path.is_file():
                OnnxRuntimeBackend().prepare(subject, path)
        return path
