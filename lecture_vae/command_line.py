"""What command lines share: whatever is wrong with a call is told in one line, with status 2."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from lecture_vae.storage import check_writable

__all__ = ["AsJson", "Program"]

# What is wrong with the words of a call; some versions of typer bring a click of their own.
UsageError: Any = typer.BadParameter.__base__

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, last on stdout.")]


@dataclass(frozen=True)
class Program:
    """A program with verbs.

    Attributes:
        name: What is typed, such as "lecture-vae".

    Examples:
        >>> from typer import Exit
        >>> try:
        ...     Program("lecture-vae").refuse("no such run")  # on stderr: lecture-vae: no such run
        ... except Exit as error:
        ...     error.exit_code
        2
    """

    name: str

    def app(self, about: str) -> typer.Typer:
        """The application to add verbs to.

        Args:
            about: The first line of its help.
        """
        in_one_line = self._in_one_line

        class OneLine(TyperGroup):
            """Verbs whose wrong words, too, are told in one line."""

            def make_context(
                self, info_name: str | None, args: list[str], *more: Any, **options: Any
            ) -> Any:
                if not args:  # that is a call for help
                    return super().make_context(info_name, args, *more, **options)
                with in_one_line():
                    return super().make_context(info_name, args, *more, **options)

            def invoke(self, ctx: Any) -> Any:
                with in_one_line():
                    return super().invoke(ctx)

        return typer.Typer(
            name=self.name,
            cls=OneLine,
            no_args_is_help=True,
            add_completion=False,
            pretty_exceptions_enable=False,
            help=about,
        )

    def refuse(self, message: object) -> NoReturn:
        """Says in one line on stderr why the call cannot be done, and ends with status 2.

        Raises:
            typer.Exit: Always.
        """
        typer.echo(f"{self.name}: {' '.join(str(message).splitlines())}", err=True)
        raise typer.Exit(2)

    def show_log(self, package: str) -> None:
        """Prints what a package logs, such as which engine trains, on stderr."""
        logging.basicConfig(format=f"{self.name}: %(message)s")
        logging.getLogger(package).setLevel(logging.INFO)

    def check_out(self, folder: Path) -> None:
        """Refuses before the work what could not be written after it.

        Raises:
            typer.Exit: The folder cannot be written.
        """
        try:
            check_writable(folder)
        except OSError as error:
            self.refuse(f"--out must be where files can be written, but: {error}.")

    @contextmanager
    def _in_one_line(self) -> Iterator[None]:
        try:
            yield
        except UsageError as error:
            message = error.format_message().rstrip(".")
            verb = error.ctx.command_path if error.ctx else self.name
            self.refuse(f"{message[:1].lower()}{message[1:]}; see {verb} --help.")
