"""Plain HTTP questions to a test's server: on a busy machine an answer is late, not wrong."""

from functools import partial

import httpx

get = partial(httpx.get, timeout=60.0)
post = partial(httpx.post, timeout=60.0)
