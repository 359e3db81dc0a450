"""The pytest plugin itself: how tests with a mesh are run, repeated, reported and left alone."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

# Loaded before, because a run inside of this process forgets what it has imported.
import covey.simulations.mesh  # noqa: F401

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parent.parent

# Hypothesis would be imported anew by each of these sessions, for a line at their end.
ALWAYS = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")

MODES = {
    "without pytest-asyncio": ("-p", "no:asyncio"),
    "strict": ("--asyncio-mode=strict",),
    "auto": ("--asyncio-mode=auto",),
}

MEETING = """
    async def test_notes_meet(mesh):
        laptop, phone = mesh.devices("laptop", "phone")
        notes = laptop.database("memory").collection("notes")
        await notes.put({"text": "buy tea"}, id="tea")
        await mesh.settle()
        assert await phone.database("memory").collection("notes").get("tea") == {"text": "buy tea"}
"""

FAILING = """
    import pytest

    @pytest.mark.parametrize("what", ["tea"])
    async def test_fails(mesh, what):
        laptop, phone = mesh.devices("laptop", "phone")
        mesh.partition(laptop, phone)
        await laptop.database("memory").collection("notes").put({"text": what}, id=what)
        mesh.assert_converged()
"""


def run(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    """A session in this process, as a project that has covey installed runs it."""
    return pytester.runpytest_inprocess(*ALWAYS, "-W", "error", *args)


@pytest.fixture(autouse=True)
def project(pytester: pytest.Pytester) -> None:
    """A project that has made the choice pytest-asyncio asks everybody for."""
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")


@pytest.mark.parametrize("mode", MODES)
def test_coroutine_tests_run_in_virtual_time_with_every_setting(
    pytester: pytest.Pytester, mode: str
) -> None:
    """The plugin needs no other one, and gets along with the one that most people have."""
    if mode == "without pytest-asyncio":
        pytester.makeini("[pytest]\n")
    pytester.makepyfile(
        MEETING
        + """
    import asyncio, time
    import pytest

    class TestClass:
        @pytest.mark.parametrize("days", [1, 2])
        async def test_method(self, mesh, days):
            self.value = mesh.devices("laptop")
            await asyncio.sleep(days * 86_400)
            assert mesh.elapsed_s > days * 86_400 and self.value

    @pytest.mark.asyncio
    @pytest.mark.covey_seeds(1)
    async def test_marked(mesh):
        await asyncio.sleep(1)

    def test_plain(mesh):
        mesh.devices("laptop")
    """
    )
    if mode == "without pytest-asyncio":
        pytester.makeini("[pytest]\nmarkers = asyncio\n")

    run(pytester, *MODES[mode]).assert_outcomes(passed=5)


@pytest.mark.parametrize("mode", MODES)
def test_coroutine_fixtures_that_lead_to_a_mesh_run_on_its_loop(
    pytester: pytest.Pytester, mode: str
) -> None:
    """An application is set up by fixtures, and torn down after the test with the mesh still up."""
    if mode == "without pytest-asyncio":
        pytester.makeini("[pytest]\n")
    pytester.makepyfile(
        """
    import asyncio
    import pytest

    @pytest.fixture
    def laptop(mesh):
        return mesh.devices("laptop")[0]

    @pytest.fixture
    async def notes(laptop):
        notes = laptop.database("memory").collection("notes")
        await notes.put({"text": "set up"}, id="a")
        yield notes
        assert await notes.get("a") == {"text": "changed"}
        await notes.put({"text": "torn down"}, id="a")

    @pytest.fixture
    async def first(notes):
        await asyncio.sleep(60)
        return await notes.get("a")

    class TestApplication:
        @pytest.fixture
        async def mine(self, notes):
            self.number = 3
            return notes

        async def test_it(self, first, mine, notes):
            assert first == {"text": "set up"} and mine is notes and self.number == 3
            await notes.put({"text": "changed"}, id="a")
    """
    )

    run(pytester, *MODES[mode]).assert_outcomes(passed=1)


def test_a_failing_test_tells_seed_time_replay_and_events(pytester: pytest.Pytester) -> None:
    """Whoever sees it fail on a server must be able to see it fail at home."""
    pytester.makepyfile(test_it=FAILING)

    told = run(pytester, "--covey-seeds", "2")

    told.assert_outcomes(failed=2)
    told.stdout.fnmatch_lines(
        [
            "*AssertionError: the devices have not converged:",
            "*laptop and phone differ in memory/notes/tea; they are partitioned",
            "*- covey simulation -*",
            "seed 1; the virtual time is 2026-*, 00:00:00.* after the start",
            "replay: pytest 'test_it.py::test_fails[[]tea[]]' --covey-seed=1",
            "the last * events:",
            "  00:00:00.* *laptop  put memory/notes/tea",
            "seed 2; *",
        ]
    )
    assert "mesh.py" not in told.stdout.str()


def test_the_replay_runs_that_seed_only(pytester: pytest.Pytester) -> None:
    """It is pasted as it stands."""
    pytester.makepyfile(test_it=FAILING)

    told = run(pytester, "test_it.py::test_fails[tea]", "--covey-seed=2")

    told.assert_outcomes(failed=1)
    told.stdout.fnmatch_lines(["seed 2; *"])


@pytest.mark.parametrize(
    ("args", "setting", "count"),
    [
        ((), "", 1),
        ((), "covey_seeds = 3", 3),
        (("--covey-seeds=4",), "covey_seeds = 3", 4),
        (("--covey-seed=9",), "covey_seeds = 3", 1),
    ],
)
def test_each_test_runs_under_as_many_seeds_as_asked_for(
    pytester: pytest.Pytester, args: tuple[str, ...], setting: str, count: int
) -> None:
    """Few at the desk, many at night; the command line has the last word."""
    pytester.makeini(f"[pytest]\nasyncio_default_fixture_loop_scope = function\n{setting}\n")
    pytester.makepyfile("async def test_it(mesh):\n    print('seed', mesh.seed)\n")

    told = run(pytester, "-s", "-v", *args)

    told.assert_outcomes(passed=count)
    seeds = [9] if "--covey-seed=9" in args else range(1, count + 1)
    told.stdout.fnmatch_lines([f"*seed {seed}*" for seed in seeds])
    assert ("test_it[seed-1]" in told.stdout.str()) is (count > 1)


def test_a_mark_says_how_many_seeds_one_test_needs(pytester: pytest.Pytester) -> None:
    """The one about conflicts is worth more of them than the others."""
    pytester.makepyfile(
        """
    import pytest

    @pytest.mark.covey_seeds(3)
    def test_marked(mesh): ...

    def test_other(mesh): ...

    def test_without(): ...
    """
    )

    run(pytester, "--strict-markers").assert_outcomes(passed=5)
    run(pytester, "--covey-seeds=2").assert_outcomes(passed=5)


@pytest.mark.parametrize("count", ["0", "many"])
def test_a_number_of_seeds_that_is_none_is_refused(pytester: pytest.Pytester, count: str) -> None:
    """No seed at all would be a test that always passes."""
    pytester.makepyfile("def test_it(mesh): ...")

    told = run(pytester, "-o", f"covey_seeds={count}")

    assert told.ret != pytest.ExitCode.OK
    told.stdout.fnmatch_lines([f"*covey_seeds: '{count}', a number from 1*"])


def test_what_covey_must_never_do_fails_the_test(pytester: pytest.Pytester) -> None:
    """A test that passes over a broken promise would hide it."""
    pytester.makepyfile(
        """
    import pytest

    async def dies():
        raise KeyError("planted")

    async def plant(mesh):
        mesh.device("laptop").sim.process.spawn(dies(), "planted")

    async def test_in_the_test(mesh):
        mesh.devices("laptop")
        await plant(mesh)
        mesh.advance(seconds=1)

    @pytest.fixture
    async def late(mesh):
        mesh.devices("laptop")
        yield
        await plant(mesh)

    def test_after_it(late): ...
    """
    )

    told = run(pytester)

    told.assert_outcomes(failed=1, passed=1, errors=1)
    broken = "Covey broke a promise: I14 at * laptop: KeyError in task planted*"
    told.stdout.fnmatch_lines([broken, broken])


def test_a_task_of_the_test_that_fails_unseen_fails_the_test(pytester: pytest.Pytester) -> None:
    """Its assertion would else go unheard."""
    pytester.makepyfile(
        """
    import asyncio

    async def checks():
        assert 1 == 2

    async def test_it(mesh):
        asyncio.create_task(checks())
        await asyncio.sleep(1)
    """
    )

    told = run(pytester)

    told.assert_outcomes(failed=1)
    told.stdout.fnmatch_lines(["Task-* ended with AssertionError, and nobody awaited it*"])


def test_tasks_that_a_test_leaves_behind_are_ended_in_silence(pytester: pytest.Pytester) -> None:
    """As `asyncio.run` does; a redrawing loop need not be cancelled by hand."""
    pytester.makepyfile(
        """
    import asyncio

    async def redraw(device):
        async for change in device.database("memory").watch():
            print(change)

    async def test_it(mesh):
        laptop, = mesh.devices("laptop")
        asyncio.create_task(redraw(laptop))
        await laptop.database("memory").collection("notes").put({"x": 1})
    """
    )

    run(pytester).assert_outcomes(passed=1)


def test_nothing_of_a_mesh_is_left_when_its_test_has_ended(pytester: pytest.Pytester) -> None:
    """A session of hundreds of tests held hundreds of worlds."""
    pytester.makepyfile(
        """
        import gc
        import weakref

        meshes = []

        async def test_passes(mesh):
            mesh.devices("laptop", "phone")
            meshes.append(weakref.ref(mesh))

        def test_passes_too(mesh):
            meshes.append(weakref.ref(mesh))

        def test_after_them():
            gc.collect()
            assert [made() for made in meshes] == [None, None]
        """
    )

    run(pytester).assert_outcomes(passed=3)


def test_the_wrong_loop_is_named(pytester: pytest.Pytester) -> None:
    """The error of asyncio about futures of another loop tells nobody what to do."""
    pytester.makepyfile(
        """
    import asyncio

    def test_it(mesh):
        laptop, = mesh.devices("laptop")
        asyncio.run(laptop.database("memory").collection("notes").get("tea"))
    """
    )

    told = run(pytester)

    told.assert_outcomes(failed=1)
    told.stdout.fnmatch_lines(["*RuntimeError: a mesh lives on an event loop of its own*"])


def test_a_mesh_of_another_project_is_left_alone(pytester: pytest.Pytester) -> None:
    """Others have fixtures of that name, and have covey installed for another reason."""
    pytester.makepyfile(
        """
    import asyncio
    import pytest

    @pytest.fixture
    async def mesh():
        return asyncio.get_running_loop()

    async def test_it(mesh):
        assert asyncio.get_running_loop() is mesh
    """
    )

    told = run(pytester, "--asyncio-mode=auto", "--covey-seeds=3")

    told.assert_outcomes(passed=1)


def test_coroutine_fixtures_of_others_are_left_alone(pytester: pytest.Pytester) -> None:
    """Most of them belong to projects that never heard of a mesh, and some outlive a test."""
    pytester.makepyfile(
        """
    import asyncio
    import pytest

    @pytest.fixture(scope="module")
    async def server():
        yield asyncio.get_running_loop()

    @pytest.fixture
    async def client(server):
        return server

    async def test_it(client, server):
        assert client is server

    async def test_beside(client, mesh):
        assert asyncio.get_running_loop() is not client
    """
    )

    scope = ("-o", "asyncio_default_fixture_loop_scope=module")
    run(pytester, "--asyncio-mode=auto", *scope).assert_outcomes(passed=2)


LIGHT = """
import sys, pytest
class Look:
    def pytest_sessionfinish(self):
        heavy = {"automerge", "aiohttp", "nacl", "sqlcipher3", "covey.node.engine"}
        print(sorted(heavy & sys.modules.keys()), "covey.simulations.pytest_plugin" in sys.modules)
pytest.main(["-q", "-p", "no:cacheprovider", "test_it.py"], plugins=[Look()])
"""


def test_a_session_that_asks_for_no_mesh_loads_nothing_of_the_engine(tmp_path: Path) -> None:
    """The plugin is loaded in every session of an environment that has covey."""
    (tmp_path / "test_it.py").write_text("def test_it(): ...\n", "utf-8")

    told = subprocess.run(
        [sys.executable, "-c", LIGHT], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert "[] True" in told.stdout


@pytest.mark.parametrize("name", ["reading_list", "companion"])
def test_the_example_project_passes_its_own_tests(name: str) -> None:
    """It is what people copy; it uses nothing but what is public, as anybody's project does."""
    example = ROOT / "examples" / name

    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--covey-seeds=1"],
        cwd=example,
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode == 0, told.stdout + told.stderr
    sources = [path.read_text("utf-8") for path in sorted(example.rglob("*.py"))]
    private = re.compile(r"covey\.(simulations|node|storage|sync|crypto|cli)\b")
    assert sources and not any(map(private.search, sources))
