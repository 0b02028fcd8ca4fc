from pathlib import Path

import pytest

from profilers.bundling.run_bundle import parse_pmset, wait_until_cool
from profilers.thermal import MAX_TEMPERATURE_C, Thermometer

pytestmark = pytest.mark.skipif(not Path("/sys").is_dir(), reason="reads a folder laid out as Linux does")


def add_zone(root: Path, *, temperature_c: float, passive_limit_c: float | None = None, index: int = 0) -> Path:
    zone = root / f"class/thermal/thermal_zone{index}"
    zone.mkdir(parents=True)
    (zone / "type").write_text("x86_pkg_temp\n")
    (zone / "temp").write_text(f"{int(1000 * temperature_c)}\n")
    if passive_limit_c is not None:
        (zone / "trip_point_0_type").write_text("critical\n")
        (zone / "trip_point_0_temp").write_text("20000\n")
        (zone / "trip_point_1_type").write_text("passive\n")
        (zone / "trip_point_1_temp").write_text(f"{int(1000 * passive_limit_c)}\n")
    return zone


def set_throttle_count(root: Path, count: int) -> None:
    folder = root / "devices/system/cpu/cpu0/thermal_throttle"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "core_throttle_count").write_text(f"{count}\n")


def test_a_machine_that_shows_nothing_is_never_too_hot(tmp_path: Path) -> None:
    state = Thermometer(tmp_path).read()
    assert (state.sensors, state.complaint) == ((), None)


@pytest.mark.parametrize(("temperature_c", "is_hot"), [(MAX_TEMPERATURE_C - 1, False), (MAX_TEMPERATURE_C, True)])
def test_a_zone_without_a_limit_has_ours(tmp_path: Path, temperature_c: float, is_hot: bool) -> None:
    add_zone(tmp_path, temperature_c=temperature_c)
    assert (Thermometer(tmp_path).read().complaint is not None) == is_hot


def test_a_zones_own_limit_counts_and_a_critical_one_does_not(tmp_path: Path) -> None:
    add_zone(tmp_path, temperature_c=60, passive_limit_c=55)
    state = Thermometer(tmp_path).read()
    assert state.complaint == "x86_pkg_temp at 60 C, limit 55 C"
    assert state.sensors == ("x86_pkg_temp: 60 C",)


def test_a_sleeping_sensor_is_left_out(tmp_path: Path) -> None:
    (add_zone(tmp_path, temperature_c=99) / "temp").write_text("")
    assert Thermometer(tmp_path).read().sensors == ()


def test_throttling_since_the_last_look_is_a_complaint_once(tmp_path: Path) -> None:
    set_throttle_count(tmp_path, 7)
    thermometer = Thermometer(tmp_path)
    assert thermometer.read().complaint is None
    set_throttle_count(tmp_path, 9)
    assert thermometer.read().complaint == "throttled 2 times"
    assert thermometer.read().complaint is None


def test_waiting_ends_and_says_why_it_waited(tmp_path: Path) -> None:
    add_zone(tmp_path, temperature_c=97)
    said: list[str] = []
    wait_until_cool(Thermometer(tmp_path).read, said.append, max_wait_s=0.05, poll_s=0.02)
    assert set(said) == {"cooling down: x86_pkg_temp at 97 C, limit 90 C"}


def test_a_cool_machine_is_not_waited_for(tmp_path: Path) -> None:
    add_zone(tmp_path, temperature_c=40)
    said: list[str] = []
    wait_until_cool(Thermometer(tmp_path).read, said.append, max_wait_s=60)
    assert said == []


@pytest.mark.parametrize(
    ("text", "complaint", "num_sensors"),
    [
        ("CPU_Scheduler_Limit \t= 100\n\tCPU_Available_CPUs \t= 8\n\tCPU_Speed_Limit \t= 100\n", None, 1),
        ("CPU_Speed_Limit \t= 62\n", "limited to 62 % speed", 1),
        ("Note: No thermal warning level has been recorded\nNote: No performance warning level\n", None, 0),
        ("Thermal Warning Level = 2\n", "thermal warning level 2", 1),
        ("Note: No thermal warning level has been recorded\n2026-11-26 10:00:00 +0000 CPU Power notify\n", None, 0),
    ],
)
def test_what_macos_answers(text: str, complaint: str | None, num_sensors: int) -> None:
    state = parse_pmset(text)
    assert state.complaint == complaint
    assert len(state.sensors) == num_sensors
