"""Every way to get a YAML wrong is one readable error with its place and the nearest name."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
import yaml

from pipelines.config.loader import CONFIGS, config_path, load_config, parse_config
from pipelines.errors import ConfigError
from tests.pipelines.conftest import TINY, merged


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_configurations_are_valid(path):
    config = load_config(path)
    assert config.name == path.stem


def test_sample_keeps_qlibs_benchmark_values():
    """The model entries of sample.yaml resolve to the defaults of the families.

    Those of LightGBM are for hundreds of names, and its comments there say so.
    """
    from pipelines.config.models import model_spec

    models = load_config("sample").models
    assert set(models) == {"lstm", "gru", "krnn", "linear", "lightgbm"}
    for name, entry in models.items():
        if name != "lightgbm":
            assert model_spec(name, entry) == model_spec(name, {})


def test_sample_covers_450_to_650_sessions_to_the_end_of_the_data():
    from pipelines.calendar.sessions import Sessions

    market = load_config("sample").market
    sessions = Sessions.of(market.calendar, market.start, market.end)
    assert sessions.keys[-1] == "2013-03-01"
    assert 450 <= len(sessions) <= 650
    full = load_config("sample_full").market
    assert Sessions.of(full.calendar, full.start, full.end).first == "2000-03-01"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataste": {}}, r"dataste: unknown key; did you mean 'dataset'"),
        ({"training": {"retrain_evry": 3}}, r"training.retrain_evry: .*mean 'retrain_every'"),
        ({"market": {"source": {"kind": "simulated", "sed": 1}}}, r"source.sed: .*mean 'seed'"),
        ({"market": {"source": {"kind": "bokeh"}}}, r"market.source: .*bokeh_sample"),
        ({"market": {"calendar": "XNYSE"}}, r"market.calendar: unknown calendar 'XNYSE'.*XNYS'"),
        ({"market": {"vwap": "mean"}}, r"market.vwap: .*'amount', 'typical' or 'none'"),
        ({"market": {"end": "2019-01-01"}}, r"market: end 2019-01-01 must come after start"),
        ({"market": {"start": "soon"}}, r"market.start: .*date.*given: 'soon'"),
        ({"dataset": {"step_len": 0}}, r"dataset.step_len: .*greater than 0 \(given: 0\)"),
        ({"dataset": {"fit_end": "2020-01-02"}}, r"dataset: fit_end 2020-01-02 must come after"),
        ({"dataset": {"fit_start": "2019-12-02"}}, r"fit_start 2019-12-02 lies before market.sta"),
        ({"training": {"first_trained": "2020-02-03"}}, r"first_trained .* before dataset.fit_end"),
        ({"training": {"first_trained": "2021-02-03"}}, r"first_trained .* after market.end"),
        ({"training": {"valid_sessions": 45}}, r"window_sessions 45 must exceed"),
        ({"training": {"pin": {"from": "2020-04-03", "as_of": "2020-04-08"}}}, r"pin.as_of .* mus"),
        ({"portfolio": {"topk": 2, "n_drop": 3}}, r"portfolio: n_drop 3 exceeds topk 2"),
        ({"portfolio": {"deal_price": "vwap"}, "market": {"vwap": "none"}}, r"deal_price is vwap"),
        (
            {"dataset": {"infer_processors": ["RobustZscoreNorm"]}},
            r"dataset: unknown processor 'RobustZscoreNorm'; did you mean 'RobustZScoreNorm'",
        ),
        (
            {"dataset": {"infer_processors": [{"Fillna": {"value": 0}}]}},
            r"dataset: Fillna has no argument 'value'.*fill_value",
        ),
        (
            {"dataset": {"infer_processors": [{"FilterCol": {"col_list": ["KMIDD"]}}]}},
            r"dataset.infer_processors: .*'KMIDD'.*'KMID'",
        ),
        ({"dataset": {"learn_processors": "CSRankNorm"}}, r"learn_processors: expected a list"),
        (
            {"dataset": {"infer_processors": ["DropnaLabel"]}},
            r"DropnaLabel cannot be an infer processor",
        ),
        ({"models": {"lstn": {}}}, r"models: lstn: unknown family 'lstn'; did you mean 'lstm'"),
        ({"models": {"lstm": {"hiden_size": 3}}}, r"models: lstm: .*mean 'hidden_size'"),
        ({"models": {"lstm": {"lr": "fast"}}}, r"models: lstm: lr is 'fast'"),
        ({"features": {"label": "Ref($close -2)"}}, r"features.label: "),
        ({"features": {"label": "$close"}}, r"looks at no later session"),
        ({"features": {"label": "Ref($adj, -1)"}}, r"features.label: no field \$adj in adjusted"),
        (
            {"features": {"label": "Ref($vwap, -1)"}, "market": {"vwap": "none"}},
            r"features.label reads \$vwap, and market.vwap is none",
        ),
        ({"features": {"set": "alpha185"}}, r"features.set: .*did you mean 'alpha158'.*\.yaml"),
        ({"features": {"set": 158}}, r"features.set: expected alpha158, alpha360, .* got 158"),
        ({"features": {"set": "no.yaml"}}, r"features.set: cannot read no.yaml: No such file"),
        (
            {"features": {"set": {"set": "alpha158", "roling": {}}}},
            r"features.set: unknown key 'roling'; did you mean 'rolling'",
        ),
        (
            {"features": {"set": {"set": "alpha158", "rolling": {"include": ["RSQ"]}}}},
            r"features.set: rolling.include has no 'RSQ'; did you mean 'RSQR'",
        ),
        (
            {"features": {"set": {"features": {"A": "$close", "B": "Ref($close, -1)"}}}},
            r"features.set: B = Ref\(\$close, -1\) reads 1 sessions ahead, which nobody knows",
        ),
        (
            {"features": {"set": {"features": {"A": "$amount"}}}},
            r"features.set: no field \$amount in adjusted bars",
        ),
        ({"features": {"set": {"features": {"A": "Maen($close, 5)"}}}}, r"features: A: .*`Mean`"),
        ({"features": {"set": {"features": {"date": "$close"}}}}, r"date cannot be told from date"),
        (
            {"features": {"set": {"features": {"up": "$close", "UP": "$open"}}}},
            r"features.set: UP cannot be told from up, another feature, in SQL",
        ),
        (
            {"features": {"set": {"features": {"A": "$vwap"}}}, "market": {"vwap": "none"}},
            r"features.set: .*every feature reads \$vwap.*market.vwap is none",
        ),
        ({"features": {"min_periods": 2, "semantics": "qlib"}}, r"features: min_periods 2 with q"),
        (
            {"features": {"min_periods": 6}},
            r"features: min_periods 6 exceeds the shortest win.*5 s",
        ),
        ({"features": {"set": "alpha360"}}, r"dataset.infer_processors: .*KMID"),
        (
            {
                "dataset": {"infer_processors": [{"FilterCol": {"col_list": ["VWAP0"]}}]},
                "market": {"vwap": "none"},
            },
            r"dataset.infer_processors: .*'VWAP0'",
        ),
        ({"schedule": {"cron": "whenever"}}, r"schedule.cron: not a cron string"),
        ({"name": "My Market"}, r"name: "),
        ({"market": {"source": {"kind": "simulatd"}}}, r"source: .*; did you mean 'simulated'\?"),
        ({"market": {"vwap": "amout"}}, r"market.vwap: .*; did you mean 'amount'\?"),
        ({"name": "reports"}, r"name: the folder reports holds the pages .* as reports_market"),
        ({"name": "objects"}, r"name: the folder objects of a backup holds .* as objects_market"),
        ({"name": "dagster"}, r"name: the folder dagster holds Dagster's record .* dagster_market"),
        ({"name": "con"}, r"name: the folder con is a device of Windows; choose another name"),
        ({"name": "lpt9"}, r"name: the folder lpt9 is a device of Windows"),
        ({"dataset": {"step_len": True}}, r"dataset.step_len: expected a number \(given: True\)"),
        ({"training": {"seeds": True}}, r"training.seeds: expected a number"),
        ({"portfolio": {"account": True}}, r"portfolio.account: expected a number"),
        ({"portfolio": {"limit_threshold": False}}, r"portfolio.limit_threshold: expected a num"),
        ({"portfolio": {"account": float("inf")}}, r"portfolio.account: .*finite number"),
        ({"dataset": {"step_len": 10**9}}, r"dataset.step_len: .*less than or equal to 100000"),
        ({"training": {"window_sessions": 10**9}}, r"training.window_sessions: .*100000"),
        ({"training": {"seeds": 10**9}}, r"training.seeds: .*less than or equal to 1000"),
        ({"market": {"source": {"kind": "simulated", "instruments": 10**9}}}, r"instruments: .*10"),
        ({"models": {"lstm": {"hidden_size": 10**9}}}, r"models: lstm: hidden_size is 1000000000"),
        ({"models": {"gru": {"num_layers": 10**9}}}, r"models: gru: num_layers is 1000000000, .*6"),
        ({"models": {"krnn": {"rnn_dups": 0}}}, r"models: krnn: rnn_dups is 0, expected a whole"),
        ({"models": {"lstm": {"batch_size": 10**12}}}, r"models: lstm: batch_size is 10000000000"),
        ({"models": {"lstm": {"seeds": 10**9}}}, r"models: lstm: seeds is 1000000000"),
    ],
)
def test_wrong_values_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(merged(TINY, changes))


@pytest.mark.parametrize("tail", ["", "\nmodels: {lstm: *l8}"])
def test_aliases_that_multiply_are_refused(tail, tmp_path):
    lines = ["l0: &l0 [x, y]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 9)]
    (tmp_path / "market.yaml").write_text("\n".join(lines) + tail)
    with pytest.raises(ConfigError, match=r"not valid YAML: line 6, column \d+: .* 200,000 values"):
        load_config(tmp_path / "market.yaml")


def test_merge_keys_are_understood(tmp_path):
    """A model may take over the settings of another one."""
    raw = yaml.safe_load((CONFIGS / "sample.yaml").read_text())
    text = yaml.safe_dump({**raw, "models": {}}).replace(
        "models: {}",
        "models:\n  lstm: &rnn {hidden_size: 8}\n  gru: {<<: *rnn, num_layers: 1}",
    )
    (tmp_path / "market.yaml").write_text(text)
    models = load_config(tmp_path / "market.yaml").models
    assert models["gru"] == {"hidden_size": 8, "num_layers": 1}


def test_a_missing_section_is_named():
    raw = {k: v for k, v in TINY.items() if k != "training"}
    with pytest.raises(ConfigError, match="training: required, but not given"):
        parse_config(raw)


def test_an_error_gives_the_line_of_the_file(tmp_path):
    text = (CONFIGS / "sample.yaml").read_text().replace("step_len: 20 ", "step_len: twenty ")
    number = next(i for i, t in enumerate(text.splitlines(), 1) if "twenty" in t)
    file = tmp_path / "market.yaml"
    file.write_text(text)
    with pytest.raises(
        ConfigError, match=rf"(?s)market\.yaml .*dataset\.step_len \(line {number}\)"
    ) as e:
        load_config(file)
    assert str(e.value).count("\n") == 1


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("    zero_volume: quarantine", "    zero_volum: quarantine", "zero_volum"),
        ("  deal_price: close", "  deal_price: vwap", "deal_price"),
        ("  max_retry_minutes: 480", "  max_retry_minutes: 4", "max_retry_minutes"),
        ("  seed: 0", "  sed: 0", "sed"),
        ("    - RobustZScoreNorm:", "    - RobustZscoreNorm:", "a processor"),
        ("        clip_outlier:", "        clip_outliers:", "an argument"),
        ("    - DropnaLabel", "    - DropLabel", "an item"),
        ("        col_list: [RESI5,", "        col_list: [RESI6,", "an item of a list in a line"),
        ("    hidden_size: 64             #", "    hiden_size: 64             #", "a model's key"),
    ],
)
def test_the_line_is_that_of_the_key_and_not_of_its_section(old, new, key, tmp_path):
    """Problems that a whole section has, too."""
    text = (CONFIGS / "sample.yaml").read_text().replace(old, new)
    text = text.replace("vwap: typical", "vwap: none") if key == "deal_price" else text
    number = next(i for i, t in enumerate(text.splitlines(), 1) if t.startswith(new))
    (tmp_path / "market.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"\(line {number}\)"):
        load_config(tmp_path / "market.yaml")


def test_every_problem_is_one_with_its_place(tmp_path):
    """A label that cannot be parsed is shown on three lines, a text that is no YAML on one."""
    text = (CONFIGS / "sample.yaml").read_text()
    wrong = text.replace("Ref($close, -2)/", "Reff($close, -2)/").replace("step_len: 20", "step: 2")
    file = tmp_path / "market.yaml"
    file.write_text(wrong)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    places = [problem.partition(" ")[0] for problem in caught.value.problems]
    assert places == ["features.label", "dataset.step"]
    file.write_text(text.replace("  vwap:", "\tvwap:"))
    number = next(i for i, t in enumerate(text.splitlines(), 1) if t.startswith("  vwap:"))
    with pytest.raises(ConfigError, match=rf"not valid YAML: line {number}, column 1: .*start any"):
        load_config(file)


def test_a_day_where_a_list_is_expected(tmp_path):
    with pytest.raises(ConfigError, match=r"market.closed: expected a list, as in \[2018-01-02\]"):
        parse_config(merged(TINY, {"market": {"closed": dt.date(2018, 1, 2)}}))


def test_a_key_written_twice_is_an_error(tmp_path):
    file = tmp_path / "twice.yaml"
    file.write_text((CONFIGS / "sample.yaml").read_text() + "\nname: other\n")
    with pytest.raises(ConfigError, match="the key 'name' is written twice"):
        load_config(file)


def test_yaml_that_cannot_be_read_is_an_error(tmp_path):
    file = tmp_path / "broken.yaml"
    file.write_text("name: [unclosed")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(file)


def test_an_unknown_configuration_names_the_nearest(monkeypatch):
    monkeypatch.delenv("RNN_CONFIG", raising=False)
    assert config_path() == CONFIGS / "sample.yaml"
    with pytest.raises(ConfigError, match=r"no configuration 'sampel'.*did you mean 'sample'"):
        config_path("sampel")
    monkeypatch.setenv("RNN_CONFIG", "sample_full")
    assert Path(config_path()).stem == "sample_full"


def test_a_second_model_of_a_family_stands_under_its_own_name():
    config = parse_config(merged(TINY, {"models": {"gru_wide": {"family": "gru"}}}))
    from pipelines.config.models import model_spec

    spec = model_spec("gru_wide", config.models["gru_wide"])
    assert (spec.name, spec.family, spec.training["lr"]) == ("gru_wide", "gru", 2e-4)


def test_every_key_of_the_sample_is_explained():
    """Every key that sample.yaml sets has a comment at one of its occurrences."""
    explained, used = set(), set()
    for line in (CONFIGS / "sample.yaml").read_text().splitlines():
        content, _, comment = line.partition("#")
        key = content.split(":")[0].strip(" -")
        if ":" in content and key:
            used.add(key)
            explained |= {key} if comment.strip() else set()
    sections = {"market", "features", "dataset", "training", "evaluation", "schedule", "source"}
    own_names = {
        "lstm",
        "gru",
        "krnn",
        "linear",
        "lightgbm",
        "num_layers",
        "rnn_layers",
        "col_list",
    }
    assert used - explained <= sections | own_names
    assert len(explained) > 40


OWN_SET = """\
set: alpha158
kbar: false
rolling: {windows: [5], include: [ROC]}
features:
  GAP: "$open/Ref($close, 1)-1"
