"""The pytest plugin: a `mesh` of simulated devices for each test that asks for one.

    async def test_notes_meet(mesh):
        laptop, phone = mesh.devices("laptop", "phone")
        ...

Coroutine tests that ask for `mesh`, directly or through fixtures of their own, run on its event
loop in virtual time, and so do coroutine fixtures that lead to it. No other plugin is needed.
`--covey-seeds N`, the mark `covey_seeds(N)` and the setting `covey_seeds` run each such test under
the seeds 1 to N; `--covey-seed S` runs it under one. A test that fails says how to replay it.

A session that asks for no mesh gets three options, one mark and nothing else: nothing of the engine
is imported before a mesh is made. The guide is docs/simulation.md.
"""

import functools
import inspect
import re
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .mesh import Mesh

SEED = "covey_seed"
"""The fixture that `mesh` takes its seed from: who leads to it asks for a mesh of ours."""
SEED_DEFAULT = 1
SEEDS_MAX = 1_000_000
SECTION = "covey simulation"
EVENTS_SHOWN = 20

MESH: pytest.StashKey["Mesh"] = pytest.StashKey()
FAILED: pytest.StashKey[bool] = pytest.StashKey()


# Options -----------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("covey", "covey: tests on simulated devices")
    group.addoption(
        "--covey-seeds", type=int, metavar="N", help="run each test with a mesh under seeds 1 to N"
    )
    group.addoption(
        "--covey-seed", type=int, metavar="S", help="run each test with a mesh under this seed only"
    )
    parser.addini("covey_seeds", "how many seeds a test with a mesh runs under", default="1")


def pytest_configure(config: pytest.Config) -> None:
    mark = "covey_seeds(count): run this test with a mesh under the seeds 1 to count"
    config.addinivalue_line("markers", mark)


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if SEED in metafunc.fixturenames:
        count = _seed_count(metafunc)
        if count > 1:
            seeds = range(1, count + 1)
            ids = [f"seed-{seed}" for seed in seeds]
            metafunc.parametrize(SEED, seeds, ids=ids, indirect=True)


def _seed_count(metafunc: pytest.Metafunc) -> int:
    """How many seeds a test runs under: as the command line says, its mark, or the setting."""
    config = metafunc.config
    if config.getoption("--covey-seed") is not None:
        return 1
    asked: Any = config.getoption("--covey-seeds")
    mark = metafunc.definition.get_closest_marker("covey_seeds")
    if asked is None and mark is not None:
        asked = mark.args[0] if len(mark.args) == 1 else mark.kwargs.get("count")
    if asked is None:
        asked = config.getini("covey_seeds")
    try:
        count = int(asked)
    except (TypeError, ValueError):
        count = 0
    if not 1 <= count <= SEEDS_MAX:
        raise pytest.UsageError(f"covey_seeds: {asked!r}, a number from 1 to {SEEDS_MAX} is needed")
    return count


# The fixture -------------------------------------------------------------------------------------


@pytest.fixture
def covey_seed(request: pytest.FixtureRequest) -> int:
    """The seed that this test runs under."""
    seed: int | None = request.config.getoption("--covey-seed")
    return getattr(request, "param", SEED_DEFAULT) if seed is None else seed


@pytest.fixture
def mesh(request: pytest.FixtureRequest, covey_seed: int) -> Iterator["Mesh"]:
    """Simulated devices of one mesh, their network and their time (docs/simulation.md)."""
    from .mesh import Mesh

    made = request.node.stash[MESH] = Mesh(covey_seed)
    yield made
    made.close()
    # A test that has failed already tells its problems there.
    if not request.node.stash.get(FAILED, False):
        _fail_for(made)


def _fail_for(made: "Mesh") -> None:
    problems = made.problems()
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """What went wrong below fails the test itself, not only what comes after it."""
    result = yield
    if MESH in pyfuncitem.stash:
        _fail_for(pyfuncitem.stash[MESH])
    return result


# Coroutines --------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_pycollect_makeitem() -> Generator[None, Any, Any]:
    """Coroutine tests with a mesh become plain ones, before other plugins see what they were."""
    made = yield
    for item in made if isinstance(made, list) else [made]:
        is_ours = isinstance(item, pytest.Function) and SEED in item.fixturenames
        if is_ours and inspect.iscoroutinefunction(item.obj):
            item.obj = _plain_test(item, item.obj)
            item.own_markers[:] = [mark for mark in item.own_markers if mark.name != "asyncio"]
    return made


