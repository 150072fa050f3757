"""Models on the nodes of a cluster, whose desks are plain objects here; tests/e2e/test_ray.py has a real cluster."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from crossgrade.domain import ModelAnswer, ModelRequest, Offer, Usage
from crossgrade.errors import AuthError, CrossgradeError, UpstreamError
from crossgrade.project import Project
from crossgrade.project._ray import _caller, _sizes
from crossgrade.project._ray_desk import Desk, DeskFacts, OpenModel
from crossgrade.project._ray_models import DeskLostError, Mailbox, ModelOnNodes, Place, open_on_nodes
from crossgrade.testing import FakeProvider
from tests.codes import raises_code

OFFER = Offer(name="new", provider="openai-compatible", model="m")
REQUEST = ModelRequest(model="m", text="Is it so?")
FACTS = DeskFacts(account="a", base_url="http://host/v1", identity=None, places=None)


class Node:
    """A node with a desk, whose model says the node's name once the `gate` is open.

    Each error of `fails` is raised by one call. `closed` are the keys of models that were closed there.
    """

    def __init__(self, name: str, facts: DeskFacts | Exception = FACTS) -> None:
        self.name, self.facts = name, facts
        self.fails: list[Exception] = []
        self.asked: list[int] = []
        self.closed: list[int] = []
        self.gate: asyncio.Event | None = None
        self.desk = Desk()

    async def ask(self, _request: ModelRequest) -> ModelAnswer:
        if self.gate is not None:
            await self.gate.wait()
        return ModelAnswer(text=self.name, usage=Usage(input_tokens=1, output_tokens=1))

    @property
    def places(self) -> int | None:
        return self.facts.places if isinstance(self.facts, DeskFacts) else None

    async def call(self, method: str, argument: Any) -> Any:
        if method == "close":
            self.closed.append(argument)
            return await self.desk.close(argument)
        if self.fails:
            raise self.fails.pop(0)
        if method == "exchange":
            self.asked.append(len(argument))
            return await self.desk.exchange(argument)
        if isinstance(self.facts, Exception):
            raise self.facts
        opened = OpenModel(OFFER, {})
        opened._provider = self  # type: ignore[assignment]  # of a provider only `ask` is called here
        self.desk._models[argument[0]] = opened
        return self.facts


def on(nodes: Sequence[Node], use: Callable[..., Any], *, models: int = 1) -> None:
    """Open the offer on these nodes, as often as there are to be models, and use these."""

    def place() -> list[Place]:
        return placed

    async def main() -> None:
        async with AsyncExitStack() as opened:
            use_these = [await opened.enter_async_context(open_on_nodes(OFFER, place)) for _ in range(models)]
            await use(*use_these)

    placed = [Place(node=node.name, call=node.call, handle=node) for node in nodes]
    try:
        anyio.run(main)
    finally:
        assert all(len(node.closed) in {1, models} for node in nodes)


async def nothing(_model: ModelOnNodes) -> None:
    """Ask nothing."""


def test_a_request_goes_to_the_node_with_the_fewest_under_way() -> None:
    first, second = Node("one"), Node("two")

    async def use(model: ModelOnNodes) -> None:
        first.gate = asyncio.Event()
        slow = asyncio.create_task(model.ask(REQUEST))
        await asyncio.sleep(0)
        assert [(await model.ask(REQUEST)).text for _ in range(3)] == ["two"] * 3
        first.gate.set()
        assert (await slow).text == "one"

    on([first, second], use)
    assert (sum(first.asked), sum(second.asked)) == (1, 3)


def test_requests_and_answers_travel_in_groups() -> None:
    """Thirty requests at once are one message to the desk, and their answers one from it."""
    only = Node("one")

    async def use(model: ModelOnNodes) -> None:
        answers = await asyncio.gather(*(model.ask(REQUEST) for _ in range(30)))
        assert [each.text for each in answers] == ["one"] * 30

    on([only], use)
    assert only.asked == [30]


def test_models_of_a_run_share_a_message() -> None:
    only = Node("one")

    async def use(*models: ModelOnNodes) -> None:
        answers = await asyncio.gather(*(model.ask(REQUEST) for model in models for _ in range(10)))
        assert [each.text for each in answers] == ["one"] * 30

    on([only], use, models=3)
    assert only.asked == [30]


def test_a_local_models_request_does_not_gather(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would leave one of the model's places empty meanwhile."""
    for module in ("_ray_desk", "_ray_models"):
        monkeypatch.setattr(f"crossgrade.project.{module}.GATHER_S", 3_600)
    only = Node("one", DeskFacts(account="local m", base_url=None, identity="sha256:1", places=2))

    async def use(model: ModelOnNodes) -> None:
        for _ in range(3):
            await model.ask(REQUEST)

    on([only], use)
    assert only.asked == [1] * 3