"""


def test_a_day_that_is_none_is_named_with_its_line(tmp_path):
    path = tmp_path / "market.yaml"
    path.write_text("name: mine  # 2016-02-30\nmarket:\n  end: 2016-02-31\n")
    with pytest.raises(ConfigError, match=r"market.yaml: line 3 has the day 2016-02-31, which is"):
        load_config(path)


def test_a_feature_set_is_a_name_a_mapping_or_a_file_beside_the_yaml(tmp_path, monkeypatch):
    """A relative path counts from the YAML that names it, not from the working directory."""
    import yaml

    from pipelines.config.features import identity

    plain = {"dataset": {"infer_processors": ["Fillna"]}}
    names = parse_config(merged(TINY, plain)).dataset_specs[0].feature_set.names
    assert len(names) == 158
    long = parse_config(merged(TINY, plain | {"features": {"set": "alpha360"}}))
    assert len(long.dataset_specs[0].feature_set) == 360
    assert identity(long.features.set) == "alpha360"
    (tmp_path / "own.yaml").write_text(OWN_SET)
    raw = merged(TINY, plain | {"features": {"set": "own.yaml", "min_periods": 5}})
    (tmp_path / "market.yaml").write_text(yaml.safe_dump(raw))
    monkeypatch.chdir("/")
    from_file = load_config(tmp_path / "market.yaml")
    assert from_file.dataset_specs[0].feature_set.names == (
        "OPEN0",
        "HIGH0",
        "LOW0",
        "VWAP0",
        "ROC5",
        "GAP",
    )
    inline = parse_config(merged(raw, {"features": {"set": yaml.safe_load(OWN_SET)}}))
    assert identity(inline.features.set) == identity(from_file.features.set)
    without = parse_config(
        merged(raw, {"features": {"set": str(tmp_path / "own.yaml")}, "market": {"vwap": "none"}})
    )
    assert without.dataset_specs[0].feature_set.names == ("OPEN0", "HIGH0", "LOW0", "ROC5", "GAP")


def test_paths_are_as_seen_from_the_yaml(tmp_path, monkeypatch):
    """Whatever folder a command is given in; `~` is the home folder, URLs stay as they are."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "sets.yaml").write_text("features: {KMID: $close/$open-1}\n")
    features = {"set": "~/sets.yaml"}

    def loaded(warehouse):
        file = tmp_path / "tiny.yaml"
        raw = merged(TINY, {"warehouse": warehouse, "dataset": {"infer_processors": []}})
        file.write_text(yaml.safe_dump({**raw, "features": features}))
        return load_config(file)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert loaded("wh").warehouse == str(tmp_path / "wh")
    assert loaded("~/wh").warehouse == str(tmp_path / "home" / "wh")
    assert loaded("s3://bucket/wh").warehouse == "s3://bucket/wh"
    assert loaded(None).warehouse is None
    assert list(dict(loaded(None).dataset_specs[0].feature_set)) == ["KMID"]


def test_a_wrong_expression_of_a_file_is_shown_with_its_file_line_and_place(tmp_path):
    text = (CONFIGS / "sample.yaml").read_text()
    text = text.replace("  set: alpha158 ", "  set: own.yaml ")
    number = next(i for i, t in enumerate(text.splitlines(), 1) if "own.yaml" in t)
    (tmp_path / "market.yaml").write_text(text)
    (tmp_path / "own.yaml").write_text(OWN_SET.replace("Ref(", "Reff("))
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "market.yaml")
    lines = str(caught.value).splitlines()
    assert rf"features.set (line {number}): {tmp_path / 'own.yaml'}: features: GAP" in lines[1]
    assert lines[2][lines[3].index("^") :] == "Reff($close, 1)-1"
