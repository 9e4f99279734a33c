"""What a figure shows is what was given: the artists and arrays on the Axes are compared."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex, to_rgb
from scipy.stats import norm

from lecture_vae.drawing import PALETTE, place_names, shared_limits
from lecture_vae.grids import latent_grid, plot_image_grid, plot_reconstructions, quantile_grid
from lecture_vae.plots import (
    plot_history,
    plot_latent_evolution,
    plot_latents,
    plot_rate_distortion,
)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def ax():
    return plt.subplots()[1]


@pytest.fixture
def codes():
    """100 codes in ten clusters on a circle, and their labels in mixed order."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(100) % 10
    angle = 2 * torch.pi * labels / 10
    mu = 5 * torch.stack([angle.cos(), angle.sin()], dim=1)
    return mu + 0.1 * torch.randn(100, 2, generator=generator), labels


# Latents


def test_plot_latents_draws_each_code_in_the_color_of_its_class(codes, ax):
    mu, labels = codes
    assert plot_latents(mu, labels, ax, title="VAE") is ax
    (points,) = ax.collections
    np.testing.assert_allclose(points.get_offsets(), mu)
    drawn = [to_hex(color) for color in points.get_facecolors()]
    assert drawn == [PALETTE[label] for label in labels]
    assert points.get_rasterized()
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("$z_1$", "$z_2$", "VAE")


def test_plot_latents_writes_each_class_name_with_a_white_halo_at_the_median(codes, ax):
    mu, labels = codes
    mu[0] = torch.tensor([30.0, 0.0])  # an outlier of class 0, which would move a mean
    plot_latents(mu, labels, ax, class_names=list("abcdefghij"))
    assert [text.get_text() for text in ax.texts] == list("abcdefghij")
    for c, text in enumerate(ax.texts):
        expected = np.median(mu[labels == c].numpy(), axis=0)
        np.testing.assert_allclose(text.get_position(), expected, rtol=1e-6)
        (halo,) = text.get_path_effects()
        assert halo._gc["foreground"] == "white"


def test_plot_latents_names_only_the_classes_that_occur(ax):
    plot_latents(np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([7, 3]), ax)
    assert [text.get_text() for text in ax.texts] == ["3", "7"]


def test_names_that_would_cover_each_other_become_one():
    mu = np.array([[0.0, 0.0], [0.1, 0.0], [5.0, 5.0], [0.0, 5.0]], dtype=np.float32)
    names = list("0123456789")
    placed = place_names(mu, np.array([4, 9, 2, 1]), names, letter=np.array([0.5, 0.5]))
    assert [name for _, name in placed] == ["1", "2", "4 9"]
    np.testing.assert_allclose(placed[2][0], [0.05, 0.0], atol=1e-7)
    # Names are as wide as a letter and as high as a letter: both must be nearer than that.
    apart = place_names(mu, np.array([4, 9, 2, 1]), names, letter=np.array([0.05, 0.5]))
    assert [name for _, name in apart] == ["1", "2", "4", "9"]


def test_a_collapsed_posterior_says_that_all_classes_lie_on_one_spot(ax):
    labels = np.arange(50) % 10
    plot_latents(np.zeros((50, 2)), labels, ax, prior=True)
    (text,) = ax.texts
    assert text.get_text() == "10 classes"
    x, y = text.get_position()
    assert x == 0 and y > 0  # above the spot, so that the points stay visible


def test_plot_latents_with_prior_draws_circles_of_one_two_three_sigma(codes, ax):
    plot_latents(*codes, ax, prior=True)
    radii = [np.hypot(*line.get_data()) for line in ax.lines]
    for radius, expected in zip(radii, [1, 2, 3], strict=True):
        np.testing.assert_allclose(radius, expected)
    assert ax.get_aspect() == 1
    # The masses that the docstring quotes: P(|z| < r) = 1 - exp(-r^2 / 2) in two dimensions.
    masses = 1 - np.exp(-(np.array([1, 2, 3]) ** 2) / 2)
    assert [round(100 * mass) for mass in masses] == [39, 86, 99]