def _plain_test(item: pytest.Function, test: Callable[..., Any]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        item.stash[MESH].run(test(*args, **kwargs))

    return run


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: Any
) -> Generator[None, object, object]:
    """Coroutine fixtures that lead to a mesh run on its loop, like the tests that use them."""
    function: Callable[..., Any] = fixturedef.func
    one_value = inspect.iscoroutinefunction(function)
    if not one_value and not inspect.isasyncgenfunction(function):
        return (yield)
    # A mesh lives as long as a test, so nothing that lives longer can lead to one.
    if fixturedef.scope != "function" or not _leads_to_mesh(fixturedef.argnames, request.node):
        return (yield)
    made = request.getfixturevalue("mesh")
    if inspect.ismethod(function) and request.instance is not None:
        function = function.__func__.__get__(request.instance)
    plain = _plain_fixture(function, made) if one_value else _plain_yield(function, made, request)
    original = fixturedef.func
    # The attribute is final for those who write fixtures; pytest-asyncio replaces it as well.
    object.__setattr__(fixturedef, "func", plain)
    try:
        return (yield)
    finally:
        object.__setattr__(fixturedef, "func", original)


def _leads_to_mesh(names: Any, item: Any) -> bool:
    """Whether one of these fixtures is a seed of ours, or needs one."""
    known = item._fixtureinfo.name2fixturedefs if isinstance(item, pytest.Function) else {}
    seen, waiting = {""}, list(names)
    while waiting:
        name = waiting.pop()
        if name == SEED:
            return True
        if name not in seen:
            seen.add(name)
            waiting += known[name][-1].argnames if name in known else ()
    return False


def _plain_fixture(function: Callable[..., Any], made: "Mesh") -> Callable[..., Any]:
    return lambda **kwargs: made.run(function(**kwargs))


def _plain_yield(function: Callable[..., Any], made: "Mesh", request: Any) -> Callable[..., Any]:
    def set_up(**kwargs: Any) -> Any:
        values = function(**kwargs)
        value = made.run(anext(values))
        request.addfinalizer(lambda: made.run(_finish(values)))
        return value

    return set_up


async def _finish(values: Any) -> None:
    async for _ in values:
        raise ValueError("an async fixture yields once")


# Telling how to replay ---------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and MESH in item.stash:
        report.sections.append((SECTION, _how_to_replay(item, item.stash[MESH])))
        item.stash[FAILED] = True
    if call.when == "teardown" and MESH in item.stash:
        # A session keeps its items to the end, and would keep the world of each with them.
        del item.stash[MESH]
    return report


def _how_to_replay(item: pytest.Item, made: "Mesh") -> str:
    events = made.events
    shown = events[-EVENTS_SHOWN:]
    lines = [
        f"seed {made.seed}; the virtual time is {made.now:%Y-%m-%d %H:%M:%S} UTC,"
        f" {_moment(made.elapsed_s)} after the start",
        f"replay: pytest {_quoted(_name_without_seed(item, made.seed))} --covey-seed={made.seed}",
        *made.problems(),
        f"the last {len(shown)} of {len(events)} events:",
    ]
    wide = max((len(event.device) for event in shown), default=0)
    for event in shown:
        what = f"{event.device:{wide}}  {event.kind} {event.detail}"
        lines.append(f"  {_moment(event.at_ms / 1000)}  {what}".rstrip())
    return "\n".join(lines)


def _moment(seconds: float) -> str:
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, rest = divmod(rest, 60)
    clock = f"{int(hours):02}:{int(minutes):02}:{rest:06.3f}"
    return f"{int(days)}d {clock}" if days else clock


def _name_without_seed(item: pytest.Item, seed: int) -> str:
    """The node id of the test, less the part of it that `--covey-seeds` added."""
    name, bracket, ids = item.nodeid.partition("[")
    if not bracket:
        return name
    rest = re.sub(rf"(^|-)seed-{seed}$", "", ids.removesuffix("]"))
    return f"{name}[{rest}]" if rest else name


def _quoted(name: str) -> str:
    return f"'{name}'" if re.search(r"[^\w./:-]", name) else name
