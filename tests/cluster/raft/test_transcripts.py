"""Raft's rules as transcripts: what each member says and does in each scene.

    REWRITE=1 python -m pytest tests/cluster/raft/test_transcripts.py

writes what happens now below each command, for a change that is meant. Read the difference before it is committed.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.cluster.raft.transcript import Transcript

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


async def played(text: str) -> str:
    """The same transcript, with the output of each command as it is now."""
    transcript, blocks = Transcript(), []
    for block in text.strip("\n").split("\n\n"):
        lines = block.split("\n----")[0].split("\n")
        commands = [line for line in lines if line and not line.startswith("#")]
        assert len(commands) <= 1, f"more than one command in a block: {commands}"
        if commands:
            lines += ["----", await transcript.do(commands[0])]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_a_transcript_is_what_happens(path: Path) -> None:
    text = path.read_text()
    now = asyncio.run(played(text))
    if os.environ.get("REWRITE") == "1":
        path.write_text(now)
    else:
        assert now.split("\n") == text.split("\n")


async def test_another_output_is_noticed() -> None:
    assert await played("cluster a\n----\nsomething else\n") == "cluster a\n----\nok\n"
    with pytest.raises(ValueError, match="no command of a transcript: 'elekt a'"):
        await played("elekt a\n----\n")