def test_equal_aspect_is_a_choice(codes, ax):
    plot_latents(*codes, ax)
    assert ax.get_aspect() == "auto"
    mu, labels = codes
    wide = mu * torch.tensor([1.0, 0.1])
    plot_latents(wide, labels, plt.subplots()[1], equal_aspect=True)
    ax = plt.gca()
    assert ax.get_aspect() == 1
    assert np.ptp(ax.get_xlim()) == pytest.approx(np.ptp(ax.get_ylim()))
    assert ax.get_xlim()[0] < wide[:, 0].min() and wide[:, 0].max() < ax.get_xlim()[1]


def test_markers_shrink_with_the_number_of_points(ax):
    sizes = []
    for n in (360, 2_000, 10_000):
        plot_latents(np.zeros((n, 2)), np.zeros(n, dtype=int), ax)
        sizes.append(ax.collections[-1].get_sizes()[0])
    assert sizes == [22.0, 10.0, 2.5]


def test_plot_latents_takes_tensors_that_require_gradients(codes, ax):
    mu, labels = codes
    plot_latents(mu.requires_grad_(), labels, ax)
    assert len(ax.collections[0].get_offsets()) == 100


@pytest.mark.parametrize(
    ("mu", "labels", "names", "message"),
    [
        (np.zeros((5, 3)), np.zeros(5, int), None, r"\[5, 3\] and \[5\]"),
        (np.zeros((5, 2)), np.zeros(4, int), None, r"\[5, 2\] and \[4\]"),
        (np.zeros((5, 2)), np.zeros((5, 1), int), None, r"\[5, 2\] and \[5, 1\]"),
        (np.zeros((0, 2)), np.zeros(0, int), None, "N >= 1"),
        (np.full((5, 2), np.nan), np.zeros(5, int), None, "finite"),
        (np.zeros((5, 2)), np.full(5, 10), None, "0 to 9.*from 10 to 10"),
        (np.zeros((5, 2)), np.full(5, -1), None, "0 to 9"),
        (np.zeros((5, 2)), np.zeros(5), None, "whole numbers .* float64"),
        (np.zeros((5, 2)), np.full(5, 2), ["a", "b"], "0 to 1"),
    ],
)
def test_plot_latents_refuses_what_does_not_fit_and_opens_no_figure(mu, labels, names, message):
    with pytest.raises(ValueError, match=message):
        plot_latents(mu, labels, class_names=names)
    assert plt.get_fignums() == []


# Evolution


@pytest.fixture
def evolution(codes):
    """31 evaluations of the codes, growing from a point; steps 0, 100, ... 3,000."""
    mu, labels = codes
    growth = torch.linspace(0, 1, 31).reshape(-1, 1, 1)
    return list((growth * mu).half().numpy()), labels, list(range(0, 3_001, 100))


def test_an_evolution_goes_from_the_first_to_the_last_evaluation_on_one_scale(evolution):
    latents, labels, steps = evolution
    axes = plt.subplots(1, 5)[1]
    assert plot_latent_evolution(latents, labels, steps, axes) is axes
    titles = [ax.get_title() for ax in axes]
    assert titles == ["step 0", "step 100", "step 300", "step 1,000", "step 3,000"]
    for ax, i in zip(axes, [0, 1, 3, 10, 30], strict=True):
        np.testing.assert_array_equal(ax.collections[0].get_offsets(), latents[i])
        assert (ax.get_xlim(), ax.get_ylim()) == (axes[0].get_xlim(), axes[0].get_ylim())


@pytest.mark.parametrize("panels", [2, 3, 7, 31])
def test_film_strip_shows_no_evaluation_twice(evolution, panels):
    axes = plt.subplots(1, panels)[1]
    plot_latent_evolution(*evolution, axes)
    shown = [ax.get_title() for ax in axes]
    assert len(set(shown)) == panels
    assert (shown[0], shown[-1]) == ("step 0", "step 3,000")


def test_film_strip_refuses_what_does_not_fit(evolution):
    latents, labels, steps = evolution
    axes = plt.subplots(1, 3)[1]
    with pytest.raises(ValueError, match="3 Axes and 2 evaluations"):
        plot_latent_evolution(latents[:2], labels, steps[:2], axes)
    with pytest.raises(ValueError, match="1 Axes"):
        plot_latent_evolution(latents, labels, steps, axes[:1])
    with pytest.raises(ValueError, match="31 evaluations and 30 steps"):
        plot_latent_evolution(latents, labels, steps[1:], axes)
    with pytest.raises(ValueError, match="steps must increase"):
        plot_latent_evolution(latents, labels, steps[::-1], axes)
    latents[3][0, 0] = np.nan
    with pytest.raises(ValueError, match="at step 300: latents must be finite"):
        plot_latent_evolution(latents, labels, steps, axes)


