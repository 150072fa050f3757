"""Local models in a managed child process, tried with a tiny random model and with a real one."""

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from crossgrade.dialects import as_schema_request, as_tool_call, call_schema, forced_tools
from crossgrade.domain import (
    GenerationSettings,
    GrammarRequest,
    Message,
    ModelAnswer,
    ModelRequest,
    Offer,
    Tool,
)
from crossgrade.errors import (
    ContextTooLongError,
    MissingExtraError,
    NotFoundError,
)
from crossgrade.providers.local import LocalProvider, open_local
from crossgrade.providers.local_process import LocalSettings, start_process
from crossgrade.providers.models import describe_file
from crossgrade.tuning._changes import label_grammar
from tests.codes import raises_code

NEEDS_ENGINE = pytest.mark.needs("module:xllamacpp")
SMOLLM2 = "smollm2-135m-instruct"

WEATHER = Tool(
    name="get_weather",
    description="Weather of a city.",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
)
CLOCK = Tool(name="get_time", description="The time now.")


def text_request(text="Where is it?", count=4):
    return ModelRequest(model="tiny", text=text, settings=GenerationSettings(max_output_tokens=count))


def tool_request(choice, *, text=None):
    messages = () if text else (Message(role="user", content="What is the weather in Paris?"),)
    return ModelRequest(
        model=SMOLLM2, messages=messages, text=text, tools=(WEATHER, CLOCK), tool_choice=choice,
        settings=GenerationSettings(max_output_tokens=60),
    )  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A GGUF file of a tiny random Llama 4."""
    helper = Path(__file__).parents[2] / "llama4" / "tiny_llama4.py"
    spec = importlib.util.spec_from_file_location("tiny_llama4", helper)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path = tmp_path_factory.mktemp("local") / "tiny.gguf"
    module.write_gguf(path, module.random_weights(seed=4))
    return path


@asynccontextmanager
async def opened(path, **settings):
    offer = Offer(name="new", provider="local", model=str(path), context_tokens=512)
    chosen = LocalSettings(**settings) if settings else None
    async with open_local(offer, environ=os.environ, settings=chosen) as provider:
        yield provider


def command_line(pid):
    return Path(f"/proc/{pid}/cmdline").read_text()


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@NEEDS_ENGINE
class TestChild:
    def test_starts_with_the_first_question_and_ends_with_the_block(self, tiny):
        async def main():
            async with opened(tiny) as provider:
                assert provider.process_id is None
                answer = await provider.ask(text_request())
                pid = provider.process_id
                assert is_running(pid)
                assert await provider.ask(text_request()) == replace(
                    answer, latency_ms=pytest.approx(1e3, abs=1e9)
                )
                assert provider.process_id == pid
            return answer, pid

        answer, pid = asyncio.run(main())
        assert not is_running(pid)
        digest = describe_file(tiny).sha256[:12]
        assert answer.runtime.startswith("xllamacpp 20")
        assert answer.runtime.endswith(f" sha256:{digest} threads=1 slots=1 context=512 cache=off")
        assert (answer.usage.output_tokens, answer.usage.cache_read_input_tokens) == (4, 0)
        assert answer.latency_ms > 0

    def test_its_identity_names_the_file_by_content_and_how_it_is_run(self, tiny):
        async def main():
            async with opened(tiny) as provider:
                return provider.identity

        wanted = f"sha256:{describe_file(tiny).sha256} threads=1 slots=1 context=512 cache=off"
        assert asyncio.run(main()) == wanted

    def test_streams_where_the_first_token_is_to_be_timed(self, tiny):
        async def main():
            offer = Offer(name="new", provider="local", model=str(tiny))
            async with open_local(offer, environ={}, measure_ttft=True) as provider:
                return await provider.ask(text_request())

        answer = asyncio.run(main())
        assert 0 < answer.ttft_ms <= answer.latency_ms

    def test_listens_on_loopback_and_wants_its_key(self, tiny):
        async def main():
            process = await start_process(describe_file(tiny), LocalSettings(context_tokens=64), alias="tiny")
            try:
                assert process.base_url.startswith("http://127.0.0.1:")
                assert process.api_key not in command_line(process.pid)
                request = urllib.request.Request(f"{process.base_url}/completions", data=b'{"prompt": "a"}')
                with pytest.raises(urllib.error.HTTPError) as caught:
                    await asyncio.to_thread(urllib.request.urlopen, request)
                caught.value.close()
                return caught.value.code
            finally:
                await process.stop()

        assert asyncio.run(main()) == 401

    def test_goes_when_its_parent_is_killed(self, tiny):
        script = (
            "import asyncio, sys\n"
            "from crossgrade.providers.local_process import LocalSettings, start_process\n"
            "from crossgrade.providers.models import describe_file\n"
            "from pathlib import Path\n"
            "async def main():\n"
            "    model = describe_file(Path(sys.argv[1]))\n"
            "    process = await start_process(model, LocalSettings(context_tokens=64), alias='tiny')\n"
            "    print(process.pid, flush=True)\n"
            "    await asyncio.Event().wait()\n"
            "asyncio.run(main())\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", script, str(tiny)], stdout=subprocess.PIPE, text=True
        ) as parent:
            child = int(parent.stdout.readline())
            watch = os.pidfd_open(child)
            parent.kill()
        with os.fdopen(watch, "rb", closefd=True) as handle:
            assert _readable(handle, 20), "the child outlived its parent"

    def test_more_questions_than_slots_wait_their_turn(self, tiny):
        async def main():
            async with opened(tiny) as provider:
                return await asyncio.gather(*(provider.ask(text_request()) for _ in range(4)))

        assert len({answer.text for answer in asyncio.run(main())}) == 1

    def test_a_question_too_long(self, tiny):
        async def main():
            async with opened(tiny) as provider:
                await provider.ask(text_request("a" * 600))

        with pytest.raises(ContextTooLongError):
            asyncio.run(main())

    def test_a_crash_is_reported_and_the_next_question_starts_it_again(self, tiny):
        async def main():
            async with opened(tiny) as provider:
                for _ in range(3):
                    await provider.ask(text_request())
                    os.kill(provider.process_id, signal.SIGSTOP)
                    question = asyncio.ensure_future(provider.ask(text_request()))
                    await asyncio.sleep(0)
                    os.kill(provider.process_id, signal.SIGKILL)
                    with raises_code("local-model-stopped", "SIGKILL"):
                        await question
                with raises_code("local-model-given-up", "3") as caught:
                    await provider.ask(text_request())
                assert not caught.value.retryable

        asyncio.run(main())

    def test_a_cancelled_start_leaves_no_child(self, tiny):
        async def main():
            async with opened(tiny) as provider:
                question = asyncio.ensure_future(provider.ask(text_request()))
                await asyncio.sleep(0)
                question.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await question
                assert provider.process_id is None
                assert (await provider.ask(text_request())).text

        asyncio.run(main())


def _readable(handle, timeout_s):
    import select

    return bool(select.select([handle], [], [], timeout_s)[0])


class TestRefusals:
    def test_without_the_extra(self, tiny, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(MissingExtraError) as caught:
            asyncio.run(_open_only(str(tiny)))
        assert caught.value.hint == "pip install 'crossgrade[local]'"

    @NEEDS_ENGINE
    def test_a_model_that_is_not_installed(self):
        with pytest.raises(NotFoundError) as caught:
            asyncio.run(_open_only("gemma-3-270m"))
        assert caught.value.hint == "run `crossgrade models add gemma-3-270m`"

    @NEEDS_ENGINE
    def test_a_missing_file(self, tmp_path):
        with raises_code("model-file-missing"):
            asyncio.run(_open_only(str(tmp_path / "gone.gguf")))

    @NEEDS_ENGINE
    def test_a_file_that_the_engine_cannot_load(self, tiny, tmp_path):
        cut = tmp_path / "cut.gguf"
        cut.write_bytes(tiny.read_bytes()[:-5000])

        async def main():
            async with opened(cut) as provider:
                await provider.ask(text_request())

        with raises_code("local-model-not-loaded") as caught:
            asyncio.run(main())
        assert not caught.value.retryable
        assert str(cut) in caught.value.hint

    @NEEDS_ENGINE
    def test_a_model_that_loads_too_slowly(self, tiny):
        async def main():
            async with opened(tiny, startup_s=1e-6) as provider:
                await provider.ask(text_request())

        with raises_code("local-model-load-timeout"):
            asyncio.run(main())

    @NEEDS_ENGINE
    def test_a_child_that_cannot_even_start(self, tiny, monkeypatch):
        monkeypatch.setenv("PYTHONHOME", "/nowhere")

        async def main():
            async with opened(tiny) as provider:
                await provider.ask(text_request())

        with raises_code("local-model-not-loaded"):
            asyncio.run(main())


async def _open_only(model):
    async with open_local(Offer(name="x", provider="local", model=model), environ=os.environ) as provider:
        assert isinstance(provider, LocalProvider)


class TestSettings:
    def test_context_is_what_the_model_has_at_most(self, tiny):
        model = describe_file(tiny)
        assert LocalSettings().fitted(model).context_tokens == 4096
        assert LocalSettings(context_tokens=10**9).fitted(model).context_tokens == 16384
        assert LocalSettings().fitted(replace(model, context_tokens=512)).context_tokens == 512
        assert (
            LocalSettings(context_tokens=64).fitted(replace(model, context_tokens=None)).context_tokens == 64
        )


class TestForcedTools:
    def test_which_tools_must_be_called(self):
        assert forced_tools(tool_request("required")) == (WEATHER, CLOCK)
        assert forced_tools(tool_request("get_time")) == (CLOCK,)
        assert forced_tools(tool_request("auto")) == forced_tools(tool_request(None)) == ()
        with raises_code("tool-choice-unknown", "get_weather", "get_time"):
            forced_tools(tool_request("get_news"))

    def test_raw_text_with_tools_or_schema_is_refused(self):
        for request in (tool_request("auto", text="a"), replace(text_request(), response_schema={})):
            with raises_code("raw-text-not-carried"):
                forced_tools(request)

    def test_the_request_asks_for_json_of_one_of_the_calls(self):
        asked = as_schema_request(tool_request("required"), (WEATHER, CLOCK))
        assert (asked.tools, asked.tool_choice) == ((), None)
        assert [message.role for message in asked.messages] == ["system", "user"]
        assert "get_weather: Weather of a city." in asked.messages[0].content
        names = [call["properties"]["name"]["const"] for call in asked.response_schema["anyOf"]]
        assert names == ["get_weather", "get_time"]

    def test_a_system_message_stays_first(self):
        request = tool_request("get_time")
        request = replace(request, messages=(Message(role="system", content="Be brief."), *request.messages))
        asked = as_schema_request(request, (CLOCK,))
        assert [message.role for message in asked.messages] == ["system", "user"]
        assert asked.messages[0].content.startswith("Be brief.\n\nCall one function.")
        assert asked.response_schema == call_schema((CLOCK,))

    def test_json_becomes_a_call(self):
        answer = as_tool_call(ModelAnswer(text='{"name": "get_weather",\n "arguments": {"city": "Paris"}}'))
        assert (answer.text, answer.finish_reason) == ("", "tool_calls")
        assert [(call.name, call.arguments) for call in answer.tool_calls] == [
            ("get_weather", '{"city":"Paris"}')
        ]

    @pytest.mark.parametrize("text", ['{"name": "get_we', "", "[1]", '{"name": 3}', '"x"'])
    def test_what_is_no_call_stays_text(self, text):
        answer = ModelAnswer(text=text, finish_reason="length")
        assert as_tool_call(answer) == answer


@pytest.mark.needs("module:xllamacpp", f"model:{SMOLLM2}")
class TestRealModel:
    def test_forced_calls_and_schemas_come_out_well_formed(self):
        async def main():
            offer = Offer(name="new", provider="local", model=SMOLLM2, context_tokens=1024)
            async with open_local(offer, environ=os.environ) as provider:
                named = await provider.ask(tool_request("get_weather"))
                free = await provider.ask(tool_request("required"))
                schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
                request = ModelRequest(
                    model=SMOLLM2,
                    messages=(Message(role="user", content="Bob is 12. How old is Bob?"),),
                    response_schema=schema,
                )
                return named, free, await provider.ask(request)

        named, free, structured = asyncio.run(main())
        assert named.tool_calls[0].name == "get_weather"
        assert set(json.loads(named.tool_calls[0].arguments)) == {"city"}
        assert free.tool_calls[0].name in {"get_weather", "get_time"}
        assert named.finish_reason == free.finish_reason == "tool_calls"
        assert isinstance(msgspec.json.decode(structured.text)["age"], int)

    def test_a_grammar_binds_chats_and_raw_texts(self):
        async def main():
            offer = Offer(name="new", provider="local", model=SMOLLM2, context_tokens=1024)
            grammar = label_grammar(["billing", 'the "late" desk'])
            chat = (Message(role="user", content="Where is my parcel?"),)
            async with open_local(offer, environ=os.environ) as provider:
                return [
                    (await provider.ask(GrammarRequest(model=SMOLLM2, grammar=grammar, **asked))).text.strip()
                    for asked in ({"messages": chat}, {"text": "Where is my parcel? =>"})
                ]

        assert set(asyncio.run(main())) <= {"billing", 'the "late" desk'}
