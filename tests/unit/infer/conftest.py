import pytest

import tiny_models


@pytest.fixture(scope="session")
def bundle():
    """A real 3-D bundle: a small network with random weights, exported as training does."""
    return tiny_models.bundle()


@pytest.fixture(scope="session")
def flat_bundle():
    """The same for 2-D colour pictures."""
    return tiny_models.bundle(2, 3)
