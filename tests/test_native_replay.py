"""The kernels outside of Python, from a recorded plan: sanitized, emulated, by other compilers."""

import copy
import ctypes
import os
import shlex
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lecture_vae import (
    VAE,
    Autoencoder,
    BernoulliPixels,
    GaussianPixels,
    NegativeELBO,
    Objective,
    SquaredError,
    build_model,
    load_images,
)
from lecture_vae.native import build
from lecture_vae.native.plan import Plan
from lecture_vae.native.structures import AdamStruct
from lecture_vae.randomness import batches, evaluation_noise, noise

REPLAY = Path(__file__).parent / "native" / "replay.c"
KERNELS = Path(build.__file__).parent
IMAGES = load_images("digits").train.images[:70].clone()  # a buffer that ends after the last one
STEPS = 3
# Not Adam's defaults; and eps is so large that a gradient that is 0 but for rounding, as that of a
# bias before a normalization, moves nothing.
ADAM = {"lr": 2e-3, "betas": (0.8, 0.99), "eps": 0.1}

COMPILER = tuple(shlex.split(os.environ.get("CC") or "cc"))
ARM = ("aarch64-linux-gnu-gcc", "-static")
QEMU = "qemu-aarch64-static"
SANITIZED = ("-g1", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# The kernels that this machine runs, by the widest. On x86 those of NEON have the same four floats.
RUNS = {"avx512": {"avx512", "avx2", "neon"}, "avx2": {"avx2", "neon"}, "neon": {"neon"}}

# PyTorch says that its own "same" with an even kernel is slow.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")

Values = dict[str, list[Tensor]]


def odd_vae() -> VAE:
    """Every kind of layer, in sizes that no vector or tile divides."""
    return VAE(
        trunk=nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(1, 7, (3, 2), stride=(2, 3), padding=(1, 0)),  # 16 x 11
            nn.ReLU(),
            nn.BatchNorm2d(7),
            nn.Conv2d(7, 13, (2, 4), stride=(3, 2)),  # 5 x 4
            nn.BatchNorm2d(13),
            nn.Sigmoid(),
            nn.Flatten(),
            nn.Linear(260, 33),
        ),
        to_mu=nn.Sequential(nn.ReLU(), nn.Linear(33, 5, bias=False)),
        to_log_var=nn.Linear(33, 5),
        decoder=nn.Sequential(
            nn.Linear(5, 105),
            nn.Unflatten(1, (7, 5, 3)),
            nn.ConvTranspose2d(7, 13, (3, 4), (2, 3), padding=(1, 2), output_padding=(1, 0)),
            nn.ReLU(),
            nn.Conv2d(13, 5, (2, 3), padding="same"),  # 10 x 6
            nn.BatchNorm2d(5),
            nn.Conv2d(5, 3, 3, stride=2, padding=2),  # 6 x 4
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(72, 1024),
            nn.Sigmoid(),
            nn.Unflatten(1, (1, 32, 32)),
        ),
        latent_shape=(5,),
    )


@dataclass(frozen=True)
class Case:
    model: str
    objective: Objective
    batch_size: int

    def __str__(self) -> str:
        likelihood = getattr(self.objective, "likelihood", GaussianPixels())
        return f"{self.model}-{type(likelihood).__name__}-{self.batch_size}"

    def build(self) -> VAE | Autoencoder:
        torch.manual_seed(0)
        return odd_vae() if self.model == "odd-vae" else build_model(self.model)


GAUSSIAN, BERNOULLI = NegativeELBO(2.0, GaussianPixels(0.1)), NegativeELBO(1.0, BernoulliPixels())
CASES = [
    Case("linear-ae", SquaredError(), 64),
    Case("linear-vae", NegativeELBO(10.0), 64),
    Case("linear-vae", BERNOULLI, 48),
    Case("affine-vae", GAUSSIAN, 48),
    Case("conv-ae", SquaredError(), 16),
    Case("conv-vae", BERNOULLI, 16),
    Case("conv-vae", GAUSSIAN, 48),
    Case("odd-vae", GAUSSIAN, 16),
    Case("odd-vae", BERNOULLI, 48),
    Case("odd-vae", GAUSSIAN, 64),
]
FEW = [CASES[n] for n in (2, 6, 8)]  # of one batch size


# ---- the recorder ------------------------------------------------------------------------------


