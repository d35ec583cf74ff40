"""The place of the state: what the YAML and the environment say, and what they may not hold."""

from __future__ import annotations

import pytest

from pipelines.config.loader import load_config, parse_config
from pipelines.errors import ConfigError
from pipelines.market.market import Market
from pipelines.warehouse.stores import open_store
from tests.pipelines.conftest import TINY, merged


@pytest.mark.parametrize(
    ("options", "path", "variable"),
    [
        ({"key": "AKIA"}, "key", "AWS_ACCESS_KEY_ID"),
        ({"secret": "hidden"}, "secret", "AWS_SECRET_ACCESS_KEY"),
        ({"token": "hidden"}, "token", "GOOGLE_APPLICATION_CREDENTIALS"),
        (
            {"client_kwargs": {"aws_secret_access_key": "hidden"}},
            "client_kwargs.aws_secret_access_key",
            "AWS_SECRET_ACCESS_KEY",
        ),
        ({"account_key": "hidden"}, "account_key", "environment"),
    ],
)
def test_a_secret_is_refused_with_its_variable(options, path, variable):
    """The message names the key and the variable, and never the value."""
    with pytest.raises(ConfigError) as error:
        parse_config(merged(TINY, {"state": "s3://b/p", "storage_options": options}))
    assert f"{path} looks like a secret" in str(error.value)
    assert variable in str(error.value)
    assert "hidden" not in str(error.value)
    assert "AKIA" not in str(error.value)


def test_a_user_in_the_url_is_refused():
    with pytest.raises(ConfigError, match="names a user") as error:
        parse_config(merged(TINY, {"state": "s3://me:hidden@bucket/p"}))
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize("url", ["s3:/bucket/prefix", "s3:bucket", "s3://", "gs:///prefix"])
def test_a_url_without_a_slash_or_a_bucket_is_refused(url):
    """It would be taken for a folder of that name."""
    with pytest.raises(ConfigError, match=rf"state.*write {url[:2]}://BUCKET/PREFIX"):
        parse_config({**TINY, "state": url})


def test_options_of_the_client_are_taken():
    options = {"endpoint_url": "http://x:1", "region": "eu-central-1", "client_kwargs": {"a": 1}}
    config = parse_config(merged(TINY, {"state": "s3://b/p", "storage_options": options}))
    assert config.storage_options == options
    assert "state" not in config.model_dump()
    assert "storage_options" not in config.model_dump()


def test_the_place_of_the_state(tmp_path, monkeypatch):
    """The YAML decides, then the environment, then the market's own folder."""
    own = Market(parse_config(TINY), root=tmp_path / "data" / "tiny")
    assert own.state.url() == (tmp_path / "data" / "tiny").as_posix()
    assert own.page.store.url() == (tmp_path / "data" / "reports").as_posix()
    monkeypatch.setenv("RNN_STATE", f"memory://{tmp_path.name}/all")
    shared = Market(parse_config(TINY), root=tmp_path / "data" / "tiny")
    assert shared.state.url().endswith(f"{tmp_path.name}/all/tiny")
    assert str(shared.page).endswith(f"{tmp_path.name}/all/reports/tiny.html")
    config = parse_config(merged(TINY, {"state": str(tmp_path / "disk")}))
    disk = Market(config, root=tmp_path / "data" / "tiny")
    assert disk.warehouse.store.url() == (tmp_path / "disk" / "tiny" / "warehouse").as_posix()
    assert disk.warehouse.store.is_local


def test_a_path_is_seen_from_the_yaml(tmp_path):
    import yaml

    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, "state": "shared"}))
    assert load_config(path).state == str(tmp_path / "shared")


def test_an_unknown_client_is_named():
    with pytest.raises(ConfigError, match="nothing://x cannot be opened"):
        open_store("nothing://x")


def test_a_host_that_cannot_be_reached_is_named():
    """The client of FTP connects as it is made; nothing listens on port 1."""
    with pytest.raises(ConfigError, match=r"ftp://127.0.0.1:1/p cannot be reached: .*check the"):
        open_store("ftp://127.0.0.1:1/p")
