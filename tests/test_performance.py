"""The performance page: its tables say what was recorded, its pictures are of these records."""

import copy
import json
import re
from pathlib import Path

import pytest
import report
import report_tables
from PIL import Image

from lecture_book.records import PERFORMANCE, missing, recorded_values

ROOT = Path(__file__).resolve().parents[1]
BENCH = re.compile(r"for question in (.*?); do")


@pytest.fixture(scope="module")
def records():
    return report.read_records(ROOT)


def rows_of(table):
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]
    ]


def row_of(table, start):
    return next(row for row in rows_of(table) if row[0].startswith(start))


def test_everything_that_make_bench_measures_is_recorded_and_explained(records):
    measured = BENCH.search((ROOT / "Makefile").read_text(encoding="utf8"))[1].split()
    assert sorted(measured) == sorted(report.RECORDS) == sorted(records)
    readme = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf8")
    for name in measured:
        assert f"| `{name}.py` | `results/{name}.json` |" in readme


def test_the_records_say_where_when_and_on_what_they_were_measured(records):
    for name, record in records.items():
        assert record["machine"]["cpus"] >= 1, name
        assert record["versions"]["torch"], name
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", record["date"]), name
    trained = ("steps", "peers", "conv_peers", "full_runs", "lecture", "memory", "scaling", "book")
    for name in trained:
        assert records[name]["data"]["name"] == "mnist", name


def test_the_page_quotes_what_the_records_give(records):
    written = json.loads((ROOT / PERFORMANCE).read_text(encoding="utf8"))
    assert written == report_tables.report_values(records), "run `python benchmarks/report.py`"
    quoted = {name for name in recorded_values(ROOT) if name.startswith("bench_")}
    assert quoted == {f"bench_{name}" for name in written}


def test_a_report_of_half_the_records_is_refused(records, monkeypatch, tmp_path):
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(report, "ROOT", tmp_path)
    for name in {*report.RECORDS} - {"peers", "book"}:
        (tmp_path / "results" / f"{name}.json").write_text(json.dumps(records[name]))
    with pytest.raises(SystemExit, match="not measured yet: peers"):
        report.main()
    assert not (tmp_path / PERFORMANCE).exists()


def test_what_was_not_reached_is_said(records):
    slower = copy.deepcopy(records)
    slower["imports"]["median_s"]["lecture-vae --help"] = 0.51
    slower["animation"]["celluloid_per_ours"] = 9.9
    table = report_tables.goals_table(slower)
    assert row_of(table, "`lecture-vae --help`")[1:] == ["0.51 s", "", "0.51", "≤ 0.5", "**no**"]
    assert row_of(table, "A video")[-1] == "**no**"
    slower["imports"]["median_s"]["lecture-vae --help"] = 0.49
    slower["animation"]["celluloid_per_ours"] = 10.1
    table = report_tables.goals_table(slower)
    assert row_of(table, "`lecture-vae --help`")[-1] == "yes"
    assert row_of(table, "A video")[-1] == "yes"


def test_a_step_is_compared_with_its_own_floor_and_the_limit_of_the_core(records):
    other = copy.deepcopy(records)
    model = other["steps"]["models"]["conv-vae"]
    ms = model["median_ms_per_step"]
    ms["train"], ms["floor"], model["limit_ms_per_step"] = 6.0, 5.0, 4.0
    table = report_tables.goals_table(other)
    assert row_of(table, "A step of the convolutional")[3:] == ["1.5", "≤ 2.2", "yes"]
    assert row_of(report_tables.steps_table(other["steps"], "conv-vae"), "floor")[2] == "1.00"
    assert row_of(report_tables.steps_table(other["steps"], "conv-vae"), "limit")[2] == "0.80"


def test_the_lecture_is_compared_with_the_original_as_it_was(records):
    other = copy.deepcopy(records)
    for name, way in other["lecture"]["ways"].items():
        way["lecture_s"] = 60.0 if name == "ours" else 1200.0
    last = "the original's way, 8 workers"
    other["lecture"]["ways"][last]["lecture_s"] = 660.0
    row = row_of(report_tables.goals_table(other), "The five runs")
    assert row == [
        "The five runs of the lecture",
        "1.0 min",
        f"{last}: 11 min",
        "11",
        "≥ 15",
        "**no**",
    ]


def test_the_slowest_page_and_the_heaviest_figure_are_named(records):
    pages = copy.deepcopy(records["pages"])
    pages["lighthouse_performance"]["book/errata.html"]["median"] = 3
    pages["live_bytes"]["divergence"] = 1_500_000
    pages["frame_ms"]["here"]["p95"] = 8.1
    table = report_tables.goals_table(dict(records) | {"pages": pages})
    assert row_of(table, "Speed of the slowest page")[2:] == [
        "Lighthouse: errata", "3.0", "≥ 90", "**no**",
    ]  # fmt: skip
    assert row_of(table, "A live figure's files")[3:] == ["1.5", "≤ 1", "**no**"]
    assert row_of(table, "A move in the explorer")[3:] == ["8.1", "≤ 8", "**no**"]
    assert len(rows_of(report_tables.pages_table(pages))) == len(pages["page_bytes"]) > 20


