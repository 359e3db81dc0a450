"""Queries as a person types them: conditions, pages, indexes and advice, with real commands."""

import json
import shlex
from pathlib import Path

from .processes import homes


def test_a_person_asks_pages_and_indexes(tmp_path: Path) -> None:
    """Every step is its own process, so what one learned must be on the disk for the next."""
    lines = "".join(
        json.dumps({"id": f"p{n}", "age": n, "kind": "ab"[n % 2]}) + "\n" for n in range(9)
    )
    with homes(tmp_path, "laptop") as (laptop,):
        laptop.init()
        laptop.run("import", "people", "all", "-", "--id-field", "id", stdin=lines)
        find = ("find", "people", "all", "age>=3", "kind=a", "--order=-age", "--limit", "2")
        first = laptop.run(*find)
        rest = laptop.run(*find, "--after", first["next"])
        laptop.run(*find)
        walked = laptop.run(*find, "--explain")
        (advice,) = laptop.run("index", "advise")["advice"]
        laptop.run("index", "create", "people", "all", *advice["fields"])
        by_index = laptop.run(*find, "--explain")
        same = laptop.run(*find)
        (index,) = laptop.run("index")["indexes"]
        laptop.run("index", "drop", "people", "all", *advice["fields"])
        gone = laptop.attempt("index", "drop", "people", "all", "age")
        refused = laptop.attempt("find", "people", "all", "age~3")

        assert [record["id"] for record in first["records"]] == ["p8", "p6"]
        assert [record["id"] for record in rest["records"]] == ["p4"]
        assert "next" not in rest
        assert walked["walks"] == "collection"
        assert advice["fields"] == ["kind", "age"]
        assert (by_index["walks"], by_index["index"]) == ("index", ["kind", "age"])
        assert same == first
        assert (index["fields"], index["behind"]) == (["kind", "age"], 0)
        assert gone.returncode == 1 and "covey index list" in gone.stderr
        assert refused.returncode == 2 and "FIELD=VALUE" in refused.stderr


def test_the_advice_is_a_command_that_can_be_pasted(tmp_path: Path) -> None:
    """A name may hold what a shell would carry out, or what looks like an option."""
    name = "-x; echo $(date)"
    with homes(tmp_path, "laptop") as (laptop,):
        laptop.init()
        laptop.run("put", "two words", "all", "r", json.dumps({name: 1}))
        find = ("find", "--explain", "--", "two words", "all", f"{name}=1")
        for _ in range(3):
            laptop.attempt(*(word for word in find if word != "--explain"))
        words = shlex.split(laptop.attempt("index", "advise").stdout.splitlines()[0])
        made = laptop.attempt(*words[1:])

        assert words == ["covey", "index", "create", "--", "two words", "all", name]
        assert made.returncode == 0, made.stderr
        assert laptop.attempt(*find).stdout == f"by the index of {name}\n"
