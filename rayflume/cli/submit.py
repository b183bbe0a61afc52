"""`rayflume submit CONF`: an agent as a job of a Ray cluster, through its dashboard."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import rayflume
from rayflume.cli._conf import CLUSTER, FlumeOptions, for_flume, plan_of, yaml_of
from rayflume.cli._output import complain, interactive, printable, say
from rayflume.cli.run_ import Grace, grace_of
from rayflume.cli.validate import AgentName, Conf
from rayflume.errors import ConfigError, RayflumeError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

    from rayflume.config import AgentPlan

STOP_MARGIN_S = 30
"""For the parts to stop after the grace is over, before Ray kills the job."""

_CHATTY = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)


def add(app: typer.Typer) -> None:
    """Register the command."""
    app.command("submit")(submit)


@for_flume
def submit(
    conf: Conf,
    address: Annotated[
        str,
        typer.Option(metavar="URL", help="Dashboard of the cluster, as http://HEAD:8265."),
    ],
    agent: AgentName = None,
    until_drained: Annotated[
        bool,
        typer.Option(
            "--until-drained", help="End once finite input is read and every row is delivered."
        ),
    ] = False,
    new_journal: Annotated[
        bool,
        typer.Option(
            "--new-journal", help="Begin an empty journal where no node has the earlier one."
        ),
    ] = False,
    grace: Grace = "60s",
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Show the job's log until it ends.")
    ] = True,
    *,
    flume: FlumeOptions,
) -> None:
    """Run an agent as a Ray job; `ray job stop` drains it.

    The configuration travels, a Flume file as the YAML that `rayflume convert` prints, and with it
    the Python modules beside it that hold parts of your own. Variables such as ${NAME} are read on
    the cluster, so no secret is in the job. Local paths must not be relative. Ctrl-C leaves the job
    running.

    Example:  rayflume submit conf/clickstream.yaml --address http://head:8265
    """
    from rayflume.agent.paths import refuse_relative

    grace_s = -(-grace_of(grace) // 1000)
    plan = plan_of(conf, agent, flume, Elsewhere(), CLUSTER)
    refuse_relative(plan)
    client = _client(address)
    options = ["--grace", str(grace_s), "--agent", plan.agent]
    options += ["--until-drained"] if until_drained else []
    options += ["--new-journal"] if new_journal else []
    job = _submit(client, yaml_of(conf, agent, flume), plan, options)
    say(f"job {job} runs the agent {plan.agent}", "bold")
    if not wait:
        say(f"ray job logs {job} --address {address}    ray job stop {job} --address {address}")
        return
    try:
        asyncio.run(_follow(client, job))
    except KeyboardInterrupt:
        say(f"the job goes on; `ray job stop {job} --address {address}` drains it")
        return
    _end(client, job)


class Elsewhere(Mapping[str, str]):
    """The environment of another host: this one's, and a stand-in for what is not set here."""

    def __getitem__(self, name: str) -> str:
        return os.environ.get(name, "1")

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(os.environ)

    def __len__(self) -> int:
        return len(os.environ)


def entry_script() -> Path:
    """`jobs/ingest.py`, in an installed package or in a checkout."""
    package = Path(rayflume.__file__).parent
    places = [package / "jobs" / "ingest.py", package.parent / "jobs" / "ingest.py"]
    return next(place for place in places if place.is_file())


def _client(address: str) -> JobSubmissionClient:
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"{address!r} is no dashboard: write it as http://HEAD:8265")
    from ray.job_submission import JobSubmissionClient

    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        return JobSubmissionClient(address)
    except Exception as error:  # requests, urllib3 and Ray each have their own
        raise ConfigError(f"no Ray dashboard at {address}: {_reason(error)}") from error


def _submit(client: JobSubmissionClient, conf: bytes, plan: AgentPlan, options: list[str]) -> str:
    with tempfile.TemporaryDirectory(prefix="rayflume-") as directory:
        (Path(directory) / "conf.yaml").write_bytes(conf)
        shutil.copyfile(entry_script(), Path(directory) / "ingest.py")
        _copy_modules(plan.modules(), Path(directory))
        stop_wait_s = int(options[options.index("--grace") + 1]) + STOP_MARGIN_S
        runtime_env = {
            "working_dir": directory,
            "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(stop_wait_s)},
        }
        # `exec`: Ray signals the shell too, and a shell would not wait for its child.
        command = f"exec python ingest.py conf.yaml {shlex.join(options)}"
        try:
            return str(
                client.submit_job(
                    entrypoint=command, runtime_env=runtime_env, metadata={"rayflume": plan.agent}
                )
            )
        except Exception as error:
            raise RayflumeError(f"the job was not accepted: {_reason(error)}") from error


def _copy_modules(modules: Sequence[Path], directory: Path) -> None:
    for path in modules:
        if path.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(path, directory / path.name, ignore=ignored)
        else:
            shutil.copyfile(path, directory / path.name)


async def _follow(client: JobSubmissionClient, job: str) -> None:
    async for text in client.tail_job_logs(job):
        shown = "\n".join(printable(line.expandtabs()) for line in text.split("\n"))
        sys.stdout.write(shown)
        sys.stdout.flush()


def _end(client: JobSubmissionClient, job: str) -> None:
    info = client.get_job_info(job)
    state = str(info.status).removeprefix("JobStatus.").lower()
    say(f"job {job}: {state}", "bold" if interactive() else "")
    if state == "failed":
        code = info.driver_exit_code
        if code is None:
            complain([f"the job failed before it began: {(info.message or '').strip()[-500:]}"])
        raise typer.Exit(2 if code == 2 else 1)


def _reason(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip().rstrip(".")[:300] if lines else type(error).__name__
