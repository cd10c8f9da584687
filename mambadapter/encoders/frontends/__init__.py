"""What stands between a waveform and an encoder's Transformer layers: one class for each kind of input."""

from mambadapter.encoders.frontends.choice import ENCODER_SETTINGS, frontend_of
from mambadapter.encoders.frontends.log_mels import LogMels
from mambadapter.encoders.frontends.protocol import Frontend
from mambadapter.encoders.frontends.spectrograms import Spectrograms
from mambadapter.encoders.frontends.waveforms import Waveforms

__all__ = ["ENCODER_SETTINGS", "Frontend", "LogMels", "Spectrograms", "Waveforms", "frontend_of"]
