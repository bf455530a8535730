"""The root of ``meltguard``: mounts every command of the contract and turns expected failures into one line.

Modules that are imported here hold signatures only; what is heavy is imported inside the commands, so that
``meltguard --help`` stays quick.
"""

from __future__ import annotations

import sys

import typer

from controller.cli import approve, demo, doctor, explain, init, lift, limit, pause, plan, replay, report, resume
from controller.cli import operator as operator_command
from controller.cli.mounting import mount
from exporters import cli as exporters_cli
from forecasting import cli as forecasting_cli
from forecasting.thermal import cli as thermal_cli
from inference import cli as inference_cli

EXIT_INTERRUPTED = 130

EXTRAS: dict[str, str] = {
    "kubernetes": "kubernetes",
    "urllib3": "kubernetes",
    "grpc": "flag-sync",
    "boto3": "aws",
    "torch": "inference",
    "sklearn": "inference",
    "transformers": "hugging-face",
}
"""Extra of this distribution that brings an optional package, by the name it is imported under."""


def build_app() -> typer.Typer:
    """Return the command line with every command of the contract."""
    app = typer.Typer(
        name="meltguard",
        help="Keep GPU inference fleets below their slowdown temperature while demand multiplies.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        epilog="Every option can also be set by MELTGUARD_<COMMAND>__<OPTION>, or in a YAML file given with --config.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    mount(app, demo.demo, name="demo", section="demo")
    mount(app, init.init, name="init", section="init")
    mount(app, doctor.doctor, name="doctor", section="doctor")
    mount(app, forecasting_cli.forecast, name="forecast", section="forecast")
    mount(app, forecasting_cli.backtest, name="backtest", section="backtest")
    mount(app, plan.plan, name="plan", section="plan")
    mount(app, replay.replay, name="replay", section="replay")
    mount(app, operator_command.operator, name="operator", section="operator")
    mount(app, explain.explain, name="explain", section="explain")
    mount(app, report.report, name="report", section="report")
    mount(app, pause.pause, name="pause", section="pause")
    mount(app, resume.resume, name="resume", section="resume")
    mount(app, approve.approve, name="approve", section="approve")
    mount(app, limit.limit, name="limit", section="limit")
    mount(app, lift.lift, name="lift", section="lift")
    mount(app, exporters_cli.exporter, name="exporter", section="exporter")
    mount(app, inference_cli.serve, name="serve", section="serve")
    mount(app, inference_cli.load, name="load", section="load")
    thermal = typer.Typer(help="Fit and forecast GPU temperatures.", no_args_is_help=True, rich_markup_mode=None)
    mount(thermal, thermal_cli.fit, name="fit", section="thermal_fit")
    mount(thermal, thermal_cli.forecast, name="forecast", section="thermal_forecast")
    app.add_typer(thermal, name="thermal")
    return app


def main() -> None:
    """Run the command line; the entry point of the distribution.

    Exit codes: 0 done, 1 failed, 2 usage, 3 changes needed, 130 interrupted. An error whose class has an
    ``exit_code`` is expected: it becomes one line on stderr. Any other is a defect and keeps its traceback.
    """
    try:
        build_app()()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        print(f"meltguard: error: {error.name} is not installed; pip install 'meltguard[{extra}]'", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        exit_code = getattr(type(error), "exit_code", None)
        if not isinstance(exit_code, int):
            raise
        print(f"meltguard: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(exit_code)