def test_a_model_of_a_desk_that_was_started_again_is_opened_there_again() -> None:
    """Whoever had no request under way learns of a new process only from its answer."""
    only = Node("one")

    async def use(model: ModelOnNodes) -> None:
        await model.ask(REQUEST)
        only.desk = Desk()
        with pytest.raises(UpstreamError) as lost:
            await model.ask(REQUEST)
        assert (lost.value.code, lost.value.retryable) == ("node-lost", True)
        assert (await model.ask(REQUEST)).text == "one"

    on([only], use)


def test_a_slow_answer_keeps_no_other_request_waiting() -> None:
    only = Node("one")

    async def use(model: ModelOnNodes) -> None:
        only.gate = asyncio.Event()
        slow = asyncio.create_task(model.ask(REQUEST))
        while not only.asked:  # noqa: ASYNC110 -- a message has no event
            await asyncio.sleep(0.001)
        only.gate, gate = None, only.gate
        assert (await model.ask(REQUEST)).text == "one"
        assert not slow.done()
        gate.set()
        assert (await slow).text == "one"

    on([only], use)
    assert sum(only.asked) == 2


def test_what_a_desk_raises_reaches_the_request_that_it_is_of() -> None:
    only = Node("one")
    answers: dict[str, ModelAnswer | Exception] = {
        "a": ModelAnswer(text="fine"),
        "b": AuthError("no", code="key-refused", status=401),
        "c": ValueError("an error that no other machine may know"),
    }

    async def ask(request: ModelRequest) -> ModelAnswer:
        answer = answers[str(request.text)]
        if isinstance(answer, Exception):
            raise answer
        return answer

    only.ask = ask  # type: ignore[method-assign]  # the model of this test alone

    async def use(model: ModelOnNodes) -> None:
        asked = (model.ask(ModelRequest(model="m", text=each)) for each in answers)
        fine, ours, other = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(fine, ModelAnswer)
        assert isinstance(ours, AuthError)
        assert ours.code == "key-refused"
        assert isinstance(other, RuntimeError)
        assert "an error that no other machine may know" in str(other)

    on([only], use)


def test_a_request_that_nobody_waits_for_any_more_disturbs_no_other() -> None:
    only = Node("one")

    async def use(model: ModelOnNodes) -> None:
        only.gate = asyncio.Event()
        left, stays = (asyncio.create_task(model.ask(REQUEST)) for _ in range(2))
        await asyncio.sleep(0)
        left.cancel()
        only.gate.set()
        assert (await stays).text == "one"
        assert left.cancelled()

    on([only], use)


def test_a_request_whose_caller_left_before_it_was_sent_is_not_sent() -> None:
    only = Node("one")

    async def use(model: ModelOnNodes) -> None:
        left, stays = (asyncio.create_task(model.ask(REQUEST)) for _ in range(2))
        await asyncio.sleep(0)
        left.cancel()
        assert (await stays).text == "one"

    on([only], use)
    assert only.asked == [1]


def test_two_exchanges_that_come_back_at_once_leave_nobody_waiting() -> None:
    out: list[asyncio.Future[Any]] = []

    async def call(_method: str, _group: Any) -> Any:
        out.append(asyncio.get_running_loop().create_future())
        return await out[-1]

    async def called(times: int) -> None:
        while len(out) < times:  # noqa: ASYNC110 -- a message has no event
            await asyncio.sleep(0)

    async def main() -> None:
        mailbox = Mailbox(call)
        slow = asyncio.create_task(mailbox.ask(1, REQUEST, is_pressing=True))
        await called(1)
        fast = asyncio.create_task(mailbox.ask(1, REQUEST, is_pressing=True))
        await called(2)
        out[0].set_result([])
        out[1].set_result([(2, ModelAnswer(text="fast"))])
        assert (await fast).text == "fast"
        async with asyncio.timeout(10):
            await called(3)
        out[2].set_result([(1, ModelAnswer(text="slow"))])
        assert (await slow).text == "slow"

    asyncio.run(main())


def test_nodes_without_the_model_are_left_out_and_places_add_up() -> None:
    local = DeskFacts(account="local m", base_url=None, identity="sha256:1", places=2)
    no_key = AuthError("NEW_KEY is not set", code="key-not-set")

    async def use(model: ModelOnNodes) -> None:
        assert (model.name, model.account, model.identity, model.places) == ("new", "local m", "sha256:1", 4)
        assert {(await model.ask(REQUEST)).text for _ in range(4)} <= {"two", "three"}

    on([Node("one", no_key), Node("two", local), Node("three", local)], use)
    with raises_code("key-not-set", "one", "NEW_KEY"):
        on([Node("one", no_key), Node("two", no_key)], nothing)


def test_nodes_that_run_another_model_are_an_error() -> None:
    here, there = (
        DeskFacts(account="local m", base_url=None, identity=each, places=1)
        for each in ("sha256:1", "sha256:2")
    )
    with raises_code("node-model-differs", "one", "two", "new"):
        on([Node("one", here), Node("two", there)], nothing)


