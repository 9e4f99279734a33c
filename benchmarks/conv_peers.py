"""The convolutional VAE beside the same libraries as in `peers.py`, in the same way.

Without `vmap`: of one model already, a step in JAX takes long here.
"""

from peers import PEERS, main

if __name__ == "__main__":
    one_by_one = [name for name in PEERS if "vmap" not in name]
    main("conv-vae", "conv_peers", steps=300, eval_every=100, peers=one_by_one)