def test_shared_limits_hold_99_percent_of_each_evaluation_and_ignore_a_stray_point():
    latents = np.random.default_rng(0).normal(size=(4, 1_000, 2)).astype(np.float32)
    latents[1] *= 3  # the widest evaluation is one of the middle
    latents[2, 0] = 1e4
    (left, right), (bottom, top) = shared_limits(latents)
    assert right - left == pytest.approx(top - bottom) and right - left < 30
    low, high = [left, bottom], [right, top]
    inside = ((latents > low) & (latents < high)).all(axis=2).mean(axis=1)
    assert (inside >= 0.99).all()


def test_shared_limits_of_a_single_spot_are_not_empty():
    assert shared_limits(np.full((2, 5, 2), 3.0)) == ((2.0, 4.0), (2.0, 4.0))


# Loss curves


@pytest.fixture
def history():
    steps = [0, 100, 200]
    return pd.DataFrame(
        {"step": steps, "train_loss": [np.nan, 40.0, 35.0], "test_loss": [60.0, 42.0, 38.0]}
    )


def test_plot_history_draws_one_labeled_curve_per_run(history, ax):
    lower = history.assign(test_loss=history["test_loss"] - 5)
    assert plot_history({"AE": history, "VAE": lower}, ax) is ax
    assert [line.get_label() for line in ax.lines] == ["AE", "VAE"]
    for line, values in zip(ax.lines, [[60, 42, 38], [55, 37, 33]], strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [0, 100, 200])
        np.testing.assert_array_equal(line.get_ydata(), values)
    first, second = ax.lines
    assert first.get_color() != second.get_color() and first.get_marker() != second.get_marker()
    assert ax.get_ylabel() == "test loss"  # its unit is that of the objective
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["AE", "VAE"]


def test_plot_history_skips_the_nan_of_the_train_curve_at_step_0(history, ax):
    plot_history({"AE": history}, ax, train=True)
    plot_history({"AE": history}, ax, column="train_loss")
    test, train, alone = ax.lines
    np.testing.assert_array_equal(alone.get_xdata(), [100, 200])
    np.testing.assert_array_equal(test.get_xdata(), [0, 100, 200])
    np.testing.assert_array_equal(train.get_xdata(), [100, 200])
    np.testing.assert_array_equal(train.get_ydata(), [40, 35])
    assert train.get_label() == "AE (train)"


def test_plot_history_refuses_a_missing_column_and_an_empty_dict(history):
    with pytest.raises(ValueError, match=r"'AE' has no column \['test_kl'\], only \['step'"):
        plot_history({"AE": history}, column="test_kl")
    with pytest.raises(ValueError, match="at least one run"):
        plot_history({})
    assert plt.get_fignums() == []


# Grids of codes


def test_latent_grid_reads_from_the_top_left_to_the_bottom_right():
    expected = [[-2, 2], [0, 2], [2, 2], [-2, 0], [0, 0], [2, 0], [-2, -2], [0, -2], [2, -2]]
    assert latent_grid(3, extent=2.0).tolist() == expected


def test_quantile_grid_lies_on_the_quantiles_of_the_prior_in_the_same_order():
    grid = quantile_grid(5).reshape(5, 5, 2)
    line = norm.ppf([0.1, 0.3, 0.5, 0.7, 0.9])
    for i in range(5):
        np.testing.assert_allclose(grid[i, :, 0], line, atol=1e-6)  # z1 rises along a row
        np.testing.assert_allclose(grid[:, i, 1], line[::-1], atol=1e-6)  # z2 falls down the rows


def test_grids_have_400_float_codes_by_default():
    for grid in (latent_grid(), quantile_grid()):
        assert grid.shape == (400, 2) and grid.dtype == torch.float32
    assert latent_grid().abs().max() == 2.0


