import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from profilers.backends.exact import exact_latency_ms
from profilers.subject import Subject
from profilers.temporary_folder import FullDiskError, new_folder
from profilers.worker_client import SubjectError, Worker, WorkerDiedError
from search_space.specs import ConvSpec

SPEC = ConvSpec(in_channels=4, out_channels=8, size=8)
NOWHERE = Path("nothing")


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker("exact", time_limit_s=20) as worker:
        yield worker


def test_a_sample_is_what_the_device_says(worker: Worker) -> None:
    worker.load(Subject.of_block(SPEC), slot=0, path=NOWHERE)
    raw_ms, taken_at = worker.sample(0)
    assert raw_ms == pytest.approx(exact_latency_ms(SPEC))
    assert taken_at > 1.7e9


def test_what_a_device_refuses_is_an_error_and_the_worker_lives_on(worker: Worker) -> None:
    with pytest.raises(SubjectError, match="not the key of a block"):
        worker.load(Subject(kind="block", text="nonsense"), slot=0, path=NOWHERE)
    num_runs, _ = worker.load(Subject.of_block(SPEC), slot=1, path=NOWHERE)
    assert num_runs >= 1


def test_samples_in_turn_are_what_the_device_says_and_name_who_is_at_work(worker: Worker) -> None:
    specs = {slot: ConvSpec(in_channels=4, out_channels=8, size=size) for slot, size in {4: 8, 2: 16}.items()}
    for slot, spec in specs.items():
        worker.load(Subject.of_block(spec), slot=slot, path=NOWHERE)
    samples_ms, _ = worker.samples_in_turn([4, 2], num_passes=3, expected_s=1)
    assert samples_ms == pytest.approx([exact_latency_ms(spec) for spec in specs.values()])
    assert worker.slot_at_work == 2


def test_a_process_that_died_between_two_requests_was_at_work_on_nothing(worker: Worker) -> None:
    worker.load(Subject.of_block(SPEC), slot=4, path=NOWHERE)
    worker.samples_in_turn([4], num_passes=1, expected_s=1)
    os.kill(worker.process_id, signal.SIGKILL)
    with pytest.raises(WorkerDiedError):
        worker.samples_in_turn([4], num_passes=1, expected_s=1)
    assert worker.slot_at_work is None


def test_a_killed_worker_is_noticed(worker: Worker) -> None:
    worker.load(Subject.of_block(SPEC), slot=0, path=NOWHERE)
    os.kill(worker.process_id, signal.SIGKILL)
    with pytest.raises(WorkerDiedError, match="SIGKILL"):
        worker.sample(0)


def test_a_hanging_worker_is_ended_at_the_time_limit() -> None:
    with Worker("exact", time_limit_s=20) as worker:
        worker.load(Subject.of_block(SPEC), slot=0, path=NOWHERE)
        worker._time_limit_s = 0.2
        os.kill(worker.process_id, signal.SIGSTOP)
        with pytest.raises(WorkerDiedError, match="did not answer within 0.2 s"):
            worker.sample(0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_onnx_runtime_process_holds_no_torch() -> None:
    with Worker("host-onnxruntime", time_limit_s=20) as worker:
        with pytest.raises(SubjectError, match=r"(?i)nothing"):
            worker.load(Subject.of_block(SPEC), slot=0, path=NOWHERE)  # it has imported onnxruntime by now
        libraries = Path(f"/proc/{worker.process_id}/maps").read_text()
    assert "onnxruntime" in libraries
    assert "libtorch" not in libraries


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_a_runtime_leaves_in_its_temporary_folder_goes_with_the_process(worker: Worker) -> None:
    worker.load(Subject.of_block(SPEC), slot=0, path=NOWHERE)  # its environment can be read once it has begun
    environment = Path(f"/proc/{worker.process_id}/environ").read_text().split("\0")
    (folder,) = [Path(line.partition("=")[2]) for line in environment if line.startswith("TMPDIR=")]
    (folder / "compiled").mkdir()
    (folder / "compiled/weights").write_bytes(b"weights")
    os.kill(worker.process_id, signal.SIGKILL)
    worker.kill()
    assert not folder.parent.exists()


def test_a_busy_worker_ends_with_who_asked() -> None:
    code = f"""
from pathlib import Path
from profilers.subject import Subject
from profilers.temporary_folder import FullDiskError, new_folder
from profilers.worker_client import Worker

worker = Worker("exact", time_limit_s=60)
worker.load(Subject(kind="block", text={Subject.of_block(SPEC).text!r}), slot=0, path=Path("nothing"))
worker._process.stdin.write('{{"sustain": 0, "num_runs": 1, "duration_s": 30}}\\n')
worker._process.stdin.flush()
print(worker.process_id, flush=True)
worker._process.wait()
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker_id = int(parent.stdout.readline())
    parent.kill()
    try:
        parent.communicate(timeout=15)  # until nobody has its stderr, which the worker shares
    except subprocess.TimeoutExpired:
        os.kill(worker_id, signal.SIGKILL)
        raise


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_a_disk_without_room_for_a_worker_is_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = new_folder("snapnas-test-")
    (folder.path / "slot").symlink_to("/dev/full")
    monkeypatch.setattr("profilers.worker_client.new_folder", lambda _prefix: folder)
    with pytest.raises(FullDiskError, match="TMPDIR"):
        Worker("exact", time_limit_s=20)
    assert not folder.path.exists()
