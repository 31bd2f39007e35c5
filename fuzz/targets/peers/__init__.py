"""The shipped engines that can be judged by name: the table of peers.

Each is an adapter of this project around what a released package runs. None of their code is in this repository:
an adapter imports the installed package when it runs, or a few of its files from a folder (`PEERS_PATH`).
"""

from fuzz.targets.peers import flashinfer, msa, sglang, transformers, vllm
from fuzz.targets.peers.peer import Peer

PEERS: dict[str, Peer] = {
    peer.name: peer for peer in (*vllm.PEERS, *msa.PEERS, *sglang.PEERS, *flashinfer.PEERS, *transformers.PEERS)
}
"""Name -> peer, in the order that they are listed and judged."""

__all__ = ["PEERS", "Peer"]
