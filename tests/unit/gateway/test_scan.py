"""What the scan finds in a large body, in pieces of any size: what the parser finds in a small one."""

import json
import random
import re
from pathlib import Path

import msgspec
import pytest

from crossgrade.gateway._body import BodyFields, check_fields, model_span, read_body
from crossgrade.gateway._fields import ONCE, OWN_WORDS
from crossgrade.gateway._problems import Problem
from crossgrade.gateway._scan import CONTROLS_BYTES, BodyScan

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "gateway.md"
SCHEMA = b'"tools":[{"function":{"parameters":{"properties":{"headers":{"type":"string"}}}}}]'
ACCEPTED = [
    b'{"model":"gpt"}',
    b' { "messages" : [ ] , "model" : "gpt" } \n',
    b'{"messages":[{"role":"user","content":"say \\"model\\": \\\\"}],"model":"gpt","stream":true}',
    b'{"messages":[{"input":{"model":"opus","x":[1,{"y":"}"}]}}],"model":"gpt","tools":[{"model":1}]}',
    b'{"user":"model","model":"gpt"}',
    b'{"say \\"model":"opus","model":"gpt"}',
    b'{"\\"model":{"\\"model":"opus"},"model":"gpt","\\"model2":"opus"}',
    b'{"model":"gpt","metadata":{"model":"other","headers":"a"},"role":"model","stop":["api_base"]}',
    b'{"a":{"model":{"type":"string"}},"m\\u006fdel":"gp\\"t"}',
    b'{"model":"gpt",%b}' % SCHEMA,
    b'{"model":"gpt","messages":[{"content":[{"input":{"api_base":1,"x":{"proxy":2}}}]}],"max_tokens":7}',
    b'{"model":"gpt","n":128,"max_completion_tokens": 9 ,"x":"' + b"a" * 2_000 + b'"}',
    b'{"model":"gpt","' + b"k" * 2_000 + b'":1}',
    b'{"model":"gpt","x":' + b"[" * 127 + b"]" * 127 + b"}",
    b'{"model":"gpt","x":' + b"[" * 126 + b'-0.5e+3 , "a" , { } , null' + b"]" * 126 + b"}",
    b'{"model":"gpt","x":[true,false,null,0,-0,10,1.50,1E9,1e-9,-1.5e+10,{},[],{"y":[]},[[[[]]],{}]]}',
    b'{ "model" : "gpt" , "x" : [ 1 , { "y" : 2 , "z" : [ ] } , [ ] , { } ] , "y" : { } }\r\n\t ',
    b'{"model":"gpt","x":"\\ud83d\\ude00 \\" \\\\ \\/ \\b\\f\\n\\r\\t \\u00e4","y":["\\ud83d\\ude00\\\\"]}',
    '{"model":"gpt","x":"漢字 \U0001f600 ü","漢":["漢","ü"]}'.encode(),
    b'{"model":"gpt","x":"%b"}' % (b"\\ud83d\\ude00 and " * 200),
    b'{"model":"gpt","x":["%b\\"%b\\\\"]}' % (b"long " * 200, b"text " * 200),
]
REFUSED = [
    b'{"model":"a","x":[{"model":"c"}],"model":"b"}',
    b'{"model":"a","\\u006D\\u006f\\u0064\\u0065\\u006c":"b"}',
    b'{"model":"a","Model":"b"}',
    b'{"MODEL":"b"}',
    b'{"model":5}',
    b'{"model":"a","api_base":"http://x"}',
    b'{"model":"a","API_base" : "http://x"}',
    b'{"model":"a","\\u0061pi_base":"http://x"}',
    b'{"model":"a","x":[{"y":{"model_list":[]}}]}',
    b'{"model":"a","aws_%b":1}' % (b"x" * 2_000),
    b'{"model":"a","messages":[{"content":"' + b"long " * 2_000 + b'"}],"mock_response":"x"}',
    b'{"model":"a",%b,"extra_body":{}}' % SCHEMA,
    b'{"model":"a","metadata":{"headers":1},"headers":{}}',
    b'{"model":"a","metadata":{"headers":1},"x":{"headers":{}}}',
    b'{"model":"a","n":1000000}',
    b'{"model":"a","n":0}',
    b'{"model":"a","n":1,"n":100}',
    b'{"n":100,"model":"a","N":1}',
    b'{"model":"a","x":"%b","stream":true,"max_tokens":5,"stream":false}' % (b"long " * 2_000),
    b'{"model":"a","n":"1"}',
    b'{"model":"a","max_tokens":-1}',
    b'{"model":"a","x":' + b"[" * 128 + b"]" * 128 + b"}",
    b"[]",
    b"{}{}",
    b'{"model":"a"',
    b'{"model":"a","x":[}',
    b'"model"',
    b"",
]
LENIENT = [
    b'{"model":"a",/* "x":" */"api_base":1,/* " */"y":2}',
    b'{"model":"a","x":[{// "y":"\n"proxy":1// "\n}]}',
    b'{"model":"a",\'x":\':1,"api_base":1,\'y\':"z"}',
    b'{"model":"a","x":[{"y":1,\'proxy\':2}]}',
    b'{"model":"a",api_base:1}',
    b'{"model":"a","x":[{"y":1,proxy:2}]}',
    b'{"model":"a","\\x61pi_base":1}',
    b'{"model":"a","\\api_base":1}',
    b'{"model":"a","x":[{"\\api_base":1}]}',
    b'{"model":"a","x":"\\q"}',
    b'{"model":"a","x":["\\u00g1"]}',
    b'{"model":"a","x":"\\u12"}',
    b'{"model":"a","x":NaN}',
    b'{"model":"a","x":[1,-Infinity]}',
    b'{"model":"a","x":[[[[Infinity]]]]}',
    b'{"model":"a","x":[undefined]}',
    b'{"model":"a","x":True}',
    b'{"model":"a","x":[0x10]}',
    b'{"model":"a","x":+1}',
    b'{"model":"a","x":[01]}',
    b'{"model":"a","x":[.5]}',
    b'{"model":"a","x":[5.]}',
    b'{"model":"a","x":[1e]}',
    b'{"model":"a","x":-}',
    b'{"model":"a","x":[1,]}',
    b'{"model":"a","x":[,1]}',
    b'{"model":"a","x":[1 2]}',
    b'{"model":"a","x":[1,,2]}',
    b'{"model":"a","x":[{"y":1,}]}',
    b'{"model":"a","x":[{"y":1 "z":2}]}',
    b'{"model":"a","x":[{"y"}]}',
    b'{"model":"a","x":[{"y":}]}',
    b'{"model":"a","x":[{"y":1:2}]}',
    b'{"model":"a","x":["y":1]}',
    b'{"model":"a","x":[{1:2}]}',
    b'{"model":"a",}',
    b'{,"model":"a"}',
    b'{"model":"a" "x":1}',
    b'{"model" "a"}',
    b'{"model":"a"}}',
    b'{"model":"a"},',
    b'\xef\xbb\xbf{"model":"a"}',
    b'{"model":"a","x":"\xff"}',
    b'{"model":"a","x":["\xc0\xaf"]}',
    b'{"model":"a","x":{"\xed\xa0\x80":1}}',
    b'{"model":"a","x":"' + "漢".encode()[:2] + b'"}',
    b'{"model":"a","x":"a\x00b"}',
    b'{"model":"a","x":["a\nb"]}',
    b'{"model":"a","x":[{"a\tb":1}]}',
    b'{"model":"a","x":"%b\x1f"}' % (b"long " * 200),
    b'{"model":"a",\x0b"x":1}',
    b'{"model":"a",\xc2\xa0"x":1}',
]
"""What is no JSON. Some parsers read it all the same, and find keys where others see a text or a comment."""


