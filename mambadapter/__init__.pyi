"""The public API: the one list of its names, read by type checkers and by `__init__.py`."""

from .budget.count import ParameterCount as ParameterCount
from .budget.count import count_parameters as count_parameters
from .budget.search import fit_to_budget as fit_to_budget
from .encoders.adapt import adapt as adapt
from .encoders.adapted import AdaptedEncoder as AdaptedEncoder
from .encoders.trained import load as load
from .encoders.trained import save as save
from .errors import UserError as UserError
from .heads import CTCHead as CTCHead
from .heads import PooledClassifier as PooledClassifier
from .inference.model import TrainedModel as TrainedModel
from .inference.model import load_adapter as load_adapter
from .inference.results import MultilabelPrediction as MultilabelPrediction
from .inference.results import Prediction as Prediction
from .inference.results import Segment as Segment
from .inference.results import Timeline as Timeline
from .inference.results import Transcript as Transcript
from .methods.bitfit import BitFit as BitFit
from .methods.bottleneck import Bottlenecks as Bottlenecks
from .methods.conformer import ConformerAdapters as ConformerAdapters
from .methods.convpass import Convpasses as Convpasses
from .methods.dora import DoRA as DoRA
from .methods.full_finetuning import FullFinetuning as FullFinetuning
from .methods.identity_bottleneck import IdentityBottlenecks as IdentityBottlenecks
from .methods.linear_probe import LinearProbe as LinearProbe
from .methods.lora import LoRA as LoRA
from .methods.mambadapter import MambAdapters as MambAdapters
from .methods.prefix_tuning import PrefixTuning as PrefixTuning
from .methods.prompts import PromptTuning as PromptTuning
from .methods.weighted_sum import WeightedSum as WeightedSum

__version__: str