def test_the_fastest_other_library_is_what_ours_is_compared_with(records):
    other = copy.deepcopy(records)
    for model, name in report_tables.MODELS.items():
        peers = other[report_tables.PEERS[model]]["peers"]
        for peer in peers.values():
            peer["five_runs_s"] = 90.0
        peers[report_tables.OURS]["five_runs_s"] = 80.0
        peers["pythae"]["five_runs_s"] = 72.0
        row = row_of(report_tables.goals_table(other), f"Five runs of the {name}")
        assert row[1:] == [
            "80 s", "the fastest other, pythae: 72 s", "0.90", "≥ 1", "**no**",
        ]  # fmt: skip


def test_a_whole_run_that_takes_too_long_has_no_figure(records):
    other = copy.deepcopy(records)
    full = other["full_runs"]["models"]["conv-vae"]
    full[report_tables.OURS]["seconds"] = 41.6
    full.pop("pythae", None)
    rows = {row[0]: row for row in rows_of(report_tables.peers_table(other, "conv-vae"))}
    assert rows["**ours**"][5] == "42"
    assert rows["pythae"][5] == ""
    assert len(rows) == len(other["conv_peers"]["peers"])


def test_every_build_of_the_book_has_its_own_goal(records):
    other = copy.deepcopy(records)
    other["book"]["median_s"] |= {"cold": 180.4, "nothing changed": 9.4, "cold, full budget": 359.0}
    table = report_tables.goals_table(other)
    rows = {row[0]: row[-2:] for row in rows_of(table) if row[0].startswith("`make book`")}
    assert rows["`make book`, cold"] == ["≤ 180", "**no**"]
    assert rows["`make book`, nothing changed"] == ["≤ 10", "yes"]
    assert rows["`make book`, cold, full budget"] == ["≤ 360", "yes"]
    assert len(rows) == len(other["book"]["median_s"])


def test_the_text_compares_with_jax_and_names_memory_that_is_returned(records):
    other = copy.deepcopy(records)
    other["peers"]["peers"][report_tables.OURS]["five_runs_s"] = 50.0
    other["peers"]["peers"][report_tables.JAX]["five_runs_s"] = 85.0
    conv = other["conv_peers"]["peers"]
    conv[report_tables.OURS]["modes"][report_tables.ONE]["ms_per_step"] = 1.5
    conv[report_tables.JAX]["modes"][report_tables.ONE]["ms_per_step"] = 60.0
    memory = other["memory"]["beyond_torch_mb"]
    (returned,) = (name for name in memory if name.endswith("=1000000"))
    memory[returned] = 444.4
    values = report_tables.report_values(other)
    assert values["jax_of_ours"] == "1.7"
    assert values["conv_jax_of_ours"] == "40"
    assert values["memory_returned"] == "444 MB"


def test_the_shares_of_a_step_add_up(records):
    for model in report_tables.MODELS:
        text = report_tables.profile(records["steps"], model)
        parts = records["steps"]["models"][model]["profile_us_per_step"]
        assert text.startswith(f"products {100 * parts['products'] / parts['all']:.0f} %")
        shares = re.findall(r"(\d+) %", text)
        assert abs(sum(map(int, shares)) - 100) <= len(shares) / 2
        assert shares == sorted(shares, key=int, reverse=True)


def test_the_pictures_are_those_of_the_records():
    for name in report.PICTURES:
        with Image.open(ROOT / report.STATIC / name) as picture:
            drawn_from = picture.text["Records"]
        assert drawn_from == report.records_digest(ROOT), (
            f"{name} shows other records: run `python benchmarks/report.py`"
        )


def test_the_pictures_show_every_peer_and_every_size(records):
    lines = report.draw_peers(records).axes[0].get_lines()
    shown = [name for name in records["peers"]["peers"] if "vmap" not in name]
    assert [line.get_label() for line in lines] == [*shown, "matrix products alone"]
    points = [ax.get_lines()[0].get_xdata() for ax in report.draw_scaling(records).axes]
    assert sum(map(len, points)) == len(records["scaling"]["median_s"])
    for x in points:
        assert list(x) == sorted(x)


def test_a_figure_that_was_not_measured_is_refused_with_the_command(tmp_path):
    assert recorded_values(tmp_path) == {}
    assert missing("bench_goals_table", {}, tmp_path).endswith("Record it with `make bench`.")


def test_compiling_pays_where_the_text_says_so(records):
    linear_saves, linear_first, _ = report_tables.compiling(records["steps"])["linear"]
    assert linear_saves < linear_first  # "so it does not pay"
    conv_saves, conv_first, steps = report_tables.compiling(records["steps"])["conv"]
    assert conv_saves > conv_first
    assert 3_000 < steps < 30_000  # between the quick budget and the full one
    other = copy.deepcopy(records["steps"])
    model = other["models"]["conv-vae"]
    model["median_ms_per_step"] |= {"train in PyTorch": 12.0, "torch.compile": 10.0}
    model["variants"]["torch.compile"]["first_steps_s"] = 8.0
    assert report_tables.compiling(other)["conv"] == pytest.approx((60.0, 8.0, 4_000.0))