def scanned(body: bytes, size: int) -> BodyScan:
    """Return a scan that reads so many bytes at a time."""
    scan = BodyScan(size, size)
    for at in range(0, len(body), size):
        scan.feed(body[at : at + size])
    scan.end()
    return scan


def split(body: bytes, chance: random.Random) -> BodyScan:
    """Return a scan that gets the body in pieces of any size, and reads it as it does in service."""
    scan = BodyScan()
    at, most = 0, chance.choice((30, 700, 20_000, 400_000))
    while at < len(body):
        then = at + chance.randrange(1, most)
        scan.feed(body[at:then])
        at = then
    assert scan.end() == scan.end()
    return scan


def all_of(scan: BodyScan) -> tuple[object, ...]:
    return scan.problem, scan.span, scan.bounds, scan.prompts, scan.names


def parsed(body: bytes) -> tuple[BodyFields, tuple[int, int] | None] | str:
    fields = read_body(body, body.lower())
    if isinstance(fields, Problem):
        return fields.code
    span = model_span(body, body.lower(), fields)
    return span.code if isinstance(span, Problem) else (fields, span)


@pytest.mark.parametrize("body", ACCEPTED)
def test_what_the_parser_accepts_is_accepted_however_the_bytes_are_split(body):
    found = parsed(body)
    assert not isinstance(found, str)
    fields, span = found
    for size in (*range(1, 12), 600, len(body)):
        scan = scanned(body, size)
        assert scan.problem is None, size
        assert scan.span == span
        assert json.loads(body[slice(*span)]) == fields.model
        assert scan.bounds == {name: getattr(fields, name) for name in scan.bounds}


