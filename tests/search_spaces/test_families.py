"""Laws and oracles of every schedule family."""

import io
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from itertools import chain
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import FixedTrial
from scipy.interpolate import CubicHermiteSpline, PchipInterpolator
from torch.optim import SGD, Optimizer
from torch.optim import lr_scheduler as torch_schedulers
from torch.optim.lr_scheduler import LRScheduler

from analysis.figures.gallery import TUTORIAL
from search_spaces import FAMILIES, GROUPS, ScheduleFamily, select
from search_spaces.family import MIN_STEPS, NO_EXTRAS, Extras
from search_spaces.optimizers import UNTRACED, applied_rate, momentum
from search_spaces.preflight import problem

PEAK = (1e-3, 1.0)
HORIZONS = (MIN_STEPS, 97, 1_170)
LONG = 10_000
Parameters = dict[str, Any]
every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))


WITH_WARMUP = {"warmup_fraction": FloatDistribution(0.0, 0.3)}


def sampled(
    family: ScheduleFamily, count: int = 10, extras: Extras = NO_EXTRAS
) -> list[Parameters]:
    """Random parameters from the family's ranges."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [family.suggest(study.ask(), PEAK, extras) for _ in range(count)]


def make_optimizer(lr: float) -> Optimizer:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)


def run(
    build: Callable[[Optimizer], LRScheduler],
    optimizer: Optimizer,
    steps: int,
    key: str = "lr",
) -> np.ndarray:
    """The values that each optimizer step uses."""
    schedule = build(optimizer)
    if switch := getattr(optimizer, "train", None):
        switch()
    values = []
    for _ in range(steps):
        optimizer.step()
        group = optimizer.param_groups[0]
        values.append(applied_rate(group) if key == "lr" else float(group[key]))
        schedule.step()
    return np.array(values)


def own_optimizer(family: ScheduleFamily, parameters: Parameters, horizon: int) -> Optimizer:
    return family.make_optimizer([torch.nn.Parameter(torch.zeros(1))], parameters, horizon)


def curve(family: ScheduleFamily, parameters: Parameters, horizon: int) -> np.ndarray:
    return run(
        lambda optimizer: family.build(optimizer, parameters, horizon),
        own_optimizer(family, parameters, horizon),
        horizon,
    )


@cache
def curves(
    family: ScheduleFamily, horizon: int, count: int = 10
) -> list[tuple[Parameters, np.ndarray]]:
    """Random parameters and their curves, which are drawn once: some have 10,000 steps."""
    return [(one, curve(family, one, horizon)) for one in sampled(family, count)]


def peak_fraction(name: str, parameters: Mapping[str, Any]) -> float:
    """Where in the horizon the highest rate belongs."""
    match name:
        case "triangular" | "triangular2" | "exp_range":
            return float(1 / (2 * parameters["cycles"]))
        case "one_cycle" | "inverse_sqrt":
            return float(parameters["rise_fraction"]) - 1e-4  # at the last step of the rise
        case "sine" | "sine2":
            return float(1 / (2 * parameters["cycles"]))
        case "schedule_free" | "refined":
            return float(parameters["warmup_fraction"])
        case _:
            return 0.0


@every_family
@pytest.mark.parametrize("horizon", HORIZONS)
def test_rates_are_lawful(family: ScheduleFamily, horizon: int) -> None:
    for parameters, rates in curves(family, horizon):
        assert np.isfinite(rates).all()
        assert (rates >= 0).all()
        assert rates.max() <= parameters["peak_lr"] * (1 + 1e-12)


@every_family
def test_the_peak_stands_where_it_should(family: ScheduleFamily) -> None:
    for parameters, rates in curves(family, LONG, 5):
        step = round(peak_fraction(family.name, parameters) * LONG)
        highest = float(parameters.get("start_ratio", 1)) if family.name == "greedy" else 1.0
        assert rates[step] == pytest.approx(highest * parameters["peak_lr"], rel=1e-3)


@every_family
def test_only_a_family_that_cycles_rises_after_it_has_fallen(family: ScheduleFamily) -> None:
    rises_again = False
    for _, rates in curves(family, 1_170):
        change = np.diff(rates)
        fell = np.maximum.accumulate(change < -1e-15)
        rises_again |= bool((change[fell] > 1e-15).any())
    # An irregular one does where the run makes it.
    assert rises_again == (family.rises_again and not family.irregular)


@every_family
def test_the_shape_does_not_depend_on_the_horizon(family: ScheduleFamily) -> None:
    for parameters, drawn in curves(family, LONG, 5):
        short = curve(family, parameters, LONG // 10)
        long = drawn[::10]
        # At a jump of the rate, one step's shift is the whole jump; jumps are few. A ramp starts at
        # one step's share of it, which is more of a shorter one.
        ramp = family.name in ("inverse_sqrt", "schedule_free", "refined")
        tolerance = (0.05 if ramp else 0.01) * parameters["peak_lr"]
        differs = ~np.isclose(short, long, rtol=0.05, atol=tolerance)
        assert differs.mean() <= 0.01


def knots(places: Sequence[float], values: Any) -> Callable[[float], float]:
    """SciPy's monotone cubic, of what is left of the run; its numbers have six decimals."""
    slopes = PchipInterpolator(places, values).derivative()(places)
    drawn = CubicHermiteSpline(*(np.round(row, 6) for row in (places, values, slopes)))
    return lambda z: float(drawn(1 - z))


