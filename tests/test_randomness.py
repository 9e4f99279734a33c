from itertools import islice

import torch

from lecture_vae.randomness import NOISE_BLOCK, batches, evaluation_noise, noise


def test_every_image_comes_once_an_epoch_and_no_batch_is_short():
    seen = list(islice(batches(10, 4, seed=0), 5))  # 20 images: two epochs
    assert all(len(batch) == 4 for batch in seen)
    stream = torch.cat(seen)
    assert sorted(stream[:10].tolist()) == list(range(10))
    assert sorted(stream[10:].tolist()) == list(range(10))
    assert stream[:10].tolist() != stream[10:].tolist()


def test_a_batch_may_be_larger_than_the_data():
    (batch,) = islice(batches(3, 7, seed=0), 1)
    assert sorted(batch.tolist()[:3]) == [0, 1, 2]
    assert len(batch) == 7


def test_starting_at_a_step_draws_what_a_plain_run_draws_there():
    for start in (1, 2, 3, 7):
        plain = list(islice(batches(10, 4, seed=2), 12))[start:]
        late = list(islice(batches(10, 4, seed=2, start=start), 12 - start))
        assert torch.equal(torch.stack(plain), torch.stack(late))
    for start in (1, NOISE_BLOCK - 1, NOISE_BLOCK, NOISE_BLOCK + 3):
        plain = list(islice(noise((2,), seed=2), NOISE_BLOCK + 10))[start:]
        late = list(islice(noise((2,), seed=2, start=start), NOISE_BLOCK + 10 - start))
        assert torch.equal(torch.stack(plain), torch.stack(late))


def test_seeds_and_purposes_draw_differently_and_repeat():
    first, second = islice(noise((1_000,), seed=0), 2)
    evaluation = evaluation_noise((1_000,), seed=0)
    assert torch.equal(evaluation, evaluation_noise((1_000,), seed=0))
    others = [second, evaluation, next(noise((1_000,), seed=1)), evaluation_noise((1_000,), seed=1)]
    for other in others:
        assert abs(torch.corrcoef(torch.stack([first, other]))[0, 1]) < 0.15


def test_the_global_generator_is_neither_read_nor_moved():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    one = next(noise((3,), seed=0)), next(batches(5, 2, seed=0)), evaluation_noise((3,), seed=0)
    assert torch.equal(torch.rand(1), expected)
    two = next(noise((3,), seed=0)), next(batches(5, 2, seed=0)), evaluation_noise((3,), seed=0)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
