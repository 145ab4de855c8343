"""How long a Hub that is slow, busy or silent is waited for."""

import time
from collections.abc import Callable
from typing import TypeVar

from huggingface_hub import set_client_factory
from huggingface_hub.errors import HfHubHTTPError, HTTPError
from huggingface_hub.utils._http import default_client_factory

from train.runtime.distributed import say

Result = TypeVar("Result")
# Seconds without an answer, where the client would wait for ever; the times between tries; and the longest of them.
SILENCE = 60.0
WAITS = (1.0, 2.0, 4.0, 8.0)
_LONGEST_WAIT = 60.0
# Too many requests, and what a server answers that will be well again.
_BUSY = {429, 500, 502, 503, 504}


def bound_requests(silence: float = SILENCE) -> None:
    """Let every request of this process to the Hub fail after some seconds without an answer."""

    def client():  # type: ignore[no-untyped-def] # (the library of the client is its own choice)
        made = default_client_factory()
        made.timeout = silence
        return made

    set_client_factory(client)


def patiently(ask: Callable[[], Result]) -> Result:
    """Return what the Hub answers, after some tries if it is busy or silent; the last failure is raised.

    Args:
        ask: a request that may be made again.
    """
    for wait in WAITS:
        try:
            return ask()
        except HfHubHTTPError as error:
            if error.response.status_code not in _BUSY:
                raise
            wait = max(wait, _asked_wait(error))
            say(f"note: the Hub answers {error.response.status_code}; the next try is in {wait:.3g} s")
        except HTTPError as error:
            say(f"note: the Hub does not answer ({type(error).__name__}); the next try is in {wait:.3g} s")
        time.sleep(wait)
    return ask()


def _asked_wait(error: HfHubHTTPError) -> float:
    """Return for how long the Hub asks to be left alone, within reason."""
    asked = error.response.headers.get("Retry-After", "")
    return min(float(asked), _LONGEST_WAIT) if asked.isdecimal() else 0.0
