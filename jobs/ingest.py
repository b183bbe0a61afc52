"""Entry point for `ray job submit`: run an agent as a job, drain it when the job is stopped.

    ray job submit --working-dir . -- python jobs/ingest.py conf/clickstream.yaml

Ray kills a stopped job after 3 s unless the environment of the job sets RAY_JOB_STOP_WAIT_TIME_S to
more than `--grace`; `rayflume submit` does.
"""

from __future__ import annotations

import argparse
import sys

from rayflume import ConfigError, RayflumeError
from rayflume.agent import cluster
from rayflume.agent.figures import AgentFigures
from rayflume.agent.follow import Follow, Follower, Signals, outcome
from rayflume.agent.paths import refuse_relative
from rayflume.agent.plan_store import Record
from rayflume.cli._progress import Progress, summary
from rayflume.clock import SystemClock
from rayflume.flume.read import load


def ingest(arguments: argparse.Namespace) -> AgentFigures:
    """Run the agent to its end. Blocks."""
    plan = load(arguments.conf, arguments.agent)
    refuse_relative(plan)
    cluster.connect("auto")
    record = Record(plan, until_drained=arguments.until_drained, new_journal=arguments.new_journal)
    with Signals().caught() as signals, Progress() as progress:
        agent = cluster.start_agent(record, detached=False)
        options = Follow(progress.show, progress.say, arguments.grace * 1000)
        figures = Follower(agent, options, SystemClock()).run(signals)
    agent.close()
    return figures


def main() -> int:
    """Exit code 0 drained or stopped, 1 a part failed or nothing got through, 2 wrong usage."""
    parser = argparse.ArgumentParser(description="Run a rayflume agent as a Ray job.")
    parser.add_argument("conf")
    parser.add_argument("--agent")
    parser.add_argument("--grace", type=int, default=60, help="seconds to drain when stopped")
    parser.add_argument("--until-drained", action="store_true")
    parser.add_argument("--new-journal", action="store_true")
    options = parser.parse_args()
    try:
        figures = ingest(options)
    except RayflumeError as error:
        print(f"rayflume: {error.message}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    summary(figures)
    nothing = options.until_drained and figures.all_dead
    return 0 if outcome(figures.status) in ("drained", "stopped") and not nothing else 1


if __name__ == "__main__":
    sys.exit(main())
