"""Clauses of Component, which parts of every kind keep."""

from __future__ import annotations

from pydantic import BaseModel, ValidationError

from rayflume.component import options_of
from rayflume.protocols import built
from rayflume.testing._expect import raises, true
from rayflume.testing._trial import Trial

_OF_THE_PLAN = {
    "source": {"type", "channels", "interceptors", "selector", "placement"},
    "channel": {"type", "placement"},
    "sink": {"type", "channel", "placement"},
}


def p1_the_class_and_its_options_are_documented(trial: Trial) -> None:
    true((trial.part.__doc__ or "").strip() != (BaseModel.__doc__ or ""), "it has a docstring")
    true((trial.part.__doc__ or "").strip(), "the class has a docstring")
    for name, field in options_of(trial.part).items():
        true(field.description, f'the option {name!r} says what it means: `option("...")`')


def p2_no_option_has_the_name_of_a_key_of_the_plan(trial: Trial) -> None:
    taken = _OF_THE_PLAN.get(trial.part.kind, {"type"})
    for name, field in options_of(trial.part).items():
        true((field.alias or name) not in taken, f"{name!r} is a key of the plan: rename it")


def p3_an_unknown_option_is_refused(trial: Trial) -> None:
    with raises(ValidationError):
        trial.part.model_validate({**trial.options, "no_such_option_anywhere": 1})


def p4_what_build_makes_has_all_that_its_kind_is_asked_for(trial: Trial) -> None:
    built(trial.part.model_validate(dict(trial.options)), trial.context())