def straight(rise_steps: int, horizon: int) -> Callable[[float], float]:
    """The refined schedule of norms that stay the same: the line, times the warm-up."""
    rise = rise_steps / horizon
    places = sorted({*np.linspace(0, 1, 41).round(6), round(rise, 6)})
    values = np.array([(1 - x) * min(1, (x + 1 / horizon) / rise) for x in places])
    return knots(places, values / values.max())


def restart(p: Parameters, horizon: int, t: int) -> float:
    """Cycle after cycle, as timm's CosineLRScheduler counts them."""
    equal, end = p["growth"] == 1, p["end_ratio"]
    first = math.ceil(horizon / (p["cycles"] if equal else 2 ** p["cycles"] - 1))
    cycle = t // first if equal else math.floor(math.log2(t / first + 1) + 1e-12)
    begin = first * (cycle if equal else 2**cycle - 1)
    wave = (1 + math.cos(math.pi * (t - begin) / (first * p["growth"] ** cycle))) / 2
    return float(end + (p["cycle_decay"] ** cycle - end) * wave)


def torchs_own(name: str, p: Parameters, horizon: int) -> Callable[[Optimizer], LRScheduler]:
    """The same schedule written by hand with torch's own class."""
    peak = p["peak_lr"]
    if name in ("triangular", "triangular2", "exp_range"):
        base, half = p["base_ratio"] * peak, horizon / p["cycles"] / 2
        gamma = p.get("end_amplitude", 1.0) ** (1 / horizon)
        return lambda optimizer: torch_schedulers.CyclicLR(
            optimizer,
            base,
            base + (peak - base) / gamma**half,
            step_size_up=half,
            mode=name,  # type: ignore[arg-type]
            gamma=gamma,
            cycle_momentum=False,
        )

    def steps(fraction: float) -> int:
        return max(1, round(fraction * horizon))

    def by(factor: Callable[[float], float]) -> Callable[[Optimizer], LRScheduler]:
        """By hand: the factor as a function of what is left of the run, z."""
        return lambda o: torch_schedulers.LambdaLR(o, lambda t: factor(1 - t / horizon))

    def cooled(curve: Callable[[float], float]) -> Callable[[Optimizer], LRScheduler]:
        cooldown = steps(p["cooldown_fraction"])
        begin, end = horizon - cooldown, p.get("end_ratio", 0.0)
        return lambda o: torch_schedulers.LambdaLR(
            o, lambda t: end + (1 - end) * curve((t - begin) / cooldown) if t > begin else 1.0
        )

    def flat() -> int:
        return min(steps(p["flat_fraction"]), horizon - 1)

    def humps(z: float, decay: float) -> float:
        position = (1 - z) * p["cycles"]
        hump = abs(math.sin(math.pi * position)) * decay ** math.floor(position + 1e-12)
        return float(p["base_ratio"] + (1 - p["base_ratio"]) * hump)

    own: dict[str, Callable[[], Callable[[Optimizer], LRScheduler]]] = {
        "constant": lambda: by(lambda _: 1.0),
        "step": lambda: lambda o: torch_schedulers.StepLR(o, steps(p["step_fraction"]), p["gamma"]),
        "multi_step": lambda: (
            lambda o: torch_schedulers.MultiStepLR(
                o,
                [
                    steps(p["first_drop"] + (1 - p["first_drop"]) * k / p["drops"])
                    for k in range(p["drops"])
                ],
                p["gamma"],
            )
        ),
        "exponential": lambda: (
            lambda o: torch_schedulers.ExponentialLR(
                o, math.exp(math.log(p["end_ratio"]) / horizon)
            )
        ),
        "linear": lambda: (
            lambda o: torch_schedulers.LinearLR(o, 1.0, p["end_ratio"], steps(p["decay_fraction"]))
        ),
        "linear_to_zero": lambda: by(lambda z: z),
        "polynomial": lambda: by(lambda z: p["end_ratio"] + (1 - p["end_ratio"]) * z ** p["power"]),
        "power_cool": lambda: by(lambda z: min(1.0, p["gain"] * z ** p["power"])),
        "k_decay": lambda: by(lambda z: (1 + math.cos(math.pi * (1 - z) ** p["k"])) / 2),
        "tanh": lambda: by(lambda z: (1 - math.tanh(p["lower"] * z + p["upper"] * (1 - z))) / 2),
        "flat_cosine": lambda: (
            lambda o: torch_schedulers.SequentialLR(
                o,
                [
                    torch_schedulers.ConstantLR(o, 1.0),
                    torch_schedulers.CosineAnnealingLR(o, horizon - flat()),
                ],
                [flat()],
            )
        ),
        "free": lambda: by(
            knots([0, 1 / 3, 2 / 3, 1], np.cumprod([1, p["keep_1"], p["keep_2"], p["keep_3"]]))
        ),
        "refined": lambda: by(straight(steps(p["warmup_fraction"]), horizon)),
        "greedy": lambda: by(lambda _: p["start_ratio"]),  # without a loss; with one, see below
        "constant_ema": lambda: by(lambda _: 1.0),
        "constant_tail": lambda: by(lambda _: 1.0),
        "inverse": lambda: by(lambda z: (1 + p["horizon_gamma"] * (1 - z)) ** -p["power"]),
        "inverse_sqrt": lambda: (
            lambda o: torch_schedulers.LambdaLR(
                o,
                lambda t: (
                    (t + 1) / steps(p["rise_fraction"])
                    if t + 1 < steps(p["rise_fraction"])
                    else math.sqrt(steps(p["rise_fraction"]) / (t + 1))
                ),
            )
        ),
        "cosine": lambda: (
            lambda o: torch_schedulers.CosineAnnealingLR(o, horizon, p["end_ratio"] * peak)
        ),
        "rex": lambda: by(lambda z: z / (0.5 + z / 2)),
        "wsd_linear": lambda: cooled(lambda u: max(0.0, 1 - u)),
        "wsd_sqrt": lambda: cooled(lambda u: max(0.0, 1 - math.sqrt(u))),
        "wsd_exponential": lambda: cooled(lambda u: math.exp2(-u * p["half_lives"])),
        "cosine_warm_restarts": lambda: (
            lambda o: torch_schedulers.LambdaLR(o, partial(restart, p, horizon))
        ),
        "snapshot": lambda: (
            lambda o: torch_schedulers.LambdaLR(
                o,
                lambda t: (
                    (
                        math.cos(
                            math.pi
                            * (t % math.ceil(horizon / p["cycles"]))
                            / math.ceil(horizon / p["cycles"])
                        )
                        + 1
                    )
                    / 2
                ),
            )
        ),
        "sine": lambda: by(lambda z: humps(z, 1.0)),
        "sine2": lambda: by(lambda z: humps(z, 0.5)),
        "one_cycle": lambda: (
            lambda o: torch_schedulers.OneCycleLR(
                o,
                peak,
                total_steps=horizon,
                pct_start=max(p["rise_fraction"], 2 / horizon),
                anneal_strategy=p["anneal"],
                div_factor=1 / p["start_ratio"],
                final_div_factor=p["start_ratio"] / p["end_ratio"],
                three_phase=p["phases"] == 3,
            )
        ),
        "plateau": lambda: by(lambda _: 1.0),  # without a loss; with one, see below
        "schedule_free": lambda: (
            lambda o: torch_schedulers.LambdaLR(
                o, lambda t: min(1.0, (t + 1) / steps(p["warmup_fraction"]))
            )
        ),
    }
    return own[name]()