@dataclass
class Recording:
    """A plan, what it reads and room for what it writes; replay.c describes the file."""

    buffers: list[Tensor | ctypes.Structure | ctypes.Array]
    compared: Values  # some of the buffers
    wanted: Values  # what PyTorch leaves in them

    def write(self, path: Path) -> None:
        pointers = [p for n in range(len(self.buffers)) for p in self._pointers(n)]
        numbers = [len(self.buffers), len(pointers), *map(_size, self.buffers)]
        numbers += [number for pointer in pointers for number in pointer]
        contents = [ctypes.string_at(_address(each), _size(each)) for each in self.buffers]
        path.write_bytes(struct.pack(f"={len(numbers)}q", *numbers) + b"".join(contents))

    def read(self, path: Path) -> Values:
        """What a replay left in the buffers that are compared."""
        result, left, start = path.read_bytes(), {}, 0
        for each in self.buffers:
            end = start + _size(each)
            left[_address(each)] = bytearray(result[start:end])
            start = end
        assert start == len(result)
        return {
            name: [torch.frombuffer(left[t.data_ptr()], dtype=t.dtype).view(t.shape) for t in each]
            for name, each in self.compared.items()
        }

    def _pointers(self, number: int) -> Iterator[tuple[int, int, int, int]]:
        """The pointers in a buffer: itself, the place in it, the buffer pointed to, the place."""
        buffer = self.buffers[number]
        if isinstance(buffer, Tensor):
            return
        for place in _places(type(buffer)):
            address = ctypes.c_void_p.from_buffer(buffer, place).value
            if address is not None:
                yield number, place, *self._find(address)

    def _find(self, address: int) -> tuple[int, int]:
        for number, each in enumerate(self.buffers):
            if 0 <= address - _address(each) < _size(each):
                return number, address - _address(each)
        raise AssertionError("a pointer of the plan points to no buffer that is recorded")


def _places(kind: type) -> Iterator[int]:
    """The offsets of the pointers in a C type."""
    if issubclass(kind, ctypes.Array):
        size = ctypes.sizeof(kind._type_)
        yield from (n * size + p for n in range(kind._length_) for p in _places(kind._type_))
    elif issubclass(kind, ctypes.Structure):
        for name, field in kind._fields_:
            yield from (getattr(kind, name).offset + place for place in _places(field))
    elif issubclass(kind, ctypes.c_void_p | ctypes._Pointer):
        yield 0


def _address(buffer: Tensor | ctypes.Structure | ctypes.Array) -> int:
    return buffer.data_ptr() if isinstance(buffer, Tensor) else ctypes.addressof(buffer)


def _size(buffer: Tensor | ctypes.Structure | ctypes.Array) -> int:
    return buffer.nbytes if isinstance(buffer, Tensor) else ctypes.sizeof(buffer)


def record(case: Case) -> Recording:
    """A few steps from the start, and an evaluation that does not fill its last batch."""
    model, size = case.build().train(), case.batch_size
    index = torch.stack(list(islice(batches(len(IMAGES), size, seed=0), STEPS)))
    eps = torch.stack(list(islice(noise((size, 1, *model.noise_shape), seed=0), STEPS)))
    tests = IMAGES[: size + 5].clone()
    test_eps = evaluation_noise((len(tests), 1, *model.noise_shape), seed=0)
    wanted = in_torch(copy.deepcopy(model), case.objective, index, eps, tests, test_eps)
    plan = Plan(model, case.objective, size)
    optimizer = torch.optim.Adam(model.parameters(), **ADAM)
    plan.steps(IMAGES, iter(()), iter(()), 0, optimizer)  # no step, but the addresses are set
    compared = {
        "terms": [torch.zeros(STEPS, 2)],
        "distortion": [torch.zeros(len(tests))],
        "kl": [torch.zeros(len(tests))],
        "code": [torch.zeros_like(*wanted["code"])],
        **trained(model, optimizer),
    }
    buffers = [
        plan._plan,
        AdamStruct(ADAM["lr"], *ADAM["betas"], ADAM["eps"]),
        (ctypes.c_int64 * 3)(STEPS, 0, len(tests)),
        *(IMAGES, index, eps, *compared["terms"], tests, test_eps),
        *(tensor for name in list(compared)[1:] for tensor in compared[name]),
        *(plan._layers, plan._nodes, plan._weights, *plan._buffers),
    ]
    return Recording(buffers, compared, wanted)


def in_torch(
    model: nn.Module,
    objective: Objective,
    index: Tensor,
    eps: Tensor,
    tests: Tensor,
    test_eps: Tensor,
) -> Values:
    """The same steps and the same evaluation by automatic differentiation."""
    optimizer, log = torch.optim.Adam(model.parameters(), **ADAM), []
    for step, (rows, e) in enumerate(zip(index, eps, strict=True), start=1):
        terms = objective.terms(model, IMAGES[rows], e)
        optimizer.zero_grad()
        objective.loss(terms, step).backward()
        optimizer.step()
        log.append(torch.stack([each.detach().mean() for each in _with_kl(terms)]))
    model.eval()
    with torch.no_grad():
        distortion, kl = _with_kl(objective.terms(model, tests, test_eps))
        code = model.encode(tests).code
    own = {"terms": torch.stack(log), "distortion": distortion, "kl": kl, "code": code}
    return {name: [each] for name, each in own.items()} | trained(model, optimizer)


