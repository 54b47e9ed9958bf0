"""What one would write without Triton: FastAPI, OpenCV and onnxruntime in each of a few workers."""

import onnxruntime
from fastapi import FastAPI, Request, Response

from pipelines.errors import ImageError
from pipelines.paths import REPOSITORY
from pipelines.preprocess.ways import preprocessor
from pipelines.tasks import task

app = FastAPI()
_dnn = task("classification").dnn
_options = onnxruntime.SessionOptions()
_options.intra_op_num_threads = 1
_session = onnxruntime.InferenceSession(
    REPOSITORY / _dnn.model / "1" / "model.onnx", _options, providers=["CPUExecutionProvider"]
)
_preprocess = preprocessor("opencv", _dnn.input)


@app.get("/v2/health/ready")
async def ready() -> Response:
    """Answer when the worker serves."""
    return Response()


@app.post("/classify")
async def classify(request: Request) -> Response:
    """Answer a JPEG with its 1000 FP32 logits."""
    try:
        made = _preprocess(await request.body())
    except ImageError as error:
        return Response(str(error), status_code=422)
    (logits,) = _session.run(["logits"], {"input": made.tensor[None]})
    return Response(logits.tobytes(), media_type="application/octet-stream")
