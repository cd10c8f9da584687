import pytest
from support.small_recipe import write_recipe


@pytest.fixture
def recipe(tmp_path):
    return write_recipe(tmp_path)
