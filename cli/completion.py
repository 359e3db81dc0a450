"""Shell completion: prints the script that makes bash, zsh or fish complete covey's commands.

The scripts are click's own; they call `covey` with `_COVEY_COMPLETE` set. With them, the words of
a pairing code complete by Tab after `covey join`.
"""

import click

from .main import covey
from .output import say


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    For bash: `covey completion bash > ~/.local/share/bash-completion/completions/covey`.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    say(found(covey, {}, "covey", "_COVEY_COMPLETE").source())
