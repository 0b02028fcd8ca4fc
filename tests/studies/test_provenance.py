"""Whether what a study shows of its table is still what its trials were counted with."""

from profilers.backends.exact import ExactBackend
from profilers.latency_table import LatencyTable
from search_space.spaces import search_space
from studies.fingerprint import latency_table_version
from studies.provenance import table_change
from studies.report import report_html
from studies.results import StudyReader
from studies.writer import StudyWriter
from tests.profilers.corrections import one_scale
from tests.studies.sample_study import CONFIG, OBJECTIVES, SampleStudy


def test_a_table_that_changed_since_a_study_began_is_said_to_have(empty_study: SampleStudy) -> None:
    engine, table, device = empty_study.engine, LatencyTable(empty_study.engine), ExactBackend().device
    version = latency_table_version(search_space("tiny"), table, device, None, interpolate=False)
    fingerprint = {"latency table": version}
    StudyWriter(engine, "bound").create_study(
        fingerprint=fingerprint, config=CONFIG, objectives=OBJECTIVES, device=device, latency_budget_ms=None
    )
    study = StudyReader(engine).study("bound")
    assert table_change(engine, study) == ""
    table.set_correction(device, one_scale(1.1))
    assert table_change(engine, study).startswith("The latency table has changed since this study began")
    assert "has changed since this study began" in report_html(engine, study, workspace=empty_study.folder)
