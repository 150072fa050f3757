"""One run of ours against an endpoint: `python -m benchmarks._runner_client URL FOLDER [RUN] [--on CLUSTER]`.

Prints the run's id first, and its last progress as JSON at the end. With RUN it resumes, with CLUSTER the
models are asked from the nodes of a cluster of Ray. The CPU time is that of the run in this process.
"""

import json
import sys
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import anyio

from crossgrade.domain import GenerationSettings, Offer, PromptTemplate, ScorerSpec, Variant, Workload
from crossgrade.evaluate import Progress, build_scorer, run_workload
from crossgrade.providers import OpenProvider, open_provider
from crossgrade.store import Store
from crossgrade.workloads import read_dataset

MODELS = ("incumbent", "candidate")


def write_dataset(path: Path, samples: int, *, salt: str = "all") -> None:
    """Write so many different questions; those of another salt are different again."""
    rows = (
        {"id": str(n), "input": f"{salt} question {n}: is water wet? Answer yes or no.", "target": "yes"}
        for n in range(samples)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


async def main(url: str, folder: Path, resume: str | None, opening: OpenProvider = open_provider) -> None:
    """Run the dataset of `folder`, or go on with the run `resume`."""
    incumbent, candidate = (
        Variant(
            offer=Offer(name=name, provider="openai-compatible", model=name, base_url=url),
            prompt=PromptTemplate(user="{input}"),
            settings=GenerationSettings(max_output_tokens=8),
        )
        for name in MODELS
    )
    data = read_dataset(folder / "data.jsonl", id_field="id")
    workload = Workload(
        name="bench",
        dataset=data.path,
        incumbent=incumbent,
        candidates=(candidate,),
        scorer=ScorerSpec(kind="exact"),
        mode="fixed",
    )
    shown: list[str] = []

    def show(progress: Progress) -> None:
        if not shown:
            shown.append(progress.run_id)
            print(progress.run_id, flush=True)

    async with AsyncExitStack() as stack:
        providers = {
            variant.name: await stack.enter_async_context(opening(variant.offer, environ={}))
            for variant in (incumbent, candidate)
        }
        with Store.open(folder / "crossgrade.db") as store:
            began = time.process_time()
            result = await run_workload(
                workload,
                data,
                providers=providers,
                scorer=build_scorer(workload.scorer),
                store=store,
                resume=resume,
                on_progress=show,
            )
            cpu_s = time.process_time() - began
    progress = result.progress
    counted = {"done": progress.done, "calls": progress.calls, "reused": progress.reused}
    print(json.dumps({**counted, "cpu_s": cpu_s}))


def run_on(address: str, url: str, folder: Path, resume: str | None) -> None:
    """Run as `main` does, on the nodes of a cluster."""
    from crossgrade.project import on_ray

    with on_ray(address) as nodes:
        anyio.run(partial(main, opening=nodes.open_provider), url, folder, resume)


if __name__ == "__main__":
    base_url, place, *rest = sys.argv[1:]
    cluster = rest.pop() if "--on" in rest else None
    resumed = next((each for each in rest if each != "--on"), None)
    if cluster is None:
        anyio.run(main, base_url, Path(place), resumed)
    else:
        run_on(cluster, base_url, Path(place), resumed)