@pytest.mark.parametrize("body", REFUSED + LENIENT)
def test_what_the_parser_refuses_is_refused_however_the_bytes_are_split(body):
    code = parsed(body)
    assert isinstance(code, str)
    for size in (*range(1, 12), 600, len(body) or 1):
        problem = scanned(body, size).problem
        assert problem is not None, size
        assert problem.code == code or (problem.code, code) == ("invalid_json", "invalid_type")


KEYS = ("a", "tools", "parameters", "content", "messages", "input", "metadata", "x y", "k\u00e9", 'he"y')
BAD = ("api_key", "proxy", "Headers", "aws_region")


def made_up(chance: random.Random, depth: int, keys: tuple[str, ...]) -> object:
    kind = chance.randrange(4 if depth else 2)
    if kind == 0:
        return chance.choice([None, 1.5, -7, True, 10**12])
    if kind == 1:
        return chance.choice(["", "text", 'a "quoted": {one}', "back\\\\", "\\n\u00e9", "api_key", "]"])
    count = chance.randrange(4)
    if kind == 2:
        return [made_up(chance, depth - 1, keys) for _ in range(count)]
    return {chance.choice(keys): made_up(chance, depth - 1, keys) for _ in range(count)}


def has_bad_key(value: object, path: tuple[str, ...] = ()) -> bool:
    """Say by the tree what the scan says by the bytes."""
    if path in OWN_WORDS:
        return False
    if isinstance(value, list):
        return any(has_bad_key(each, path) for each in value)
    if not isinstance(value, dict):
        return False
    here = any(
        key in BAD and not (path[:1] == ("metadata",) and key in ("proxy", "headers")) for key in value
    )
    return here or any(has_bad_key(each, (*path, key)) for key, each in value.items())


@pytest.mark.parametrize("seed", range(40))
def test_of_any_body_scan_and_walk_say_what_its_tree_says(seed):
    chance = random.Random(seed)
    for _ in range(25):
        keys = KEYS + (chance.choice(BAD),) * chance.randrange(2)
        tree = {key: made_up(chance, 6, keys) for key in chance.sample(KEYS, 4)}
        written = json.dumps(tree, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, 1]))
        body = written.encode()
        problems = [scanned(body, size).problem for size in (1, 7, 50, 10**6)]
        for problem in (*problems, check_fields(body, body.lower())):
            assert (problem is not None) is has_bad_key(tree), written
            assert problem is None or problem.code == "forbidden_field"


ODD = [
    b'"',
    b"'",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b" ",
    b"\n",
    b"\0",
    b"/",
    b"-",
    b"0",
    b"e",
    b"\xff",
    b"\xc3",
]


@pytest.mark.parametrize("seed", range(40))
def test_of_a_body_with_a_byte_changed_the_scan_says_what_the_parser_says(seed):
    chance = random.Random(seed)
    for _ in range(40):
        tree = {key: made_up(chance, 5, KEYS) for key in chance.sample(KEYS, 4)}
        written = json.dumps(
            tree, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, 1])
        ).encode()
        at = chance.randrange(len(written))
        body = written[:at] + chance.choice([b"", chance.choice(ODD)]) + written[at + chance.randrange(2) :]
        try:
            msgspec.json.decode(body, type=dict[str, msgspec.Raw])
            body.decode()
        except (msgspec.DecodeError, UnicodeDecodeError):
            assert all(scanned(body, size).problem for size in (1, 7, 50, 10**6)), body
        else:
            assert not any(scanned(body, size).problem for size in (1, 7, 50, 10**6)), body


