"""Published results as tables."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from helpers import paths, published
from helpers.records import DatasetError

RUNS = pd.DataFrame(
    {
        "variant": ["base", "base", "base", "new", "new", "new", "single"],
        "seed": [0, 1, 2, 0, 1, 2, 0],
        "updates": [50] * 7,
        "ap": [0.50, 0.60, 0.70, 0.55, 0.66, 0.74, 0.4],
    }
)


def test_a_summary_pairs_the_seeds():
    table = published.summarise(RUNS, "ap", "base")
    assert table.loc["new", ["seeds", "updates", "mean", "lowest", "highest"]].tolist() == pytest.approx(
        [3, 50, 0.65, 0.55, 0.74]
    )
    assert table.loc["new", "difference"] == pytest.approx(0.05)
    expected = stats.ttest_rel([0.55, 0.66, 0.74], [0.50, 0.60, 0.70]).confidence_interval(0.95)
    assert table.loc["new", ["low", "high"]].tolist() == pytest.approx(list(expected))
    assert table.loc["base", ["difference", "low", "high"]].tolist() == [0, 0, 0]


def test_a_single_seed_has_a_difference_and_no_interval():
    row = published.summarise(RUNS, "ap", "base", ["single"]).loc["single"]
    assert row["difference"] == pytest.approx(-0.1)
    assert np.isnan(row["low"])
    assert np.isnan(row["high"])


def test_unknown_variants_and_metrics_are_named():
    with pytest.raises(ValueError, match="no variant 'best'; they have base, new, single"):
        published.summarise(RUNS, "ap", "best")
    with pytest.raises(ValueError, match="no metric 'ar'"):
        published.summarise(RUNS, "ar", "base")


@pytest.mark.parametrize("text", ["{", '{"study": "x"}', '{"runs": [{"variant": "a"}]}'])
def test_a_broken_file_is_named_with_the_command_that_makes_it(text, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    (tmp_path / "03_ablation.json").write_text(text)
    with pytest.raises(DatasetError, match=r"03_ablation\.json"):
        published.read_runs("03_ablation")


def test_a_missing_file_is_named_with_the_command_that_makes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RESULTS", tmp_path)
    with pytest.raises(DatasetError, match="workbook study 03_ablation"):
        published.read_runs("03_ablation")


@pytest.mark.parametrize("path", sorted(paths.RESULTS.glob("*.json")), ids=lambda path: path.name)
def test_every_published_file_can_be_read(path):
    runs = published.read_runs(path.stem)
    assert not runs.duplicated(["variant", "seed"]).any()
    assert len(published.read_histories(path.stem)) == runs["epochs"].sum()
    assert published.read_document(path.stem)["command"] == f"workbook study {path.stem}"


def test_the_tables_of_the_page_are_those_of_the_files():
    page = (paths.ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    tables = re.findall(r"<!-- table: (\w+) (\w+) (.+?) -->\n\n(.+?)\n<!-- end of table -->", page, re.DOTALL)
    assert {name for name, *_ in tables} == {"03_ablation", "07_anchors", "08_losses"}
    for name, metric, baseline, table in tables:
        summary = published.summarise(published.read_runs(name), metric, baseline)
        assert table == published.format_markdown(summary), f"make the table of {name} in docs/results.md again"


def test_a_markdown_table_shows_the_baseline_without_a_difference_and_a_single_seed_without_an_interval():
    lines = published.format_markdown(published.summarise(RUNS, "ap", "base")).splitlines()
    assert lines[2] == "| base | 3 | 50 | 0.600 (0.500 to 0.700) | – |"
    assert lines[3].startswith("| new | 3 | 50 | 0.650 (0.550 to 0.740) | +0.050 (")
    assert lines[4] == "| single | 1 | 50 | 0.400 (0.400 to 0.400) | -0.100 |"
