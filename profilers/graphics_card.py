"""What NVIDIA's driver says of this machine's graphics cards, through the command that comes with it."""

import subprocess

_TIMEOUT_S = 30


def ask_nvidia_smi(*fields: str, card: str | None = None) -> list[list[str]]:
    """The fields of every card, in the order of the PCI bus, or of one card.

    Args:
        fields: Names of `nvidia-smi --help-query-gpu`. The answers have no units; "[N/A]" is one that a card owes.
        card: Its place in that order, from "0", or its UUID.

    Raises:
        OSError: There is no such command here.
        subprocess.SubprocessError: The command failed, or took half a minute.
    """
    only = [] if card is None else [f"--id={card}"]
    command = ["nvidia-smi", *only, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_TIMEOUT_S).stdout
    return [line.split(", ") for line in answer.splitlines()]