def test_a_body_of_many_small_nested_parts_is_refused_in_time():
    scan = scanned(b'{"model":"m","x":[' + b"[[[[]]]]," * 100_000 + b"1]}", 1 << 16)
    assert scan.problem is not None
    assert scan.problem.code == "too_many_fields"


@pytest.mark.parametrize("body", [b"{}", b'{"a":{"model":"x"}}', b'{"role":"model"}', b'{"\\"model":"x"}'])
def test_no_span_where_there_is_no_such_key(body):
    scan = scanned(body, 3)
    assert (scan.problem, scan.span) == (None, None)
    assert len(scan.names) == len(json.loads(body))


@pytest.mark.parametrize("value", [b" " * 10_000 + b"1", b"1" * 10_000, b'"' + b"x" * 10_000 + b'"'])
def test_a_field_that_is_too_long_to_be_read_is_refused(value):
    for key in (b"n", b"model"):
        assert scanned(b'{"%b":%b}' % (key, value), 1_000).problem is not None


@pytest.mark.parametrize("text", [b"\\ud800 alone", b"long " * 600 + b"\\udc00", b"\\ud83d\\ude00" * 600])
def test_the_escape_of_half_a_letter_is_json_wherever_the_bytes_are_split(text):
    body = b'{"model":"a","x":["%b"],"y":"%b"}' % (text, text)
    for size in (*range(1, 12), 600, len(body)):
        assert scanned(body, size).problem is None, size