@every_family
@pytest.mark.parametrize("horizon", HORIZONS)
def test_rates_equal_torchs_own(family: ScheduleFamily, horizon: int) -> None:
    for parameters, rates in curves(family, horizon):
        build = torchs_own(family.name, parameters, horizon)
        oracle = run(build, make_optimizer(parameters["peak_lr"]), horizon)
        np.testing.assert_allclose(rates, oracle, rtol=0, atol=1e-12)


TORCHS_TUTORIAL: dict[str, Callable[[Optimizer], LRScheduler]] = {
    "StepLR": lambda o: torch_schedulers.StepLR(o, step_size=10, gamma=0.5),
    "LinearLR": lambda o: torch_schedulers.LinearLR(o, 1, 0.1, total_iters=50),
    "CosineAnnealingLR": lambda o: torch_schedulers.CosineAnnealingLR(o, 100),
    "CosineAnnealingWarmRestarts": lambda o: torch_schedulers.CosineAnnealingWarmRestarts(o, 20),
    "CyclicLR": lambda o: torch_schedulers.CyclicLR(
        o, 0, 1, 10, 10, "exp_range", 0.99, cycle_momentum=False
    ),
    "OneCycleLR": lambda o: torch_schedulers.OneCycleLR(o, max_lr=1, total_steps=100),
}


