"""Two drawings of how a VAE is built: the graphical model, and the computation graph."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from lecture_book.figures.svg import (
    DECODER,
    DECODER_FILL,
    ENCODER,
    ENCODER_FILL,
    GRAY,
    INK,
    LOSS,
    LOSS_FILL,
    PLAIN_FILL,
    WIDTH,
    Point,
    arrow,
    bow,
    box,
    circle,
    cross,
    drawing,
    formula,
    line,
    words,
)

GRADIENT = LOSS
BESIDE = 11  # from an arrow to the gradient that goes back along it


def graphical_model() -> str:
    """z -> x with theta, the plate over the images, and the dashed encoder."""
    z, x, theta, phi = (200, 70), (200, 190), (372, 190), (28, 70)
    parts = [
        box((200, 130), (276, 212), "none", GRAY),
        words((328, 222), "n = 1, …, N", anchor="end", size=14, color=GRAY),
        arrow((200, 96), (200, 164), color=DECODER),
        arrow((356, 190), (228, 190), color=DECODER),
        bow((178, 175), (132, 130), (178, 85), ENCODER, dashed=True),
        arrow((44, 70), (172, 70), color=ENCODER, dashed=True),
        circle(z, 26, "#fff", INK),
        circle(x, 26, "#d0d7de", INK),
        formula((200, 69), "z_n", size=20),
        formula((200, 189), "x_n", size=20),
        formula(theta, "θ", color=DECODER, size=20),
        formula(phi, "φ", color=ENCODER, size=20),
        words((234, 56), "prior", anchor="start", size=14),
        formula((234, 76), "p(z)", anchor="start"),
        words((212, 118), "decoder", anchor="start", color=DECODER, size=14),
        formula((212, 138), "p_θ(x | z)", anchor="start", color=DECODER),
        words((146, 118), "encoder", anchor="end", color=ENCODER, size=14),
        formula((146, 138), "q_φ(z | x)", anchor="end", color=ENCODER),
    ]
    return drawing(
        (WIDTH, 256),
        "The graphical model of a variational autoencoder",
        "Inside a plate that stands for n = 1 to N, an arrow leads from a white circle, the latent "
        "z, down to a gray circle, the image x. The weights theta, outside the plate, point to x. "
        "A dashed arrow, the encoder, leads back from x to z; the weights phi, outside the plate, "
        "belong to it.",
        parts,
    )


def computation_graph() -> str:
    """An autoencoder beside a VAE, with the loss and the way of its gradients."""
    return drawing(
        (WIDTH, 582),
        "The computation graphs of an autoencoder and of a variational autoencoder",
        "Left, an autoencoder: image x, encoder, code z, decoder, reconstruction, squared error S. "
        "Right, a VAE: image x, encoder, then mu and log sigma squared side by side. They lead to "
        "z = mu + sigma times epsilon, where the noise epsilon enters from the left, and to the "
        "term w KL. From z it goes on through the decoder to the reconstruction and S. S and w KL "
        "add up to the loss. Gradients run back from S through decoder and z to mu, log sigma "
        "squared and the encoder, and from w KL to the encoder alone; none goes to epsilon.",
        [*_autoencoder(56), *_vae(248), *_legend(556)],
    )


def _autoencoder(x: float) -> list[str]:
    wide = 92
    rows = [50, 106, 260, 322, 378, 434]
    return [
        words((x, 16), "Autoencoder", bold=True),
        *_chain(x, rows, gradients_from=1),
        *_value((x, rows[0]), "x"),
        *_network((x, rows[1]), wide, "encoder", "φ"),
        *_value((x, rows[2]), "z"),
        *_network((x, rows[3]), wide, "decoder", "θ"),
        *_value((x, rows[4]), "x\u0302"),
        *_term((x, rows[5]), wide, "S"),
        *_down(x, 448, 483),
        *_term((x, 498), wide, "loss = S"),
    ]


def _vae(x: float) -> list[str]:
    wide, right = 124, 362
    rows = [50, 106, 184, 260, 322, 378, 434]
    return [
        words((x + 12, 16), "Variational autoencoder", bold=True),
        *_chain(x, rows, gradients_from=1, tall=[2]),
        arrow((x + 70, 184), (right, 184), (right, 245)),
        arrow((right + BESIDE, 245), (right + BESIDE, 184 - BESIDE), (x + 72, 184 - BESIDE),
              color=GRADIENT, dashed=True),
        *_value((x, rows[0]), "x"),
        *_network((x, rows[1]), wide, "encoder", "φ"),
        box((x, rows[2]), (140, 60), ENCODER_FILL, ENCODER),
        formula((x, rows[2] - 17), "q_φ(z | x)", color=ENCODER, size=14),
        box((x - 33, rows[2] + 9), (54, 28), "#fff", ENCODER),
        box((x + 33, rows[2] + 9), (58, 28), "#fff", ENCODER),
        formula((x - 33, rows[2] + 8), "μ"),
        formula((x + 33, rows[2] + 9), "log σ^2"),
        box((x, rows[3]), (wide, 30), "#fff", INK),
        formula((x, rows[3]), "z = μ + σ ⊙ ε"),
        circle((138, rows[3]), 15, PLAIN_FILL, GRAY),
        formula((138, rows[3] - 1), "ε"),
        arrow((153, rows[3]), (x - wide / 2, rows[3])),
        line((x - wide / 2, rows[3] + BESIDE), (172, rows[3] + BESIDE), color=GRADIENT),
        cross((170, rows[3] + BESIDE), GRADIENT),
        formula((134, rows[3] + 29), "N(0, I)", size=14, color=GRAY),
        *_term((right, rows[3]), 72, "w KL"),
        *_network((x, rows[4]), wide, "decoder", "θ"),
        *_value((x, rows[5]), "x\u0302"),
        *_term((x, rows[6]), wide, "S"),
        *_down(x, 448, 483),
        arrow((right, 275), (right, 498), (x + 74, 498)),
        arrow((x + 74, 498 + BESIDE), (right + BESIDE, 498 + BESIDE), (right + BESIDE, 276),
              color=GRADIENT, dashed=True),
        *_term((x, 498), 148, "loss = S + w KL"),
    ]  # fmt: skip


def _chain(
    x: float, rows: Sequence[float], gradients_from: int, tall: Sequence[int] = ()
) -> Iterator[str]:
    """Arrows down from row to row, and the gradients back up to one of them."""
    half = [30 if number in tall else 15 for number in range(len(rows))]
    for number, (upper, lower) in enumerate(pairwise(rows)):
        start, end = upper + half[number], lower - half[number + 1]
        yield from _down(x, start, end, gradient=number >= gradients_from)


def _down(x: float, start: float, end: float, *, gradient: bool = True) -> Iterator[str]:
    yield arrow((x, start), (x, end))
    if gradient:
        yield arrow((x + BESIDE, end), (x + BESIDE, start), color=GRADIENT, dashed=True)


def _value(at: Point, text: str) -> list[str]:
    return [box(at, (54, 30), "#fff", INK), formula((at[0], at[1] - 1), text)]


def _network(at: Point, width: float, name: str, weights: str) -> list[str]:
    fill, stroke = {"φ": (ENCODER_FILL, ENCODER), "θ": (DECODER_FILL, DECODER)}[weights]
    x, y = at
    return [
        box(at, (width, 30), fill, stroke),
        words((x - 8, y), name),
        formula((x + 32, y - 1), weights, color=stroke),
    ]


def _term(at: Point, width: float, text: str) -> list[str]:
    return [box(at, (width, 30), LOSS_FILL, LOSS), formula(at, text)]


def _legend(y: float) -> list[str]:
    return [
        arrow((14, y), (50, y)),
        words((58, y), "forward", anchor="start", size=14),
        arrow((172, y), (136, y), color=GRADIENT, dashed=True),
        words((180, y), "gradient", anchor="start", size=14),
        cross((268, y), GRADIENT),
        words((282, y), "no gradient", anchor="start", size=14),
    ]
