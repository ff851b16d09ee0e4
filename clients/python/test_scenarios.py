"""The scenarios. Each runs directly at the emulator first, with one healthy key, and what the
library made of that is what it must make of the relay's answer."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import HANG_UP_SECONDS, MODELS, POOL_KEYS, SHARED


def test_an_answer_is_the_same(library):
    library.stack.configure("healthy")
    direct = library.direct.unary(MODELS["healthy"], "[[echo]] one answer")
    assert "one answer" in direct["chunks"][0]
    assert library.relay.unary(MODELS["healthy"], "[[echo]] one answer") == direct


def test_a_stream_is_the_same_chunk_by_chunk(library):
    library.stack.configure("healthy")
    prompt = "[[chunks:7]] a stream"
    direct = library.direct.stream(MODELS["healthy"], prompt)
    assert len(direct["chunks"]) >= 7
    assert library.relay.stream(MODELS["healthy"], prompt) == direct


def test_many_at_once_each_get_their_own(library):
    library.stack.configure("healthy")
    same_for_many(library, MODELS["healthy"])


def test_who_hangs_up_is_seen_upstream_within_a_second(library):
    library.stack.configure("healthy")
    prompt = "[[chunks:50]] [[delay:200ms]] hang up {}"
    direct = library.direct.hang_up(MODELS["healthy"], prompt.format("directly"))
    # What the library itself takes to hang up is not the relay's: some read on for a while.
    own = library.stack.seconds_until_cancelled("hang up directly", limit=8)
    assert own is not None, "the library did not hang up on the emulator itself"
    assert library.relay.hang_up(MODELS["healthy"], prompt.format("through the relay")) == direct
    seen = library.stack.seconds_until_cancelled("hang up through the relay", limit=own + HANG_UP_SECONDS)
    assert seen is not None, f"upstream was not hung up on; directly it took {own:.2f} s"


def test_a_key_running_dry_is_not_seen(library):
    library.stack.configure("dry")
    same_for_many(library, MODELS["dry"])
    if library.stack.fresh:
        for key in POOL_KEYS[:2]:
            answered = library.stack.answered(key)
            assert answered[200] == 1 and answered[429] >= 1, answered


def test_a_dead_key_is_not_seen(library):
    library.stack.configure("dead")
    same_for_many(library, MODELS["dead"])
    if library.stack.fresh:
        answered = library.stack.answered(POOL_KEYS[-1])
        # Each of those at once may have met it before the first answer came back; nobody later.
        assert 1 <= answered[400] <= SHARED["many"]["at_once"] and 200 not in answered, answered


@pytest.mark.parametrize("how", ["unary", "stream"])
def test_a_clients_own_mistake_is_the_librarys_own_exception(library, how):
    library.stack.configure("healthy")
    library.stack.fault({"error": "invalid_argument"})
    direct = failure(library.direct, how, MODELS["healthy"])
    assert direct["status"] == 400
    assert failure(library.relay, how, MODELS["healthy"]) == direct
    # It cost no key anything: all of them go on.
    library.stack.clear_faults()
    same_for_many(library, MODELS["healthy"])


@pytest.mark.parametrize("how", ["unary", "stream"])
def test_a_model_that_is_not_there_is_the_librarys_own_exception(library, how):
    library.stack.configure("healthy")
    direct = failure(library.direct, how, MODELS["missing"])
    assert direct["status"] == 404
    assert failure(library.relay, how, MODELS["missing"]) == direct


@pytest.mark.parametrize("how", ["unary", "stream"])
def test_a_pool_run_dry_is_the_librarys_own_exception(library, how):
    library.stack.configure("exhausted")
    direct = until_refused(library.direct, how)
    relay = until_refused(library.relay, how)
    assert (relay["class"], relay["status"]) == (direct["class"], direct["status"]) and relay["status"] == 429
    # In the message, or where a library does not put it there, in the body that it keeps.
    assert "Please retry in " in str(relay)
    assert not any(key in str(relay) for key in POOL_KEYS)
    if library.stack.fresh and how == "unary":
        # Nobody is refused while a project has room: each served what it had. One key is dead.
        assert (direct["served"], relay["served"]) == (1, len(POOL_KEYS) - 1)


@pytest.mark.parametrize("how", ["unary", "stream"])
def test_a_wrong_token_is_the_librarys_own_exception_and_costs_no_key(library, how):
    # Of a wrong key Google says 400, of what is no key at all 401, as the relay does of a wrong token.
    library.stack.configure("healthy")
    library.stack.fault({"error": "expected_oauth"})
    direct = failure(library.direct, how, MODELS["healthy"])
    assert direct["status"] == 401
    library.stack.configure("healthy")
    refused = failure(library.stranger, how, MODELS["healthy"])
    assert (refused["class"], refused["status"]) == (direct["class"], 401)
    assert library.stack.received() == []


def same_for_many(library, model):
    direct = many(library.direct, model)
    assert many(library.relay, model) == direct


def many(adapter, model):
    """Twenty requests, every second one streaming, a few at once: what each of them got."""

    def one(number):
        call = adapter.stream if number % 2 else adapter.unary
        return call(model, f"[[echo]] number {number}")

    with ThreadPoolExecutor(SHARED["many"]["at_once"]) as pool:
        return list(pool.map(one, range(SHARED["many"]["requests"])))


def failure(adapter, how, model):
    with pytest.raises(Exception) as caught:
        getattr(adapter, how)(model, "a request that fails")
    error = caught.value
    return {"class": f"{type(error).__module__}.{type(error).__qualname__}", **adapter.describe(error)}


def until_refused(adapter, how):
    """Asks until an error comes, and tells how many answers came before it."""
    for served in range(len(POOL_KEYS) + 2):
        try:
            getattr(adapter, how)(MODELS["exhausted"], "until none is left")
        except Exception as error:
            name = f"{type(error).__module__}.{type(error).__qualname__}"
            return {"class": name, "served": served, **adapter.describe(error)}
    raise AssertionError("no answer was refused")
