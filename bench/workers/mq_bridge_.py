"""mq-bridge: a route for each file, from its lines to Parquet objects in a local object store."""

from __future__ import annotations

from mq_bridge import Route

from bench.workers.serve import Order, serve


def run(order: Order) -> None:
    routes = []
    for number, path in enumerate(order.paths):
        (order.folder / str(number)).mkdir()
        store = {"url": f"file://{order.folder}/{number}", "format": "parquet"}
        route = Route.from_config(
            {
                "input": {"file": {"path": path, "format": "raw", "mode": "consume"}},
                "output": {"object_store": store},
                "batch_size": order.group_rows,
                "exit_on_empty": True,
            }
        )
        route.start()
        routes.append(route)
    for route in routes:
        route.join()


if __name__ == "__main__":
    serve(run)