def _with_kl(terms: dict[str, Tensor]) -> list[Tensor]:
    """Distortion and KL; an autoencoder's is 0."""
    distortion, *kl = terms.values()
    return [distortion, *(kl or [torch.zeros_like(distortion)])]


def trained(model: nn.Module, optimizer: torch.optim.Adam) -> Values:
    """What training changes in place."""
    states = [optimizer.state[parameter] for parameter in model.parameters()]
    return {
        "weights": [parameter.detach() for parameter in model.parameters()],
        "moments": [state["exp_avg"] for state in states],
        "squares": [state["exp_avg_sq"] for state in states],
        "statistics": [each for each in model.buffers() if each.is_floating_point()],
    }


@cache
def _recording(case: Case) -> Recording:
    with pytest.MonkeyPatch.context() as patch:
        # The kernels do not run in this process: they need not be compiled for it.
        patch.setattr("lecture_vae.native.plan.load_kernels", lambda batch_size: None)
        patch.setattr("lecture_vae.native.plan.check_structures", lambda kernels: None)
        return record(case)


# ---- the programs ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> Callable[..., Path]:
    """Compile replay.c and the kernels; a warning is an error."""

    @cache
    def compile_replay(batch_size: int, compiler: tuple[str, ...], flags: tuple[str, ...]) -> Path:
        program = tmp_path_factory.mktemp("replay") / "replay"
        own = [flag for flag in build.FLAGS.split() if flag != "-shared"]
        command = [*compiler, *own, "-Wall", "-Wextra", "-Werror", *flags, f"-DBATCH={batch_size}"]
        command += [f"-I{KERNELS}", "-o", str(program), str(REPLAY), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return program

    return compile_replay


def check(case: Case, command: list[str], folder: Path) -> None:
    """Replay a case, and hold it against PyTorch."""
    recording, files = _recording(case), [folder / "recording", folder / "result"]
    recording.write(files[0])
    command = [*command, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    drifts = {
        name: drift(ours, recording.wanted[name]) for name, ours in recording.read(files[1]).items()
    }
    limits = {"terms": 2e-6} | dict.fromkeys(("distortion", "kl", "code"), 1e-5)
    too_far = {name: far for name, far in drifts.items() if not far < limits.get(name, 1e-4)}
    assert not too_far


def drift(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """The largest difference, relative to the largest value of its tensor.

    A tensor that is 0 but for rounding is held against the largest of all.
    """
    if not theirs:
        return 0.0
    far = torch.stack([(a - b).abs().max() for a, b in zip(ours, theirs, strict=True)])
    sizes = torch.stack([tensor.abs().max() for tensor in theirs])
    scales = torch.where(sizes > 1e-5 * sizes.max(), sizes, sizes.max())
    return (far / scales.clamp_min(1e-30)).max().item()


def needs(*programs: str) -> None:
    """Skip the test on a machine without a program; one whose program fails must fail."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"there is no program {program}")


def flags_of(family: str) -> tuple[str, ...]:
    """The compiler's flags for a family of vectors; skips the test if this machine has none."""
    if family not in RUNS.get(build.vector_family() or "", ()):
        pytest.skip(f"this machine does not run kernels for {family}")
    return tuple(build.FAMILIES[family].split())


# With vectors of 4 a batch of 64 has the tiles of 48.
@pytest.mark.parametrize(
    ("family", "case"),
    [(f, c) for f in build.FAMILIES for c in CASES if f != "neon" or c.batch_size != 64],
    ids=str,
)
def test_sanitizers_find_nothing_and_the_numbers_are_those_of_pytorch(
    family, case, compiled, tmp_path
):
    needs(COMPILER[0])
    program = compiled(case.batch_size, COMPILER, (*flags_of(family), *SANITIZED))
    check(case, [str(program)], tmp_path)


@pytest.mark.parametrize("case", FEW, ids=str)
@pytest.mark.parametrize("family", build.FAMILIES)
def test_clang_has_no_warning_and_gives_the_numbers_of_pytorch(family, case, compiled, tmp_path):
    needs("clang")
    check(case, [str(compiled(case.batch_size, ("clang",), flags_of(family)))], tmp_path)


@pytest.mark.parametrize("case", FEW, ids=str)
def test_an_emulated_64_bit_arm_processor_gives_the_numbers_of_pytorch(case, compiled, tmp_path):
    needs(ARM[0], QEMU)
    check(case, [QEMU, str(compiled(case.batch_size, ARM, ()))], tmp_path)