def test_grids_refuse_too_few_codes():
    with pytest.raises(ValueError, match="n >= 2 latents per side, got 1"):
        latent_grid(1)
    with pytest.raises(ValueError, match="n >= 1 latents per side, got 0"):
        quantile_grid(0)


# Images


def numbered_images(count):
    """Image k is filled with k/100; one white pixel tells up from down and left from right."""
    images = torch.arange(count).reshape(-1, 1, 1, 1).expand(-1, 1, 4, 3) / 100
    images = images.clone()
    images[:, 0, 0, 2] = 1.0
    return images


def test_image_grid_is_one_array_with_each_image_at_its_row_and_column(ax):
    images = 0.5 * numbered_images(6) + 0.1  # neither black nor white occurs
    assert plot_image_grid(images, 3, ax, title="samples") is ax
    (picture,) = ax.images
    tiled = picture.get_array()
    assert tiled.shape == (2 * 4, 3 * 3)
    for k in range(6):
        row, column = divmod(k, 3)
        tile = tiled[4 * row : 4 * row + 4, 3 * column : 3 * column + 3]
        np.testing.assert_array_equal(tile, images[k, 0])
    assert picture.get_clim() == (0, 1) and picture.cmap.name == "gray"
    assert ax.get_title() == "samples"


def test_image_grid_with_extent_centers_each_image_on_its_code(ax):
    grid = latent_grid(3, extent=2.0)
    plot_image_grid(numbered_images(9), 3, ax, extent=2.0)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$z_1$", "$z_2$")
    (picture,) = ax.images
    left, right, bottom, top = picture.get_extent()
    assert picture.origin == "upper"
    width, height = (right - left) / 3, (top - bottom) / 3
    for k, (z1, z2) in enumerate(grid.tolist()):
        row, column = divmod(k, 3)
        assert left + (column + 0.5) * width == pytest.approx(z1)
        assert top - (row + 0.5) * height == pytest.approx(z2)
    # The view follows the picture.
    assert ax.get_xlim() == (left, right) and ax.get_ylim() == (bottom, top)


@pytest.mark.parametrize(
    ("shape", "columns", "extent", "message"),
    [
        ((6, 4, 3), 3, None, r"\[M, 1, H, W\].* \[6, 4, 3\]"),
        ((6, 3, 4, 3), 3, None, r"\[M, 1, H, W\].* \[6, 3, 4, 3\]"),
        ((0, 1, 4, 3), 3, None, "M >= 1"),
        ((7, 1, 4, 3), 3, None, "7 images do not fill rows of 3"),
        ((6, 1, 4, 3), 0, None, "rows of 0"),
        ((6, 1, 4, 3), 3, 2.0, "square latent_grid, got 2 x 3"),
        ((1, 1, 4, 3), 1, 2.0, "square latent_grid, got 1 x 1"),
    ],
)
def test_image_grid_refuses_what_does_not_fit_and_opens_no_figure(shape, columns, extent, message):
    with pytest.raises(ValueError, match=message):
        plot_image_grid(torch.zeros(shape), columns, extent=extent)
    assert plt.get_fignums() == []


def test_reconstructions_have_one_row_per_name(ax):
    original, ae = numbered_images(5), 1 - numbered_images(5)
    assert plot_reconstructions({"original": original, "AE": ae.numpy()}, ax) is ax
    (picture,) = ax.images
    tiled = picture.get_array()
    np.testing.assert_array_equal(tiled[:4], torch.cat(list(original[:, 0]), dim=1))
    np.testing.assert_array_equal(tiled[4:], torch.cat(list(ae[:, 0]), dim=1))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["original", "AE"]
    assert ax.get_yticks().tolist() == [1.5, 5.5]  # rows 0 ... 3 and 4 ... 7


@pytest.mark.parametrize(
    "images",
    [
        {},
        {"original": torch.zeros(5, 1, 4, 3), "AE": torch.zeros(4, 1, 4, 3)},
        {"original": torch.zeros(5, 4, 3)},
        {"original": torch.zeros(0, 1, 4, 3)},
    ],
    ids=["nothing", "lengths", "no channel", "no image"],
)
def test_reconstructions_refuse_what_does_not_fit_and_open_no_figure(images):
    with pytest.raises(ValueError, match=r"shape \[., 1, H, W\]"):
        plot_reconstructions(images)
    assert plt.get_fignums() == []


