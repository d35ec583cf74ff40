"""`rnn-pipelines ui` as its own process, and the questions that the UI's pages ask its server.

Requests are those that the pages of Dagster's UI send (its launch dialog sends the keys of the
chosen sessions), so a test of them is a test of what a person's click does. Nothing sleeps for a
fixed time: `until` asks again until the answer is there, and says what the last one was where it
never comes.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.conftest import ROOT
from tests.ui import questions

T = TypeVar("T")

ASKED_FOR = bool(os.environ.get("RNN_UI_TESTS"))
NOT_ASKED_FOR = "minutes at the daemon's pace; RNN_UI_TESTS=1 runs it"
POLL_SECONDS = 0.25
PATIENCE = 300.0  # seconds: for a loaded machine of two cores; a quiet one never comes near
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
BACKFILL_TAG = "dagster/backfill"


@dataclass(frozen=True)
class Made:
    """A materialization.

    Attributes:
        run: that made it.
        partition: its session; None of an asset without partitions.
        metadata: kind of each entry by label.
        pictures: the text of its Markdown entries.
    """

    run: str
    partition: str | None
    metadata: Mapping[str, str]
    pictures: tuple[str, ...]


class Dev:
    """A running webserver and daemon over a data folder.

    Attributes:
        url: of the UI.
        market: whose pages are asked for.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], port: int, log: Path, market: str = "sample"
    ) -> None:
        self.market = market
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._process = process
        self._log = log
        self._repository: dict[str, str] = {}

    def ask(self, query: str, **variables: Any) -> Any:
        """The only field of a GraphQL answer.

        Raises:
            AssertionError: the server refused the question.
        """
        body = json.dumps({"query": query, "variables": variables})
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", "/graphql", body, {"Content-Type": "application/json"})
            answer = json.load(connection.getresponse())
        assert not answer.get("errors"), answer
        (field,) = answer["data"].values()
        return field

    def until(self, question: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
        """Ask until the answer is true.

        Raises:
            AssertionError: it never came, or the server has ended; with the end of its log.
        """
        ends, last = time.monotonic() + seconds, None
        while time.monotonic() < ends:
            if self._process.poll() is not None:
                raise AssertionError(f"the UI has ended before {what}:\n{self.log()}")
            last = question()
            if last:
                return last
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"no {what} in {seconds:g} s; last: {last!r}\n{self.log()}")

    def log(self, characters: int = 6000) -> str:
        """The end of what the server and the daemon have said."""
        return self._log.read_text(errors="replace")[-characters:]

    def wait_until_loaded(self) -> None:
        """Wait for the webserver, then for the code location.

        Raises:
            AssertionError: the definitions cannot be loaded, with the reason.
        """
        entry = self.until(self._loaded, "loaded code location")
        location = entry["locationOrLoadError"]
        assert location["__typename"] == "RepositoryLocation", location
        self._repository = {
            "repositoryLocationName": location["name"],
            "repositoryName": location["repositories"][0]["name"],
        }

    def locations(self) -> dict[str, Any]:
        """The code locations by name."""
        return {e["name"]: e for e in self.ask(questions.LOCATIONS)["locationEntries"]}

    def _loaded(self) -> Any:
        try:
            entries = self.ask(questions.LOCATIONS)["locationEntries"]
        except (OSError, http.client.HTTPException, ValueError):
            return None  # not listening yet
        own = [entry for entry in entries if entry["name"] == self.market]
        return own[0] if own and own[0]["loadStatus"] == "LOADED" else None

    def _asset(self, name: str, market: str | None = None) -> dict[str, list[str]]:
        return {"path": [market or self.market, name]}

    def backfill(self, assets: Sequence[str], keys: Sequence[str], job: str | None = None) -> str:
        """Press `Launch backfill` for assets and sessions; returns the backfill's id.

        Args:
            assets: that are chosen, all of the job's where one is given.
            keys: sessions.
            job: whose page it is pressed on; without one, that of the lineage or of an asset.
        """
        params: dict[str, Any] = {
            "assetSelection": [self._asset(name) for name in assets],
            "partitionNames": list(keys),
            "tags": [{"key": "dagster/from_ui", "value": "true"}],
            "fromFailure": False,
        }
        if job is not None:
            set_name = f"{self.market}_{job}_partition_set"
            params["selector"] = {
                "partitionSetName": set_name,
                "repositorySelector": self._repository,
            }
        answer = self.ask(questions.LAUNCH, params=params)
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        return str(answer["backfillId"])

    def launch(self, job: str) -> str:
        """Press `Launch run` of a job without partitions; returns the run's id."""
        selector = {**self._repository, "pipelineName": f"{self.market}_{job}"}
        answer = self.ask(
            questions.LAUNCH_JOB,
            params={"selector": selector, "runConfigData": "{}", "mode": "default"},
        )
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return answer["run"]["runId"]

    def terminate(self, run: str) -> None:
        """Press `Terminate` of a run."""
        answer = self.ask(questions.TERMINATE, runs=[run])
        assert answer["__typename"] == "TerminateRunsResult", answer
        (result,) = answer["terminateRunResults"]
        assert result["__typename"] == "TerminateRunSuccess", answer

    def runs_of(self, backfill: str) -> list[dict[str, Any]]:
        """The runs that a backfill has launched."""
        wanted = {"tags": [{"key": BACKFILL_TAG, "value": backfill}]}
        return self.ask(questions.RUNS, filter=wanted)["results"]

    def run(self, run: str) -> dict[str, Any]:
        """A run."""
        (found,) = self.ask(questions.RUNS, filter={"runIds": [run]})["results"]
        return found

    def first_run_of(self, backfill: str) -> str:
        """The first run of a backfill, as soon as the daemon has launched it."""
        (run, *_) = self.until(lambda: self.runs_of(backfill), f"run of backfill {backfill}")
        return run["runId"]

    def succeeded(self, run: str) -> None:
        """Wait for the end of a run, which must be a good one.

        Raises:
            AssertionError: it is not, with what its failed steps said.
        """
        status = self.ended(run)
        assert status == "SUCCESS", f"run {run} ended as {status}: {self.failures(run)}"

    def failures(self, run: str) -> list[dict[str, Any]]:
        """The events of a run that say why it failed."""
        events = self.ask(questions.FAILURES, run=run)["events"]
        return [event for event in events if len(event) > 1]

    def ended(self, run: str) -> str:
        """Wait for the end of a run; returns its status."""

        def status() -> str | None:
            now = self.run(run)["status"]
            return now if now in ENDED else None

        return self.until(status, f"end of run {run}")

    def status_of(self, backfill: str) -> str:
        """The status of a backfill."""
        found = self.ask(questions.BACKFILL, id=backfill)
        assert found["error"] is None, found
        return found["status"]

    def completed(self, backfill: str) -> None:
        """Wait until the daemon has seen that a backfill is complete."""
        done = {"COMPLETED_SUCCESS", "COMPLETED_FAILED", "COMPLETED", "FAILED", "CANCELED"}

        def status() -> str | None:
            now = self.status_of(backfill)
            return now if now in done else None

        assert self.until(status, f"end of backfill {backfill}") == "COMPLETED_SUCCESS"

    def made(
        self, asset: str, partitions: Sequence[str] | None = None, market: str | None = None
    ) -> list[Made]:
        """The materializations of an asset, the newest first."""
        key = self._asset(asset, market)
        answer = self.ask(questions.MADE, asset=key, partitions=partitions)
        if answer["__typename"] == "AssetNotFoundError":
            return []
        return [
            Made(
                event["runId"],
                event["partition"],
                {entry["label"]: entry["__typename"] for entry in event["metadataEntries"]},
                tuple(e["mdStr"] for e in event["metadataEntries"] if "mdStr" in e),
            )
            for event in answer["assetMaterializations"]
        ]

    def checks(self, asset: str) -> list[dict[str, Any]]:
        """The checks of an asset, each with its newest evaluation."""
        found = self.ask(questions.CHECKS, asset=self._asset(asset))["assetChecksOrError"]
        return found.get("checks", [])


