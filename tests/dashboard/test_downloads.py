"""Pictures and architectures are served by id; what the database does not vouch for is not served."""

import hashlib
import os

import pytest
from flask.testing import FlaskClient

from dashboard.downloads import arch_url, picture_url
from dashboard.workspace import Selection
from search_space.arch_json import arch_from_json
from studies.results import Artifact, StudyReader
from tests.studies.sample_study import STUDY, SampleStudy


def _artifact(study: SampleStudy) -> Artifact:
    return StudyReader(study.engine).artifacts(STUDY)[0]


def _url(artifact: Artifact) -> str:
    return picture_url(Selection(study_name=STUDY, trial=artifact.number), artifact.sha256)


def test_a_picture_is_served_with_its_own_type(client: FlaskClient, filled_study: SampleStudy) -> None:
    artifact = _artifact(filled_study)
    response = client.get(_url(artifact))
    assert response.status_code == 200
    assert response.mimetype == "image/png"
    assert response.data == (filled_study.folder / artifact.path).read_bytes()


@pytest.mark.parametrize("content", [b"<svg onload=alert(1)>", b"<!DOCTYPE html><script>", b""])
def test_a_file_that_is_no_picture_is_not_served(
    client: FlaskClient, filled_study: SampleStudy, content: bytes
) -> None:
    artifact = _artifact(filled_study)
    path = filled_study.folder / artifact.path
    path.write_bytes(content)
    filled_study.writer.add_artifact(artifact.number, "samples", path, workspace=filled_study.folder)
    assert client.get(_url(artifact)).status_code == 404
    changed = picture_url(Selection(study_name=STUDY, trial=artifact.number), hashlib.sha256(content).hexdigest())
    assert client.get(changed).status_code == 404


def test_a_changed_picture_is_not_served(client: FlaskClient, filled_study: SampleStudy) -> None:
    artifact = _artifact(filled_study)
    with (filled_study.folder / artifact.path).open("ab") as file:
        file.write(b"more")
    assert client.get(_url(artifact)).status_code == 404


def test_a_link_out_of_the_workspace_is_not_followed(client: FlaskClient, filled_study: SampleStudy) -> None:
    artifact = _artifact(filled_study)
    path = filled_study.folder / artifact.path
    outside = filled_study.folder.parent / "outside.png"
    os.replace(path, outside)
    path.symlink_to(outside)
    assert client.get(_url(artifact)).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/pictures/..%2f..%2fetc%2fpasswd?study=tiny_exact&trial=0",
        "/pictures/%252e%252e?study=tiny_exact&trial=0",
        "/pictures/%00?study=tiny_exact&trial=0",
        "/pictures/0?study=nonsense&trial=0",
        "/pictures/0?study=tiny_exact&trial=-1",
        "/pictures/0?trial=99999999999999999999",
        "/pictures/0",
        "/arch/0.json",
        "/arch/%2e%2e.json",
    ],
)
def test_unknown_ids_are_not_found(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    # What is no route at all gets the page itself, as every address does.
    assert response.status_code == 404 or response.mimetype == "text/html"


def test_an_exported_architecture_reads_back(client: FlaskClient, filled_study: SampleStudy) -> None:
    arch_id = StudyReader(filled_study.engine).trials(STUDY)[0].arch_id
    assert arch_id is not None
    response = client.get(arch_url(arch_id))
    assert arch_from_json(response.text).arch_id == arch_id
    assert response.headers["Content-Disposition"] == f'attachment; filename="arch-{arch_id}.json"'
