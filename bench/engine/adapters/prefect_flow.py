"""The flow that `prefect_tasks` runs. Prefect reads its settings when it is loaded, so this is loaded once they stand."""

import asyncio

from prefect import flow, task

from engine.bodies import body


@task(persist_result=True)
async def compute(run: int, number: int, values: list[int]) -> int:
    return body(run, number, values)


@flow(name="graph")
async def graph(run: int, needs: list[list[int]], levels: list[list[int]], sinks: list[int]) -> list[int]:
    results: dict[int, int] = {}
    for level in levels:
        tasks = [compute(run, number, [results[need] for need in needs[number]]) for number in level]
        results.update(zip(level, await asyncio.gather(*tasks), strict=True))
    return [results[sink] for sink in sinks]
