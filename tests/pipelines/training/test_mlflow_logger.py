"""The logger of MLflow. Oracle: MLflow's own client, reading the store that it has written."""

from __future__ import annotations

import time

import pytest

from pipelines.training.registry import find_bundle
from pipelines.training.tracking import LOG_FILE
from tests.pipelines.conftest import materialize
from tests.pipelines.finished_markets import copy_of
from tests.pipelines.training.test_tracking import FIRST, LAST, retrain, wait_for, warnings_of

pytestmark = pytest.mark.thorough  # the logger of another package


@pytest.fixture
def mlflow():
    """The package, which takes three seconds to import."""
    return pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")


def logged(finished, tmp_path, **options):
    changes = {"tracking": {"mlflow": options}}
    return copy_of(finished, tmp_path / "tiny", changes=changes)


def eventually(look):
    """The first answer that is not empty: what is told arrives after the run."""
    for _ in range(300):
        if answer := look():
            return answer
        time.sleep(0.1)
    pytest.fail("nothing arrived")


def test_a_training_and_its_realised_ics_are_in_the_store(mlflow, finished, tmp_path, instance):
    uri = f"sqlite:///{tmp_path / 'store.db'}"
    market = logged(finished, tmp_path, experiment="us", uri=uri, tags={"desk": "one"})
    client = mlflow.MlflowClient(tracking_uri=uri)
    client.search_experiments()  # makes the store: two processes at once must not
    retrain(market, instance)

    def runs(kind):
        experiment = client.get_experiment_by_name("us")
        query = f"tags.`rnn.kind` = '{kind}'"
        return experiment and client.search_runs([experiment.experiment_id], query)

    def ended():
        return [run for run in runs("training") or [] if run.info.status == "FINISHED"]

    (run,) = eventually(ended)
    bundle = find_bundle(market, "lstm", FIRST)
    assert run.info.run_name == f"tiny lstm {FIRST}"
    assert (run.data.params["hyper.hidden_size"], run.data.params["family"]) == ("4", "lstm")
    assert run.data.tags["rnn.bundle"] == str(market.paths.models / "lstm" / FIRST)
    assert (run.data.tags["rnn.fingerprint"], run.data.tags["desk"]) == (bundle.fingerprint, "one")
    losses = client.get_metric_history(run.info.run_id, "train_loss")
    assert [m.step for m in losses] == [0, 1]
    assert [m.value for m in losses] == pytest.approx(list(bundle.history["train_loss"]))
    assert run.data.metrics["valid_rank_ic"] == bundle.manifest["valid_rank_ic"]

    def history(one):
        return client.get_metric_history(one.info.run_id, "rank_ic")

    # Two runs of the pipeline add to the one series of realised ICs.
    for key in ("2020-05-14", LAST):
        materialize(market, ["lstm_evaluation"], key, key, instance)
        last = market.sessions.position(key)
        eventually(
            lambda step=last: [m for r in runs("realised") for m in history(r) if m.step == step]
        )
    (one,) = runs("realised")
    rows = market.warehouse.read("lstm_evaluation", ["2020-05-14", LAST], needed_by="the test")
    assert [m.value for m in history(one)] == pytest.approx(list(rows.frame["rank_ic"]))
    assert not (market.paths.reports / LOG_FILE).exists()


@pytest.mark.usefixtures("mlflow")
def test_a_server_that_is_not_there_is_a_warning(finished, tmp_path, instance, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    market = logged(finished, tmp_path, uri="http://me:s3cret-w0rd@127.0.0.1:9")
    retrain(market, instance)
    line = wait_for(market.paths.reports / LOG_FILE, "tracking.mlflow: start: ")
    assert "s3cret-w0rd" not in line + "".join(warnings_of(instance))
