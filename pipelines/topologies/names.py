"""The words for what a pipeline can be made of."""

from pipelines.brokers import BROKERS

PLACES = ("server", "server-gpu", "client")
"""Where the first DNN's input is made: in Triton, on its CPU or its GPU, or by who asks Triton."""

FUSED = "fused"
BROKERLESS = (FUSED, "direct")
TOPOLOGIES = (*BROKERLESS, *BROKERS)
"""How a chain's two DNNs are connected; FUSED also one DNN with its preprocessing."""

ANSWERS = ("tensors", "encoded")
"""What a server sends back: the DNN's outputs, or the answer that is made of them."""

DEFAULT_TOPOLOGY = "direct"

FORMS = ("raw", "jpeg", "reference")
"""How crops travel: as pixels, as JPEG, or as a key under which Redis keeps the pixels."""

MOST_CROPS = 16
"""How many crops are asked about at a time: `max_batch_size` of the second DNNs."""

NOBODY = "none"
"""The `preprocess` and the `place` of inference alone, which is asked with a ready tensor."""

PREPROCESS = "preprocess"
"""What can be asked `only`."""

UNKNOWN = "unknown"
"""The `preprocess` of a server that somebody else made, which takes the image as it is."""

INGESTED = "ingested"
"""The `transport` of traffic that visiontax did not make: how it travelled is not known."""
