"""How the decisions of the supervisor and the channels grow with the cluster: no Ray, no sleep.

make scale                             10, 100 and 1,000 nodes with ten sources each
python -m bench.scale --nodes 10,100 --repeats 1 --only take

Exit code 1 when the total of a kind of decision grows faster than n log n.
"""

from __future__ import annotations

import argparse
import logging
import sys

from bench.scale import agent_cases, channel_cases
from bench.scale.measure import EXPONENT_MAX, Result, measure, table


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", default="10,100,1000", help="sizes of the cluster")
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many counts")
    parser.add_argument("--only", default="", help="cases with this in their name")
    args = parser.parse_args()
    nodes = tuple(sorted(int(text) for text in args.nodes.split(",")))
    # Thousands of lost holders are told one by one, and that is not a decision.
    logging.disable(logging.CRITICAL)
    results: list[Result] = []
    for case in [*agent_cases.cases(nodes), *channel_cases.cases(nodes)]:
        if args.only in case.name:
            result = measure(case, args.repeats)
            print("\n".join(table([result])[0 if not results else 2 :]), flush=True)
            results.append(result)
    growing = [result.case.name for result in results if result.grows()]
    verdict = f"not so: {', '.join(growing)}" if growing else "all of them"
    print(f"\n{len(results)} kinds of decision; the exponent is at most {EXPONENT_MAX}: {verdict}")
    return 1 if growing else 0


if __name__ == "__main__":
    sys.exit(main())
