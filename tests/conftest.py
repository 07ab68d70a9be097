"""Fixtures that several files share because they take seconds to make."""

from pathlib import Path

import pytest
from synthetic_report import PROFILE, STUDIES, synthetic_project

from alit.paths import RunPaths


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    """A checkout whose report was built from synthetic inputs by the pipeline's own scripts."""
    from experiments import explorer, leaderboard, notebook
    from experiments import site as build_site

    paths = synthetic_project(tmp_path_factory.mktemp("checkout") / "suite")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(paths.root)
        for study in STUDIES:
            notebook.main([PROFILE, study])
        explorer.main([PROFILE])
        build_site.main([PROFILE])
        leaderboard.main([PROFILE])
    return paths


@pytest.fixture(scope="session")
def site(project: RunPaths) -> Path:
    """The folder of that report."""
    return project.report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the report: its notebooks start kernels."""
    for item in items:
        if "project" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
