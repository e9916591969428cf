"""Workers side by side: all of them, or the first error."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any


async def run_all(workers: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all; when one raises, cancel the others and raise that."""
    tasks = [asyncio.create_task(w) for w in workers]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
