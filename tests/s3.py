"""A sweep into S3, as a server on 127.0.0.1 plays it; run by test_object_store.py in an environment
that has s3fs and moto.
"""

import os
import shutil
from pathlib import Path

import fsspec
from moto.server import ThreadedMotoServer
from typer.testing import CliRunner

from lecture_vae import open_run
from lecture_vae.cli import app
from lecture_vae.object_store import ObjectStore

BUCKET = "lecture"


def call(*words: str, code: int = 0) -> str:
    """What a verb prints."""
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def main() -> None:
    """A sweep, the same again from another machine, and a bucket that does not exist."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"s3://{BUCKET}/runs"
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-east-1",
        "LECTURE_VAE_RUNS": url,
    }  # fmt: skip
    files = fsspec.filesystem("s3")
    files.mkdir(BUCKET)
    words = ["sweep", "linear-vae", "--kl-weight", "1,4", "--data", "digits", "--jobs", "1"]
    words += ["--steps", "20", "--eval-every", "10"]
    assert "2 runs: 2 trained, 0 found, 0 failed" in call(*words)
    keys = ObjectStore(url).keys()
    assert len(keys) == 2
    under = [name.rpartition("/")[2] for name in files.find(f"{BUCKET}/runs", refresh=True)]
    assert under.count("run.json") == under.count("weights.safetensors") == 2
    assert "checkpoint.safetensors" not in under
    shutil.rmtree(Path(os.environ["XDG_CACHE_HOME"]) / "lecture_vae" / "live")
    assert {open_run(key).spec.objective.kl_weight for key in keys} == {1.0, 4.0}
    assert open_run(keys[0][:6]).key == keys[0]
    assert "2 runs: 0 trained, 2 found, 0 failed" in call(*words)
    os.environ["LECTURE_VAE_RUNS"] = "s3://no-such-bucket/runs"
    told = call("train", "linear-vae", "--steps", "2", "--data", "digits", code=2)
    assert "the object store s3://no-such-bucket/runs cannot be used" in told
    server.stop()


if __name__ == "__main__":
    main()
