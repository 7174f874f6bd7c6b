"""Public: what every public function does when it is called: it suggests keywords, and its tracebacks are short."""

from __future__ import annotations

import inspect
from functools import partial, wraps
from types import FunctionType
from typing import Any, TypeVar

from biocolab_accessor.errors import short_traceback
from biocolab_accessor.messages import did_you_mean, listing

__all__ = ["public"]

_Thing = TypeVar("_Thing")
# Not errors of this package, yet not bugs either, which a whole traceback would help to find.
_USUAL = (KeyboardInterrupt, OSError)


def public(thing: _Thing) -> _Thing:
    """A public function, or a class with its public methods: an unknown keyword is answered with similar ones."""
    if isinstance(thing, type):
        for name, each in list(vars(thing).items()):
            if isinstance(each, FunctionType) and (name == "__init__" or not name.startswith("_")):
                setattr(thing, name, public(each))
        return thing
    assert isinstance(thing, FunctionType)
    function = thing
    parameters = inspect.signature(function).parameters
    names = [name for name in parameters if name != "self"]
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            unknown = next((name for name in kwargs if name not in parameters), None)
            if unknown is not None and not takes_any:
                near = did_you_mean(unknown, names) or f"; it takes {listing(names, limit=20) or 'no arguments'}"
                msg = f"{function.__qualname__}() got an unexpected keyword argument {unknown!r}{near}"
                raise _shortly(TypeError(msg))
            return function(*args, **kwargs)
        except _USUAL as error:
            _shortly(error)
            raise
        finally:
            del args, kwargs  # a verbose traceback shows the variables of this frame, and any argument may be a token

    return called  # type: ignore[return-value]


def _shortly(error: BaseException) -> BaseException:
    """The error, which IPython then shows as it shows those of this package."""
    if not hasattr(error, "_render_traceback_"):
        error._render_traceback_ = partial(short_traceback, error)  # type: ignore[attr-defined]
    return error