def test_a_control_character_beyond_the_first_megabytes_is_found_beside_an_escape_and_as_a_nul():
    start = b'{"model":"a","x":"' + b"long " * (CONTROLS_BYTES // 4)
    for text, is_found in ((b"\x00", True), (b"\\n\x01", True), (b"\x01", False)):
        problem = scanned(start + text + b'"}', 1 << 18).problem
        assert (problem is not None) is is_found


def test_a_key_whose_escape_is_cut_is_known_by_its_beginning():
    for filler in range(480, 520):
        key = b"\\u0061ws_" + b"x" * filler + b"\\u0061" * 100
        problem = scanned(b'{"model":"a","x":[{"%b":1}]}' % key, 10_000).problem
        assert problem is not None
        assert problem.code == "forbidden_field"


def test_a_field_that_the_gateway_acts_on_may_be_there_once():
    for name in ONCE:
        for second in (name, name.upper(), f"\\u00{ord(name[0]):x}{name[1:]}"):
            for size in (0, 10_000):
                body = '{"model":"m","x":{"%s":1},"%s":null,"y":"%s","%s":null}'
                written = (body % (name, name, "a" * size, second)).encode()
                assert parsed(written) == "duplicate_key", written
                for piece in (7, 600, len(written)):
                    assert scanned(written, piece).problem.code == "duplicate_key", written


def test_a_field_may_have_the_name_of_one_inside_another():
    body = b'{"model":"m","n":1,"metadata":{"n":2},"tools":[{"n":3,"model":{"n":4}}],"user":"n","x":"%b"}'
    for size in (0, 10_000):
        assert not isinstance(parsed(body % (b"a" * size)), str)
        assert scanned(body % (b"a" * size), 600).problem is None


def test_the_reference_names_the_fields_that_may_be_there_once():
    told = REFERENCE.read_text().partition("(`duplicate_key`):\n\n")[2].partition("\n\n")[0]
    names = re.findall(r"`(\w+)`", told)
    assert (set(names), len(names)) == (ONCE, len(ONCE))


LONG_BODIES = {
    "control beyond": b'{"x":"%b\x01%b"}' % (b"long " * (CONTROLS_BYTES // 5), b"text " * 100_000),
    "control before": b'{"x":"%b\x01%b"}' % (b"long " * (CONTROLS_BYTES // 5 - 9), b"text " * 100_000),
    "dense": b'{"prompt":[%b"a"],"n":9}' % (b'1,"a",[2],' * 60_000),
    "nested": b'{"x":[%b1],"n":9}' % (b"[[[[]]]]," * 5_000),
    "many": b'{"x":[%b1],"n":9}' % (b"[[[[]]]]," * 50_000),
    "two": b'{"x":[%b{"proxy":1,"y":"\xff"}]}' % (b'{"a":"b c"},' * 50_000),
    "mixed": b'{"a":[%b],"n":-0,"model":"m"}' % b",".join([b'{"b":[1,"x","\\n"],"c":{}}'] * 40_000),
}


@pytest.mark.parametrize("body", [*LONG_BODIES.values()], ids=[*LONG_BODIES])
def test_all_that_is_found_depends_on_the_bytes_alone(body):
    whole = BodyScan()
    whole.feed(body)
    whole.end()
    for seed in range(6):
        assert all_of(split(body, random.Random(seed))) == all_of(whole), seed


@pytest.mark.parametrize(
    "number", ["-0", "0", "7", "1.0", "1e0", "-1", "1000000000", "1000000001", "00", '"1"']
)
@pytest.mark.parametrize("field", ["n", "max_tokens"])
def test_a_number_that_bounds_an_answer_is_read_as_in_a_small_body(field, number):
    body = f'{{"model":"m","{field}":{number}}}'.encode()
    found = parsed(body)
    for size in (1, 3, 600):
        scan = scanned(body, size)
        if isinstance(found, str):
            assert scan.problem is not None
            assert scan.problem.code == found
        else:
            assert (scan.problem, scan.bounds) == (None, {field: getattr(found[0], field)})


@pytest.mark.parametrize("form", ["%s", "-0.%s", "1e%s", "%s.5e-7"])
@pytest.mark.parametrize(
    "place", ['{"x":%s}', '{"x":[[%s]]}', '{"x":[1,{"y":%s}]}', '{"x":[{"y":[[[%s,2]]]}]}']
)
def test_a_number_may_have_so_many_characters_wherever_it_is(place, form):
    for size, is_long in ((512, False), (513, True)):
        number = form % ("1" * (size - len(form) + 2))
        assert len(number) == size
        body = (place % number).encode()
        for piece in (1, 100, 400, 600, 5_000):
            problem = scanned(body, piece).problem
            assert (problem is not None) is is_long, piece
            assert problem is None or problem.code == "invalid_type"


@pytest.mark.parametrize("field", ["n", "model"])
def test_a_field_may_have_so_many_spaces_before_it(field):
    value = b"1" if field == "n" else b'"m"'
    for length, is_long in ((4_096, False), (4_097, True)):
        body = b'{"%b":%b%b }' % (field.encode(), b" " * (length - len(value)), value)
        for piece in (1, 100, 4_000, 10_000):
            problem = scanned(body, piece).problem
            assert (problem is not None) is is_long, piece


@pytest.mark.parametrize("rest", [b"", b" " * 20_000])
def test_a_field_without_a_value_is_no_json(rest):
    for piece in (1, 600, 30_000):
        problem = scanned(b'{"n":,"x":1}' + rest, piece).problem
        assert problem is not None
        assert problem.code == "invalid_json"


TWICE = [
    '{"a":1,"model":"m","a":2%s}',
    '{"a":12,"model":"m","a":1%s}',
    '{"a":1.5,"a":1,"model":"m"%s}',
    '{"model":"m","a":{"model":"x"},"a":{}%s}',
    '{"\\u0061":[1],"model":"m","a":[1]%s}',
    '{"model":"m","a":1,"a":1%s}',
]


@pytest.mark.parametrize("size", [0, 2_000], ids=["small", "larger"])
@pytest.mark.parametrize("form", TWICE)
def test_a_field_on_which_nothing_depends_may_be_there_twice_at_every_size(form, size):
    body = (form % f',"pad":"{"x" * size}"').encode()
    fields, span = parsed(body)
    assert json.loads(body[slice(*span)]) == fields.model == "m"
    scan = scanned(body, 600)
    assert (scan.problem, scan.span) == (None, span)


@pytest.mark.parametrize("form", ['{"model":"m","n":12,"n":1%s}', '{"a":12,"n":1,"a":1,"n":2,"model":"m"%s}'])
def test_a_number_that_begins_like_its_second_hides_no_field(form):
    for size in (0, 2_000):
        body = (form % f',"pad":"{"x" * size}"').encode()
        assert parsed(body) == scanned(body, 600).problem.code == "duplicate_key"