@contextlib.contextmanager
def running(
    folder: Path, environment: Mapping[str, str], log: Path, market: str = "sample"
) -> Iterator[Dev]:
    """`rnn-pipelines ui` over all markets, until the block ends; nothing of it outlives the block.

    It is started beside the YAMLs, as by a person who has installed the package and has no
    checkout.

    Args:
        folder: where the YAMLs lie.
        environment: of the process, with the data folder.
        log: where its output goes.
        market: whose pages are asked for.

    Raises:
        AssertionError: a process of it was left after it had been asked to end.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*CLI, "ui", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,  # no project far and wide
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    dev = Dev(process, port, log, market)
    left: list[int] = []
    try:
        dev.wait_until_loaded()
        yield dev
    finally:
        left = end(process)
    assert not left, f"processes {left} of the UI outlived it:\n{dev.log()}"


def end(process: subprocess.Popen[bytes], patience: float = 60.0) -> list[int]:
    """`kill` for the command that leads a session, and SIGKILL for what is left of the session.

    Returns:
        The processes that had to be killed.
    """
    if process.poll() is None:
        process.terminate()
    ends = time.monotonic() + patience
    while time.monotonic() < ends and (process.poll() is None or session_of(process.pid)):
        time.sleep(POLL_SECONDS)
    left = session_of(process.pid)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    return left


def session_of(leader: int) -> list[int]:
    """The living processes of a session, by the kernel's list; [] where there is none."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            state, _, _, session = stat.read_text().rsplit(")", 1)[1].split()[:4]
            if int(session) == leader and state != "Z":
                found.append(int(stat.parent.name))
    return found


CLI = [str(Path(sys.executable).with_name("rnn-pipelines"))]


def command(environment: Mapping[str, str], *arguments: str) -> str:
    """A command of `rnn-pipelines`, run to its end; returns what it said."""
    done = subprocess.run(
        [*CLI, *arguments],
        cwd=ROOT,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
