"""What the tests of training share."""

import pytest


@pytest.fixture
def folder(encoder_folders):
    return encoder_folders["wav2vec2"]