@pytest.mark.parametrize("name", TORCHS_TUTORIAL)
def test_the_tutorials_schedules_are_among_ours(name: str) -> None:
    family, parameters = TUTORIAL[name]
    rates = curve(FAMILIES[family], dict(parameters), 100)
    oracle = run(TORCHS_TUTORIAL[name], make_optimizer(1.0), 100)
    np.testing.assert_allclose(rates, oracle, rtol=0, atol=1e-12)


def test_sequences_that_an_eye_can_check() -> None:
    step = {"peak_lr": 1.0, "step_fraction": 0.2, "gamma": 0.5}
    assert curve(FAMILIES["step"], step, 10).tolist() == [
        *(1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625, 0.0625)
    ]
    linear = {"peak_lr": 1.0, "end_ratio": 0.5, "decay_fraction": 0.5}
    expected = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert curve(FAMILIES["linear"], linear, 10).tolist() == pytest.approx(expected)
    triangle = {"peak_lr": 1.0, "base_ratio": 0.0, "cycles": 1}
    expected = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 0.8, 0.6, 0.4, 0.2]
    assert curve(FAMILIES["triangular"], triangle, 10).tolist() == pytest.approx(expected)


def test_one_cycle_mirrors_the_rate_in_the_momentum() -> None:
    family = FAMILIES["one_cycle"]
    parameters = dict(TUTORIAL["OneCycleLR"][1])
    build = lambda o: family.build(o, parameters, 100)  # noqa: E731
    momenta = run(build, own_optimizer(family, parameters, 100), 100, key="momentum")
    assert momenta[0] == pytest.approx(0.95)
    assert momenta.min() == pytest.approx(0.85)
    assert momenta.argmin() == curve(family, parameters, 100).argmax()


@every_family
@pytest.mark.parametrize("horizon", HORIZONS)
def test_a_warm_up_rises_to_the_familys_own_curve(family: ScheduleFamily, horizon: int) -> None:
    for parameters in sampled(family, extras=WITH_WARMUP):
        rates = curve(family, parameters, horizon)
        if family.warms_up:
            assert "warmup_fraction" not in set(parameters) - set(family.space)
            continue
        warmup = max(1, round(parameters["warmup_fraction"] * horizon))
        rise = parameters["peak_lr"] * np.arange(1, warmup + 1) / (warmup + 1)
        np.testing.assert_allclose(rates[:warmup], rise, rtol=0, atol=1e-12)
        plain = {key: value for key, value in parameters.items() if key != "warmup_fraction"}
        rest = curve(family, plain, horizon - warmup)
        np.testing.assert_allclose(rates[warmup:], rest, rtol=0, atol=1e-12)


@every_family
def test_peak_rates_are_sampled_by_their_logarithm(family: ScheduleFamily) -> None:
    range_ = family.searched(PEAK)["peak_lr"]
    assert isinstance(range_, FloatDistribution)
    assert range_.log


@pytest.mark.parametrize("family", ["cosine", "schedule_free"])
def test_momentum_and_weight_decay_reach_the_optimizer(family: str) -> None:
    extras = {name: FloatDistribution(0.1, 0.2) for name in ("momentum", "weight_decay")}
    (parameters,) = sampled(FAMILIES[family], 1, extras)
    (group,) = own_optimizer(FAMILIES[family], parameters, 100).param_groups
    assert (group["momentum"], group["weight_decay"]) == (
        parameters["momentum"],
        parameters["weight_decay"],
    )
    (default,) = own_optimizer(FAMILIES[family], sampled(FAMILIES[family], 1)[0], 100).param_groups
    assert (default["momentum"], default["weight_decay"]) == (0.9, 5e-4)


