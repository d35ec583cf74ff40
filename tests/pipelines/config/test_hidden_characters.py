"""Names that hold a character that nobody sees are refused. Oracle: its code point in Unicode."""

from __future__ import annotations

import pytest
import yaml

from pipelines.config.loader import CONFIGS, load_config, parse_config
from pipelines.errors import ConfigError
from tests.pipelines.conftest import TINY, merged


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "ti\0ny"}, r"name: the text holds U\+0000"),
        ({"models": {"ls\u202etm": {}}}, r"models: the name 'ls\\u202etm' holds U\+202E RIGHT-TO"),
        ({"datasets": {"a\u200b": {}}}, r"datasets: the name 'a\\u200b' holds U\+200B ZERO WIDTH"),
        (
            {"features": {"set": {"features": {"X\x1b": "$close"}}}},
            r"features.set.features: .*U\+001B",
        ),
        ({"market": {"source": {"columns": {"close": "C\u2067"}}}}, r"columns.close: .*U\+2067"),
        ({"market": {"source": {"columns": {"extra": ["p\0e"]}}}}, r"columns.extra.0: .*U\+0000"),
        ({"state": "s3://b/hush\0"}, r"state: the text holds U\+0000"),
    ],
)
def test_a_character_that_nobody_sees_is_refused_with_its_code_point(changes, message):
    with pytest.raises(ConfigError, match=message) as refused:
        parse_config(merged(TINY, changes))
    assert str(refused.value).replace("\n", "").isprintable()
    assert "hush" not in str(refused.value), "a value may be a secret"


def test_its_line_is_named_and_a_delimiter_is_no_name(tmp_path):
    path = tmp_path / "market.yaml"
    text = yaml.safe_dump(TINY, sort_keys=False)
    path.write_text(text.replace("models:\n", 'models:\n  "gr\\u202eu": {}\n', 1))
    line = path.read_text().splitlines().index("models:") + 1
    with pytest.raises(ConfigError, match=rf"models \(line {line}\): the name 'gr\\u202eu' holds"):
        load_config(path)
    raw = yaml.safe_load((CONFIGS / "us_files.yaml").read_text())
    raw["market"]["source"]["delimiter"] = "\x01"
    assert parse_config(raw).market.source.delimiter == "\x01"
