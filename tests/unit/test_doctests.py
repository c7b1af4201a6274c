"""The examples in the docstrings of what is private say what is true.

Those of public objects may need a ledger: ``tests/integration/test_examples.py`` runs them.
"""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import pytest

import celeriac
from tests import public

#: Read the environment, or run only inside of Alembic or of a Django project, when they are imported.
_NOT_IMPORTED = ("celeriac.ledger.migrations", "celeriac.contrib.django")


def _examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    modules = [module.name for module in pkgutil.walk_packages(celeriac.__path__, "celeriac.")]
    wanted = [name for name in modules if not name.startswith(_NOT_IMPORTED)]
    apart = {public.place(found) for _, found in public.documented()}
    found = [test for name in wanted for test in finder.find(import_module(name)) if test.examples]
    return [test for test in found if test.name not in apart]


@pytest.mark.parametrize("example", _examples(), ids=lambda example: example.name)
def test_an_example_is_true(example: doctest.DocTest) -> None:
    report: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=report.append)
    assert not report, "".join(report)


def test_the_examples_were_found() -> None:
    assert len(_examples()) >= 5