def test_sgd_is_nesterovs_wherever_it_has_momentum() -> None:
    for value, nesterov in ((0.0, False), (0.5, True)):
        parameters = {"peak_lr": 0.1, "momentum": value}
        (group,) = own_optimizer(FAMILIES["constant"], parameters, 100).param_groups
        assert group["nesterov"] is nesterov
    adamw = own_optimizer(FAMILIES["constant"], {"peak_lr": 0.1, "optimizer": "adamw"}, 100)
    assert adamw.param_groups[0]["weight_decay"] == 0.01


def test_adamw_takes_the_place_of_sgd() -> None:
    parameters = {**TUTORIAL["OneCycleLR"][1], "optimizer": "adamw", "weight_decay": 0.1}
    optimizer = own_optimizer(FAMILIES["one_cycle"], parameters, 100)
    assert type(optimizer) is UNTRACED[torch.optim.AdamW]
    assert optimizer.param_groups[0]["weight_decay"] == 0.1
    build = partial(FAMILIES["one_cycle"].build, parameters=parameters, total_steps=100)
    schedule = build(optimizer)
    assert momentum(optimizer.param_groups[0]) == pytest.approx(0.95)
    optimizer.step()
    schedule.step()
    assert momentum(optimizer.param_groups[0]) < 0.95, "one-cycle cycles the first beta"


@every_family
@pytest.mark.parametrize("extras", [NO_EXTRAS, WITH_WARMUP], ids=["plain", "warm-up"])
def test_a_state_on_disk_goes_on_exactly_from_every_step(
    family: ScheduleFamily, extras: Extras
) -> None:
    """And so from every boundary between two phases of a schedule."""
    horizon = 41
    parameters = sampled(family, 1, extras)[0]
    whole = curve(family, parameters, horizon)
    for stop in range(1, horizon):
        optimizer = own_optimizer(family, parameters, horizon)
        built: list[LRScheduler] = []

        def first(optimizer: Optimizer, built: list[LRScheduler] = built) -> LRScheduler:
            built.append(family.build(optimizer, parameters, horizon))
            return built[0]

        run(first, optimizer, stop)
        file = io.BytesIO()
        torch.save([optimizer.state_dict(), built[0].state_dict()], file)
        file.seek(0)
        states = torch.load(file, weights_only=True)

        def resumed(optimizer: Optimizer, states: Any = states) -> LRScheduler:
            schedule = family.build(optimizer, parameters, horizon)
            optimizer.load_state_dict(states[0])
            schedule.load_state_dict(states[1])
            return schedule

        rest = run(resumed, own_optimizer(family, parameters, horizon), horizon - stop)
        assert rest.tolist() == whole[stop:].tolist()


@pytest.mark.slow
@every_family
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    exponent=st.floats(1, 5),
    extras=st.sampled_from([NO_EXTRAS, WITH_WARMUP]),
)
def test_the_laws_hold_for_any_parameters_and_horizon(
    family: ScheduleFamily, seed: int, exponent: float, extras: Extras
) -> None:
    """At horizons from 10 to 100,000 steps, evenly by their logarithm."""
    horizon = round(10**exponent)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    parameters = family.suggest(study.ask(), PEAK, extras)
    rates = curve(family, parameters, horizon)
    assert len(rates) == horizon
    assert problem(rates, float(parameters["peak_lr"]), family.rises_again) is None
    if not extras:
        build = torchs_own(family.name, parameters, horizon)
        oracle = run(build, make_optimizer(float(parameters["peak_lr"])), horizon)
        # torch multiplies some rates step by step: over 100,000 steps, rounding adds up.
        np.testing.assert_allclose(rates, oracle, rtol=0, atol=max(1e-12, 1e-15 * horizon))


@pytest.mark.parametrize("between", [1, 10])
def test_plateau_is_torchs_rule_with_patience_in_steps(between: int) -> None:
    """Fed once in 10 steps, 30 steps of patience are 3 of torch's calls; as 3 are, fed in each."""
    losses = [1.0, 0.9, 0.95, 0.91, 0.9, 0.89999, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.4]
    parameters: Parameters = {"peak_lr": 1.0, "factor": 0.5, "patience_fraction": 0.3}
    ours, theirs = make_optimizer(1.0), make_optimizer(1.0)
    plateau = FAMILIES["plateau"].build(ours, parameters, 10 * between)
    oracle = torch_schedulers.ReduceLROnPlateau(theirs, factor=0.5, patience=2)
    rates = []
    for loss in losses:
        for _ in range(between):
            plateau.step()
        plateau.step(loss)  # type: ignore[arg-type]
        oracle.step(loss)
        assert ours.param_groups[0]["lr"] == theirs.param_groups[0]["lr"]
        rates.append(ours.param_groups[0]["lr"])
    assert rates == [1.0] * 4 + [0.5] * 5 + [0.25] * 3 + [0.125] * 2


