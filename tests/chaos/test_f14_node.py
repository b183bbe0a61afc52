"""F14, F15: a node is lost, or its raylet alone; it comes back as another Ray node of the same host
with its disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_volume import scaled
from ray_nodes import RayNodes

from chaos.hosts import Hosts, node_options
from chaos.rows import KEYED, SPOOL, TAIL
from chaos.scene import local_place, scene
from chaos.watcher import wait_for
from rayflume.agent.placement import alive_nodes
from rayflume.clock import SystemClock

HOST = 7
LOSSES = ["f14_whole_node", "f15_raylet_alone"][: scaled(1)]
"""A raylet alone is killed in the chaos of every run."""
pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def hosts(ray_cluster: RayNodes) -> Iterator[Hosts]:
    """The cluster of the run with one node more, which may die: host 7."""
    found = Hosts(ray_cluster.cluster, [])
    found.nodes[HOST] = ray_cluster.cluster.add_node(**node_options(HOST))
    yield found
    for node in found.nodes.values():
        found.end(node)


@pytest.mark.parametrize("what", LOSSES)
def test_a_host_that_comes_back_goes_on_with_its_files_and_its_journal(
    hosts: Hosts, tmp_path: Path, what: str
) -> None:
    place = local_place(tmp_path, hosts=(HOST, HOST))
    with scene(place, hosts.address, [TAIL, SPOOL, KEYED]) as at:
        node = str(hosts.nodes[HOST].node_id)
        kill = hosts.kill if what == "f14_whole_node" else hosts.kill_raylet
        kill(HOST)
        assert wait_for(lambda: node not in alive_nodes(), 90, 0.2)
        assert wait_for(lambda: "waiting" in at.plant.part_error("wal-local"), 60, 0.2)
        hosts.back(HOST)
        at.await_flow(SystemClock().monotonic_ms())
        assert at.part("tail")["node"] == str(hosts.nodes[HOST].node_id)[:12]
        at.finish()


def test_f14_a_host_whose_disk_is_lost_is_said_to_be_awaited_and_no_journal_begun_anew(
    hosts: Hosts, tmp_path: Path
) -> None:
    """Nothing is begun silently where rows may be missing: an operator says `--new-journal`."""
    place = local_place(tmp_path, hosts=(HOST, HOST))
    with scene(place, hosts.address, [TAIL]) as at:
        node = str(hosts.nodes[HOST].node_id)
        hosts.kill(HOST)
        assert wait_for(lambda: node not in alive_nodes(), 90, 0.2)
        place.journal("local").rename(place.folder / "lost")
        hosts.back(HOST)
        assert wait_for(lambda: at.plant.part_error("wal-local").count("--new-journal") == 1, 60)
        assert not place.journal("local").exists()