# Rate and distortion


@pytest.fixture
def sweep():
    """Two seeds of two weights with 2 and 8 latents, and a run that failed."""
    rows = [
        {"latent_dim": d, "kl_weight": w, "rate_bits": 8 / w + seed, "squared_error": 30 + w - d}
        for d in (8, 2)
        for w in (1.0, 0.25)
        for seed in (0, 1)
    ]
    return pd.DataFrame([*rows, {"latent_dim": 2, "kl_weight": 4.0}])


def test_a_line_for_each_number_of_latents_leads_through_the_means_of_each_weight(sweep, ax):
    assert plot_rate_distortion(sweep, ax) is ax
    two, eight = ax.lines
    assert [line.get_label() for line in ax.lines] == ["2 latents", "8 latents"]
    np.testing.assert_allclose(two.get_xydata(), [[8.5, 29], [32.5, 28.25]])
    np.testing.assert_allclose(eight.get_xydata(), [[8.5, 23], [32.5, 22.25]])
    assert [text.get_text() for text in ax.texts] == ["1", "0.25"] * 2
    assert [tuple(text.xy) for text in ax.texts[:2]] == [(8.5, 29), (32.5, 28.25)]
    points = np.concatenate([np.asarray(c.get_offsets()) for c in ax.collections])
    complete = sweep.dropna()[["rate_bits", "squared_error"]].to_numpy()
    assert sorted(map(tuple, points)) == sorted(map(tuple, complete))


def test_a_sweep_without_a_complete_row_cannot_be_drawn(sweep):
    with pytest.raises(ValueError, match="none of the 1 rows has all of them"):
        plot_rate_distortion(sweep.tail(1))
    assert plt.get_fignums() == []


# All of them


DRAW = {
    "rate and distortion": lambda ax: plot_rate_distortion(
        pd.DataFrame({"latent_dim": [2], "kl_weight": [1], "rate_bits": [1], "squared_error": [1]}),
        ax,
    ),
    "latents": lambda ax: plot_latents(np.zeros((3, 2)), np.arange(3), ax),
    "history": lambda ax: plot_history({"a": pd.DataFrame({"step": [0], "test_loss": [1]})}, ax),
    "images": lambda ax: plot_image_grid(numbered_images(4), 2, ax),
    "reconstructions": lambda ax: plot_reconstructions({"original": numbered_images(4)}, ax),
}


@pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW.keys())
def test_a_plot_opens_one_white_figure_without_axes_and_none_with_axes(draw):
    with plt.style.context("dark_background"):
        ax = draw(None)
        assert plt.get_fignums() == [1]
        other = plt.subplots()[1]
        assert draw(other) is other
        assert plt.get_fignums() == [1, 2]
    for drawn in (ax, other):
        assert drawn.figure.get_facecolor() == (1, 1, 1, 1)
        assert drawn.get_facecolor() == (1, 1, 1, 1)


# Protanopia, deuteranopia and tritanopia, on linear RGB: Machado, Oliveira & Fernandes (2009).
VISION = {
    "full": np.eye(3),
    "no red": np.array(
        [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]
    ),
    "no green": np.array(
        [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]
    ),
    "no blue": np.array(
        [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]]
    ),
}


def seen(colors, vision):
    """Colors in CIELAB, where distances are about what an eye sees (2 is just noticeable)."""
    rgb = np.array([to_rgb(color) for color in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ vision.T, 0, 1)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = linear @ to_xyz.T / to_xyz.sum(axis=1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


@pytest.mark.parametrize("vision", VISION.values(), ids=VISION.keys())
def test_the_ten_colors_differ_for_every_kind_of_color_vision(vision):
    assert len(set(PALETTE)) == 10
    lab = seen(PALETTE, vision)
    distance = {
        pair: np.linalg.norm(lab[pair[0]] - lab[pair[1]])
        for pair in itertools.combinations(range(10), 2)
    }
    assert min(distance.values()) > 15
    # Digits whose clusters touch in most latent spaces.
    for pair in [(3, 8), (3, 5), (5, 8), (4, 9), (7, 9), (4, 7), (0, 6), (2, 3)]:
        assert distance[pair] > 25