def test_a_lost_node_fails_the_request_and_is_not_asked_again() -> None:
    first, second = Node("one"), Node("two")

    async def use(model: ModelOnNodes) -> None:
        await model.ask(REQUEST)
        first.fails.append(DeskLostError("gone", for_good=True))
        with pytest.raises(UpstreamError) as lost:
            await model.ask(REQUEST)
        assert (lost.value.code, lost.value.retryable) == ("node-lost", True)
        assert [(await model.ask(REQUEST)).text for _ in range(3)] == ["two"] * 3
        second.fails.append(DeskLostError("gone", for_good=True))
        with pytest.raises(UpstreamError):
            await model.ask(REQUEST)
        with raises_code("worker-lost", "new"):
            await model.ask(REQUEST)

    on([first, second], use)


def test_a_desk_that_is_started_again_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossgrade.project._ray_models._STARTING_S", 0.001)
    only = Node("one")

    async def use(model: ModelOnNodes) -> None:
        await model.ask(REQUEST)
        only.fails += [DeskLostError("killed", for_good=False)] * 3
        with pytest.raises(UpstreamError):
            await model.ask(REQUEST)
        assert (await model.ask(REQUEST)).text == "one"

    on([only], use)


def test_a_desk_asks_where_it_is_with_the_keys_of_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_KEY", "sk-node")

    async def main() -> None:
        with FakeProvider("yes", api_key="sk-node") as fake:
            offer = Offer(
                name="new", provider="openai-compatible", model="fake-model", base_url=fake.base_url,
                api_key_env="NODE_KEY",
            )  # fmt: skip
            desk = Desk()
            facts = await desk.facts((3, offer, {}))
            assert (facts.base_url, facts.places, facts.identity) == (fake.base_url, None, None)
            request = ModelRequest(model="fake-model", text="x")
            ((number, answer),) = await desk.exchange([(7, 3, request)])
            assert isinstance(answer, ModelAnswer)
            assert (number, answer.text) == (7, "yes")
            embedded = await desk.embed((3, ["x"]))
            assert embedded is not None
            assert embedded.vectors
            await desk.close(3)
            assert await desk.embed((3, ["x"])) is None
            assert await desk.exchange([(8, 3, request)]) == [(8, None)]

    anyio.run(main)


def test_an_address_of_the_node_itself_at_which_nothing_listens_is_not_there() -> None:
    async def main() -> None:
        offer = Offer(name="new", provider="openai-compatible", model="m", base_url="http://127.0.0.1:9/v1")
        with raises_code("connect-failed", "127.0.0.1:9"):
            await Desk().facts((1, offer, {}))

    anyio.run(main)


def test_errors_of_ours_travel() -> None:
    """Ray pickles what a desk raises: code, hint and fields must stay."""
    import pickle

    error = AuthError("no", code="key-not-set", provider="groq", status=401, hint="set it")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, CrossgradeError)
    assert (again.message, again.code, again.hint, again.status) == ("no", "key-not-set", "set it", 401)


def test_an_answer_may_come_after_nobody_waits_for_it_any_more() -> None:
    pytest.importorskip("ray")
    answer: Future[int] = Future()
    method = SimpleNamespace(remote=lambda _argument: SimpleNamespace(future=lambda: answer))

    async def ask_and_leave() -> None:
        asking = asyncio.ensure_future(
            _caller(SimpleNamespace(facts=method, exchange=method, embed=method, close=method))("facts", 1)
        )
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(ask_and_leave())
    answer.set_result(1)  # as Ray does, which would print a traceback


def test_the_project_is_at_the_same_place_on_every_node() -> None:
    """Processes of Ray have working folders of their own."""
    roots: list[Any] = []

    async def call(method: str, argument: Any) -> Any:
        if method == "facts":
            roots.append(argument[2]["root"])
        return FACTS

    async def main() -> None:
        place = Place(node="a", call=call, handle=None)
        async with open_on_nodes(OFFER, lambda: [place], root=Path("models")):
            pass

    anyio.run(main)
    assert roots == [Path.cwd() / "models"]


def test_a_path_of_a_model_counts_from_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xllamacpp")
    (tmp_path / "mine.gguf").write_bytes(b"no model")
    config = tmp_path / "crossgrade.yaml"
    config.write_text("models: {new: {provider: local, model: ./mine.gguf}}", encoding="utf-8")
    monkeypatch.chdir("/")

    async def main() -> None:
        with Project.open(config) as project:
            opening = project.open_provider(project.config.offers["new"], environ={})
        with raises_code("model-file-invalid", str(tmp_path)):
            async with opening:
                pass

    anyio.run(main)


def test_a_folder_is_no_file_of_a_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"four")
    assert _sizes([str(tmp_path / "log"), str(tmp_path), str(tmp_path / "gone")]) == [4, None, None]
