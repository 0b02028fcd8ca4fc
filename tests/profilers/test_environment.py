import json

from profilers.environment import record_environment


def test_record_is_strict_json_with_what_moves_a_measurement() -> None:
    document = json.loads(record_environment().to_json(), parse_constant=lambda name: 1 / 0)
    assert document["load_average"] >= 0
    assert document["context_switches"] > 0
    assert document["steal_s"] >= 0
    assert {"python", "torch", "onnxruntime"} <= set(document["versions"])


def test_where_no_sensor_is_shown_nobody_knows_whether_it_was_too_hot() -> None:
    environment = record_environment()
    assert (environment.is_throttled is None) == (environment.sensors == ())