@every_family
def test_families_travel_to_workers(family: ScheduleFamily) -> None:
    copy = pickle.loads(pickle.dumps(family))
    parameters = sampled(family, 1)[0]
    assert curve(copy, parameters, 50).tolist() == curve(family, parameters, 50).tolist()


@every_family
def test_parameters_are_named_after_their_family(family: ScheduleFamily) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trial = study.ask()
    parameters: Parameters = family.suggest(trial, PEAK)
    assert trial.params == {f"{family.name}.{name}": value for name, value in parameters.items()}
    assert set(parameters) == {"peak_lr", *family.space}
    low, high = family.peak_range(PEAK)
    assert low <= parameters["peak_lr"] <= high
    fixed = FixedTrial({f"{family.name}.{name}": value for name, value in parameters.items()})
    assert family.suggest(fixed, PEAK) == parameters


def test_a_parameter_of_one_name_has_one_kind() -> None:
    """Since the families share the column params.<name>."""
    kinds: dict[str, set[type]] = {}
    for family in FAMILIES.values():
        for name, range_ in family.space.items():
            kinds.setdefault(name, set()).add(type(range_))
    assert all(len(kind) == 1 for kind in kinds.values()), kinds


def test_families_are_selected_by_name_and_group() -> None:
    assert select("all") == tuple(FAMILIES)
    assert len(select("all")) >= 20
    assert set(select("classic")) < set(select("all"))
    assert set(select("decay,cyclic")) == {*GROUPS["decay"], *GROUPS["cyclic"]}
    assert set(chain.from_iterable(GROUPS[g] for g in GROUPS if g != "all")) == set(FAMILIES)
    assert select("one_cycle, cosine,one_cycle") == ("one_cycle", "cosine")
    assert select("cosine,classic")[0] == "cosine"
    with pytest.raises(ValueError, match=r"'cosin' \(did you mean 'cosine'\?\)"):
        select("cosin")
    with pytest.raises(ValueError, match="unknown schedule family ''"):
        select("")


@every_family
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("extras", [NO_EXTRAS, WITH_WARMUP], ids=["plain", "warm-up"])
def test_all_groups_go_by_one_schedule_each_at_its_scale(
    family: ScheduleFamily, optimizer: str, extras: Extras
) -> None:
    """The first is that of a run with all parameters alike; the group with no scale comes first."""
    for sample in sampled(family, 3, extras):
        parameters = {**sample, "optimizer": optimizer}
        scaled, whole = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
        groups: list[dict[str, Any]] = [{"params": [scaled], "lr_scale": 0.1}, {"params": [whole]}]
        made = family.make_optimizer(
            [{**groups[0], "weight_decay": 0.0}, groups[1]], parameters, 97
        )
        used: list[list[float]] = []
        made.register_step_post_hook(partial(_keep_rates, used))
        rates = run(partial(_built, family, parameters), made, 97)
        assert made.param_groups[0]["params"][0] is whole
        assert made.param_groups[1]["weight_decay"] == 0
        np.testing.assert_array_equal(rates, curve(family, parameters, 97))
        first, second = np.array(used).T
        np.testing.assert_array_equal(first, rates)
        np.testing.assert_allclose(second, 0.1 * first, rtol=1e-9)


def _built(family: ScheduleFamily, parameters: Parameters, optimizer: Optimizer) -> LRScheduler:
    return family.build(optimizer, parameters, 97)


def _keep_rates(used: list[list[float]], optimizer: Optimizer, *_: object) -> None:
    used.append([applied_rate(group) for group in optimizer.param_groups])


def test_no_group_at_the_peak_rate_is_refused() -> None:
    group: dict[str, Any] = {"params": [torch.nn.Parameter(torch.zeros(1))], "lr_scale": 0.5}
    with pytest.raises(ValueError, match=r"^one group must have the peak rate itself, 0.1, not 0"):
        FAMILIES["cosine"].make_optimizer([group], {"peak_lr": 0.1, "end_ratio": 0.0}, 97)
